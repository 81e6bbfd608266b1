"""Stored images: parts and sizes against PIL, and files of which only some are decoded by TensorFlow."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_sd import data
from keras_sd.data import stored
from keras_sd.utils import images


@pytest.fixture
def photo():
    """A photograph of 93x71 pixels with large structures."""
    coarse = np.random.default_rng(0).integers(0, 256, (7, 9, 3), "uint8")
    return Image.fromarray(coarse).resize((93, 71), Image.Resampling.BICUBIC)


def encoded(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGB", {}), ("RGB", {"subsampling": 0}), ("RGB", {"progressive": True}), ("L", {}), ("L", {"quality": 30})],
    ids=str,
)
def test_a_jpeg_is_what_pil_makes_of_it(photo, mode, options):
    content = encoded(photo.convert(mode), **options)
    image = stored.Jpeg(tf.constant(content), len(mode))
    expected = np.asarray(Image.open(io.BytesIO(content))).reshape(71, 93, -1)
    assert image.shape.numpy().tolist() == list(expected.shape)
    np.testing.assert_array_equal(image.whole(), expected)
    part = image.part(tf.constant([5, 17]), tf.constant([40, 33])).numpy()
    np.testing.assert_array_equal(part[1:-1, 1:-1], expected[6:44, 18:49])
    assert np.abs(part - expected[5:45, 17:50].astype(int)).max() < 60  # at the edges colors lack a neighbor


def test_a_part_of_pixels_is_a_slice(photo):
    pixels = np.asarray(photo)
    part = stored.Pixels(tf.constant(pixels)).part(tf.constant([5, 17]), tf.constant([40, 33]))
    np.testing.assert_array_equal(part, pixels[5:45, 17:50])


@pytest.mark.parametrize(
    ("size", "filter_"),
    [((31, 23), Image.Resampling.BOX), ((45, 62), Image.Resampling.BOX), ((130, 95), Image.Resampling.BILINEAR)],
    ids=str,
)
def test_images_are_scaled_as_pil_scales_them(photo, size, filter_):
    image = photo.crop((0, 0, 93, 69))
    ours = stored.scaled(tf.constant(np.asarray(image)), size[::-1]).numpy().astype(int)
    if filter_ == Image.Resampling.BOX and 93 % size[0]:  # PIL's box takes whole pixels, ours the fractions, too
        expected = np.asarray(image, float)
        for axis, length in enumerate(size[::-1]):
            fine = np.repeat(expected, length, axis)  # of which each pixel of the result has the mean of as many
            expected = np.moveaxis(fine, axis, 0).reshape(length, -1, *np.delete(fine.shape, axis)).mean(1)
            expected = np.moveaxis(expected, 0, axis)
    else:
        expected = np.asarray(image.resize(size, filter_), float)
    assert np.abs(ours - expected).max() <= 1


def test_files_of_all_kinds_are_what_predictions_see(photo, tmp_path):
    """Upright RGB and gray JPEGs are decoded by TensorFlow, all others by Pillow: both as `open_image` does."""
    exif = Image.Exif()
    exif[0x0112] = 3
    kinds = {"rgb": {}, "turned": {"exif": exif}}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for kind, options in kinds.items():
            (tmp_path / name / f"{kind}.jpg").write_bytes(encoded(photo, **options))
        (tmp_path / name / "gray.jpg").write_bytes(encoded(photo.convert("L")))
        (tmp_path / name / "cmyk.jpg").write_bytes(encoded(photo.convert("CMYK")))
        (tmp_path / name / "tail.jpg").write_bytes(encoded(photo) + b"written by a camera")
        photo.save(tmp_path / name / "png.png")
    found = {file.name: images.look(file).is_plain_jpeg for file in (tmp_path / "one").iterdir()}
    assert {name for name, is_plain in found.items() if is_plain} == {"rgb.jpg", "gray.jpg"}
    sets = data.load(f"folder:{tmp_path}")
    seen = {image.tobytes() for part in data.PARTS for image in getattr(sets, part).images}
    assert seen == {np.asarray(images.open_image(file, "RGB")).tobytes() for file in tmp_path.rglob("*.*")}
