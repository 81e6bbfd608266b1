"""Tests at a size and part of their own, and images that come several times in a batch."""

import numpy as np
import pytest
from PIL import Image

from keras_sd import data, training
from keras_sd.runs import networks
from tests.helpers import printed


@pytest.fixture
def photos(store_folder):
    """A folder of images of 20x30 pixels, 24 of each of two classes."""
    return store_folder("photos", {"cat": 24, "dog": 24}, (20, 30))


@pytest.mark.parametrize("streams", [False, True])
def test_validation_and_test_images_have_a_size_and_part_of_their_own(photos, streams, request):
    if streams:
        request.getfixturevalue("all_stream")
    sets = data.load(f"folder:{photos}", image_size=12, test_image_size=16, test_crop=0.8)
    assert (sets.input_shape, sets.test_shape, sets.model_shape) == ((12, 12, 3), (16, 16, 3), (None, None, 3))
    assert sets.describe()["test_shape"] == [16, 16, 3]
    assert next(iter(sets.batches("train")))[0].shape[1:] == (12, 12, 3)
    assert next(iter(sets.training_batches(4)))[0].shape == (4, 12, 12, 3)
    # The short side of 20 = 16 / 0.8 is left as it is, and the middle 16 x 16 pixels are taken.
    middles = {np.asarray(Image.open(file))[2:18, 7:23].tobytes() for file in photos.rglob("*.png")}
    for part in ("validation", "test"):
        images = next(iter(sets.batches(part)))[0].numpy() * np.float32(sets.std) + np.float32(sets.mean)
        assert {image.round().astype("uint8").tobytes() for image in images} <= middles


def test_without_a_size_of_their_own_nothing_is_recorded(photos):
    sets = data.load(f"folder:{photos}", image_size=12)
    assert "test_shape" not in sets.describe()
    assert sets.model_shape == sets.input_shape == sets.test_shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test_image_size": 0}, "`test_image_size` must be an integer from 1"),
        ({"test_crop": 1.5}, r"`test_crop` must be None or a number in \(0, 1\]. Received: test_crop=1.5"),
    ],
)
def test_other_sizes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.load("digits", **arguments)


def test_repeated_images_are_apart_and_augmented_each_in_its_own_way(digits):
    plain = [y.numpy() for _, y in digits.training_batches(12, augmentation=(), repeats=3).take(200)]
    assert all((y.reshape(3, 4) == y[:4]).all() for y in plain)
    images, _ = next(iter(digits.training_batches(12, augmentation=("shift",), repeats=3)))
    assert len({image.tobytes() for image in images.numpy()}) > 4
    later = next(iter(digits.training_batches(12, augmentation=(), repeats=3, first_step=130)))[1].numpy()
    np.testing.assert_array_equal(later, plain[130])  # of the second epoch
    with pytest.raises(ValueError, match="`repeats` must be a divisor of the batch size 12"):
        digits.training_batches(12, repeats=5)
    with pytest.raises(ValueError, match="`repeats` must be a divisor of the batch size 12"):
        training.resolve("digits", batch_size=12, repeats=5)


@pytest.mark.slow
def test_a_network_trained_at_one_size_is_tested_at_another(photos, tmp_path):
    sizes = ("--set", "image_size=12", "--set", "test_image_size=16", "--set", "test_crop=0.8", "--set", "repeats=2")
    command = ("train", "--data", f"folder:{photos}", "--recipe", "digits", "--smoke", *sizes)
    assert "test accuracy" in printed(*command, "--out", tmp_path / "run")
    model, dataset = networks.of_run(tmp_path / "run")
    assert model.input_shape == (None, None, None, 3)
    assert dataset.test_shape == (16, 16, 3)
    assert "test accuracy" in printed("evaluate", tmp_path / "run")
