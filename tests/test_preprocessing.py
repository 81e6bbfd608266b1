"""Images for weights: against the published steps by Pillow and NumPy, and against Keras's own loader."""

import keras
import numpy as np
import pytest
from PIL import Image

from keras_sd import applications
from keras_sd.models import builder
from keras_sd.weights import Preprocessing, class_names, get_row, preprocessing
from keras_sd.weights.formats.safetensors import write_safetensors


@pytest.fixture(scope="module")
def photo():
    """A photograph of 333x101 pixels."""
    from sklearn.datasets import load_sample_images

    return Image.fromarray(load_sample_images().images[0][100:201, 200:533])


def by_hand(image, resized, corner, size, interpolation, mean, std):
    pixels = np.asarray(image.resize(resized, interpolation)).astype("float64")
    left, top = corner
    return (pixels[top : top + size, left : left + size] / 255 - mean) / std


def test_timm_s_steps(photo):
    """Shorter side to floor(224 / 0.95) = 235, the other in proportion (774.8, rounded down), crop in the center."""
    prepared = preprocessing.for_weights("ResNet50", "a1_in1k")(photo)
    assert prepared.shape == (1, 224, 224, 3)
    assert prepared.dtype == "float32"
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    # (774 - 224) / 2 = 275; (235 - 224) / 2 = 5.5, to even: 6
    expected = by_hand(photo, (774, 235), (275, 6), 224, Image.Resampling.BICUBIC, mean, std)
    np.testing.assert_allclose(prepared[0], expected, atol=1e-5)


def test_torchvision_s_weights_are_bilinear(photo):
    prepared = preprocessing.for_weights("ResNet18", "tv_in1k")(photo)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = by_hand(photo, (844, 256), (310, 16), 224, Image.Resampling.BILINEAR, mean, std)
    np.testing.assert_allclose(prepared[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "theirs"),
    [
        ("ResNet50", keras.applications.resnet),
        ("ResNet50V2", keras.applications.resnet_v2),
        ("DenseNet121", keras.applications.densenet),
    ],
)
def test_keras_s_steps(photo, tmp_path, model, theirs):
    photo.save(tmp_path / "photo.png")
    loaded = keras.utils.load_img(tmp_path / "photo.png", target_size=(224, 224))
    expected = theirs.preprocess_input(keras.utils.img_to_array(loaded)[None])
    prepare = preprocessing.for_weights(model, "imagenet")
    np.testing.assert_allclose(prepare(tmp_path / "photo.png"), expected, atol=2e-5)


def test_cifar_images_are_normalized_and_nothing_else():
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), "uint8")
    prepare = preprocessing.for_weights("ResNet20", "cifar10")
    expected = (images / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    np.testing.assert_allclose(prepare(images), expected, atol=1e-5)
    np.testing.assert_allclose(prepare.normalize(images), expected, atol=1e-5)
    np.testing.assert_allclose(prepare(list(images))[1], prepare(Image.fromarray(images[1]))[0])
    np.testing.assert_allclose(prepare(images.astype("float32")), expected, atol=1e-5)
    gray = prepare(images[0, ..., 0])
    np.testing.assert_allclose(gray, prepare(np.repeat(images[0, ..., :1], 3, -1)))


def test_a_model_that_rescales_computes_the_same(photo):
    """`rescale=True` puts the same normalization into the model."""
    for name, tag in (("ResNet50", "imagenet"), ("ResNet18", "a1_in1k")):
        row = get_row(f"{name}.{tag}")
        prepare = preprocessing.Preprocessor(row.preprocessing)
        pixels = prepare.resized(photo)[None].astype("float32")
        inputs = keras.Input((224, 224, 3))
        model = keras.Model(inputs, builder._rescaled(inputs, row.preprocessing))
        np.testing.assert_allclose(model(pixels), prepare(photo), atol=2e-4)


def test_channels_first(photo):
    prepare = preprocessing.for_weights("ResNet18", "a1_in1k")
    last = prepare(photo)
    keras.config.set_image_data_format("channels_first")
    np.testing.assert_array_equal(prepare(photo), last.transpose(0, 3, 1, 2))


def test_another_size(photo):
    assert preprocessing.for_weights("ResNet18", "a1_in1k", size=288)(photo).shape == (1, 288, 288, 3)


def test_grey_images_of_a_trained_model(photo):
    prepare = preprocessing.Preprocessor(
        Preprocessing(size=8, interpolation=None, channels="L", scale=16 / 255, mean=(5.0,), std=(6.0,))
    )
    white = np.full((8, 8, 1), 255, "uint8")
    np.testing.assert_allclose(prepare(white), np.full((1, 8, 8, 1), 11 / 6), atol=1e-6)
    assert prepare(photo).shape == (1, 8, 8, 1)


@pytest.mark.parametrize("wrong", [np.zeros((8, 8, 2)), np.full((8, 8, 3), -0.5), np.zeros(8), np.full((8, 8), 300)])
def test_arrays_that_are_no_images(wrong):
    with pytest.raises(ValueError, match="`images` must be paths, Pillow images, or arrays"):
        preprocessing.for_weights("ResNet20", "cifar10")([wrong])


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_arrays_that_are_scaled_already_are_refused(kind):
    prepare = preprocessing.for_weights("ResNet20", "cifar10")
    images = np.random.default_rng(0).uniform(0, 1, (2, 32, 32, 3)).astype(kind)
    images[0, 0, 0], images[0, 0, 1] = 0, 1
    tensor = keras.ops.convert_to_tensor(images)
    for scaled in (images, images[0], list(images), tensor):
        kind = keras.backend.standardize_dtype(scaled.dtype) if scaled is tensor else kind  # JAX makes float64 float32
        with pytest.raises(ValueError, match=rf"must have values from 0 to 255. Received: {kind} values from 0 to 1,"):
            prepare(scaled)
    for function in (prepare.resized, prepare.normalize):
        with pytest.raises(ValueError, match="look scaled to"):
            function(images[0])
    with pytest.raises(ValueError, match="values from -1 to 1"):
        prepare(2 * images - 1)


def test_dark_images_are_no_scaled_ones():
    prepare = preprocessing.for_weights("ResNet20", "cifar10")
    dark = np.zeros((1, 32, 32, 3), "float32")
    np.testing.assert_array_equal(prepare(dark), prepare(dark.astype("uint8")))
    batch = np.concatenate([dark + 0.75, dark + 254.6])  # as of a resize that makes fractions, which are rounded
    np.testing.assert_array_equal(prepare(batch), prepare(np.rint(batch).astype("uint8")))


def test_no_images_are_refused():
    for nothing in ([], np.zeros((0, 32, 32, 3))):
        with pytest.raises(ValueError, match="`images` must be at least one image"):
            preprocessing.for_weights("ResNet20", "cifar10")(nothing)


def test_arguments_of_the_wrong_kind_are_refused():
    with pytest.raises(TypeError, match=r"`preprocessing` must be a `keras_sd\.weights\.Preprocessing`"):
        preprocessing.Preprocessor({"size": 224})
    with pytest.raises(ValueError, match=r"`size` must be an integer of at least 1\. Received: size=nan"):
        preprocessing.for_weights("ResNet20", "cifar10", size=float("nan"))


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "a.png").write_text("no")
    with pytest.raises(ValueError, match=r"must be image files or Pillow images.*'.*a\.png', which cannot be read"):
        preprocessing.for_weights("ResNet20", "cifar10")(tmp_path / "a.png")


def test_weights_of_which_nothing_is_known(tmp_path):
    (tmp_path / "damaged.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="found an empty file"):
        preprocessing.for_weights("ResNet20", tmp_path / "damaged.safetensors")
    write_safetensors(tmp_path / "w.safetensors", {"x": np.ones(1, "float32")})
    for weights in (tmp_path / "w.safetensors", "hf://someone/net"):
        with pytest.raises(ValueError, match="whose preprocessing is known"):
            preprocessing.for_weights("ResNet20", weights)
    with pytest.raises(ValueError, match="Received: weights='cifar'"):
        preprocessing.for_weights("ResNet20", "cifar")


# ------------------------------------------------------------------------------------------------------------ labels


def test_class_names():
    assert len(class_names.CIFAR10) == 10
    assert len(set(class_names.CIFAR100)) == 100
    assert list(class_names.CIFAR100) == sorted(class_names.CIFAR100)
    assert class_names.class_names(get_row("ResNet20.cifar10"))[3] == "cat"


@pytest.mark.cifar10
def test_class_names_agree_with_tensorflow_datasets(cifar10_dir):
    import tensorflow_datasets as tfds

    assert tuple(tfds.builder("cifar10", data_dir=cifar10_dir).info.features["label"].names) == class_names.CIFAR10


def test_class_names_of_imagenet_without_network(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_SD_OFFLINE", "1")
    monkeypatch.setenv("KERAS_SD_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"imagenet_class_index\.json"):
        class_names.class_names(get_row("ResNet50.a1_in1k"))


def test_models_and_preprocessing_have_one_size():
    for name in ("ResNet20.cifar10", "ResNet50.imagenet"):
        row = get_row(name)
        assert row.preprocessing.size == applications.find(row.architecture).input_shape[0]
