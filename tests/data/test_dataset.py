"""Data sets: the split, normalization, and augmentation against a plain NumPy version."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_sd import data
from keras_sd.data import augmentation, dataset, tfds


def first(dataset, count):
    return [(x.numpy(), y.numpy()) for x, y in dataset.take(count)]


def test_digits_are_scikit_learns_split_without_overlap(digits):
    from sklearn.datasets import load_digits

    assert [len(getattr(digits, part)) for part in data.PARTS] == [1257, 180, 360]
    assert digits.input_shape == (8, 8, 1)
    assert digits.class_names == tuple("0123456789")
    for part, per_class in (("validation", 18), ("test", 36)):
        assert np.bincount(getattr(digits, part).labels).tolist() == [per_class] * 10
    original = load_digits()
    pairs = [(*image.ravel(), label) for image, label in zip(original.images, original.target)]
    ours = [
        (*image.ravel(), label)
        for part in data.PARTS
        for image, label in zip(getattr(digits, part).images, getattr(digits, part).labels)
    ]
    assert sorted(ours) == sorted(pairs)


def test_the_split_is_the_same_on_every_machine(digits):
    # Recorded once: results of different runs compare only on the same split.
    assert digits.describe()["sha256"].startswith("8c2522c185fad669")


def test_held_out_examples_are_stratified():
    labels = np.tile(np.arange(3), 5)
    kept, drawn = data.hold_out(labels, 2)
    assert sorted([*kept, *drawn]) == list(range(15))
    assert sorted(labels[drawn]) == [0, 0, 1, 1, 2, 2]
    assert data.hold_out(labels, 2, seed=1)[1].tolist() != drawn.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"per_class": 0}, "`per_class` must be an integer of at least 1"),
        ({"per_class": 1.5}, r"`per_class` must be a whole number of at least 1, or in \(0, 1\)"),
        ({"per_class": float("nan")}, "`per_class` must be a whole number"),
        ({"per_class": 2, "seed": 10**30}, "`seed` must be an integer from 0 to"),
        (
            {"per_class": 2, "labels": [0.5, 1.5]},
            r"`labels` must be integers \(n,\). Received: an array of float64",
        ),
    ],
)
def test_amounts_that_cannot_be_held_out_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.hold_out(**{"labels": np.tile(np.arange(3), 5)} | arguments)


def test_training_images_are_normalised(digits):
    images = digits.normalize(digits.train.images).numpy()
    assert images.mean() == pytest.approx(0, abs=1e-5)
    assert images.std() == pytest.approx(1, abs=1e-5)


def test_statistics_are_per_channel():
    images = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3), "uint8")
    mean, std = dataset.statistics(images)
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)))
    np.testing.assert_allclose(std, images.std((0, 1, 2)))


def moved_copies(image, shift, flip):
    """All images that augmentation may make of one, by slicing a padded array."""
    height, width = image.shape[:2]
    padded = np.pad(image, [(shift, shift), (shift, shift), (0, 0)])
    for source in (padded, padded[:, ::-1]) if flip else (padded,):
        for row in range(2 * shift + 1):
            for column in range(2 * shift + 1):
                yield source[row : row + height, column : column + width]


@pytest.mark.parametrize(("shift", "flip"), [(1, False), (4, True), (0, True), (0, False)])
def test_augmentation_shifts_and_mirrors(shift, flip):
    image = np.random.default_rng(0).normal(size=(6, 5, 2)).astype("float32")
    batch = tf.constant(np.repeat(image[None], 3000, 0))
    augmented = augmentation.shift_and_mirror(batch, tf.constant([1, 2]), shift=shift, flip=flip).numpy()
    allowed = {copy.tobytes(): 0 for copy in moved_copies(image, shift, flip)}
    for copy in augmented:
        allowed[copy.tobytes()] += 1  # a KeyError here is an image that no shift makes
    expected = 3000 / len(allowed)
    assert max(allowed.values()) < expected + 5 * expected**0.5 + 1
    assert min(allowed.values()) > expected - 5 * expected**0.5 - 1


def test_augmentation_follows_from_its_seed():
    batch = tf.random.stateless_normal((8, 6, 6, 1), (0, 0))
    one, same, other = (
        augmentation.shift_and_mirror(batch, tf.constant(seed), shift=2, flip=True) for seed in ((0, 1), (0, 1), (0, 2))
    )
    np.testing.assert_array_equal(one, same)
    assert (one.numpy() != other.numpy()).any()


def test_batches_of_a_part_are_in_order_and_complete(digits):
    batches = first(digits.batches("test", 100), 10)
    assert [len(labels) for _, labels in batches] == [100, 100, 100, 60]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), digits.test.labels)
    np.testing.assert_allclose(batches[0][0], digits.normalize(digits.test.images[:100]), rtol=1e-6)


def test_an_epoch_shows_each_image_at_most_once_in_a_new_order(digits):
    steps = digits.steps_per_epoch(64)
    assert steps == 1257 // 64
    batches = first(digits.training_batches(64, seed=0, augmentation=()), 2 * steps)
    parts = (batches[:steps], batches[steps:])
    epochs = [[image.tobytes() for x, _ in part for image in x] for part in parts]
    originals = {image.tobytes() for image in digits.normalize(digits.train.images).numpy()}
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == steps * 64
        assert set(epoch) <= originals
    assert epochs[0] != epochs[1]


@pytest.mark.slow
def test_training_batches_follow_from_seed_and_epoch(digits):
    steps = digits.steps_per_epoch(256)
    whole = first(digits.training_batches(256, seed=3), 2 * steps)
    again = first(digits.training_batches(256, seed=3), 2 * steps)
    later = first(digits.training_batches(256, seed=3, first_step=steps), steps)
    middle = first(digits.training_batches(256, seed=3, first_step=steps + 2), 1)
    other = first(digits.training_batches(256, seed=4), 1)
    for (x, y), (x2, y2) in zip(whole, again):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
    for (x, _), (x2, _) in zip(whole[steps:], later):
        np.testing.assert_array_equal(x, x2)
    np.testing.assert_array_equal(whole[steps + 2][0], middle[0][0])
    assert (whole[0][0] != other[0][0]).any()


@pytest.mark.parametrize("batch_size", [0, 1258, True, 64.0, None, float("nan")])
def test_a_batch_size_that_leaves_no_batch_is_refused(digits, batch_size):
    with pytest.raises(ValueError, match=rf"`batch_size` must be between 1 and 1257.*batch_size={batch_size}"):
        digits.training_batches(batch_size)


def test_unknown_names_are_refused_with_the_nearest(digits):
    with pytest.raises(ValueError, match=r"`data` must be a known name, such as cifar10 or cifar100"):
        data.load("cifar-10")
    with pytest.raises(ValueError, match="`data` must be one of digits, cifar10"):
        data.load("xyz")
    with pytest.raises(ValueError, match=r"`part` must be one of 'train', 'validation', 'test'"):
        digits.batches("tset")


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`data_dir` must be a directory\. Received: data_dir='.*nowhere'"):
        data.load("cifar10", tmp_path / "nowhere")


def test_a_torn_directory_is_named(tmp_path):
    (tmp_path / "cifar10" / "3.0.2").mkdir(parents=True)
    (tmp_path / "cifar10" / "3.0.2" / "dataset_info.json").write_text("{")
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}.*reading it failed.*data_dir"):
        data.load("cifar10", tmp_path)


@pytest.mark.parametrize("stored_as", ["JPEG", "PNG", "pixels"])
def test_stored_images_are_decoded_as_pil_does(stored_as):
    """TensorFlow's default transform differs from PIL's, by which a published accuracy changes in the third digit."""
    noise = np.random.default_rng(0).normal(128, 60, (5, 32, 32, 3)).clip(0, 255).astype("uint8")
    stored, expected = list(noise), noise
    if stored_as != "pixels":
        files = [io.BytesIO() for _ in noise]
        for image, file in zip(noise, files):
            Image.fromarray(image).save(file, stored_as, quality=80)
        stored = [file.getvalue() for file in files]
        expected = np.stack([np.asarray(Image.open(file)) for file in files])
    decoded = np.stack([tfds.decode(tf.constant(image), lambda image: image.whole()).numpy() for image in stored])
    np.testing.assert_array_equal(decoded, expected)
    assert decoded.dtype == "uint8"


@pytest.mark.slow
@pytest.mark.cifar10
def test_cifar10_is_split_as_in_the_paper(cifar10_dir):
    cifar10 = data.load("cifar10", cifar10_dir)
    assert [len(getattr(cifar10, part)) for part in data.PARTS] == [45_000, 5_000, 10_000]
    assert cifar10.input_shape == (32, 32, 3)
    assert np.bincount(cifar10.validation.labels).tolist() == [500] * 10
    assert cifar10.class_names[3] == "cat"
    assert cifar10.augmentation == ("shift_flip",)
    assert cifar10.shift == 4


def test_fewer_training_images_are_stratified_and_have_their_own_statistics(digits):
    few = data.load("digits", training_images=50)
    assert np.bincount(few.train.labels).tolist() == [5] * 10
    assert {image.tobytes() for image in few.train.images} <= {image.tobytes() for image in digits.train.images}
    assert few.mean == pytest.approx([few.train.images.mean()])
    assert few.std == pytest.approx([few.train.images.std()])
    for part in ("validation", "test"):
        np.testing.assert_array_equal(getattr(few, part).images, getattr(digits, part).images)
    again = data.load("digits", training_images=50)
    assert again.describe() == few.describe() != digits.describe()


@pytest.mark.parametrize("count", [0, 55, 9, 10_000, 50.0, True])
def test_numbers_of_training_images_that_classes_cannot_share_are_refused(count):
    with pytest.raises(ValueError, match="`training_images` must be"):
        data.load("digits", training_images=count)


def test_no_pipeline_has_the_thread_that_delays_its_end(digits):
    """TensorFlow's own default is the thread: `None` would mean it."""
    for pipeline in (digits.training_batches(8), digits.batches("test"), digits.batches("test").take(1)):
        assert pipeline.options().autotune.enabled is False
