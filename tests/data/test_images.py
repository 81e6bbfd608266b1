"""Image files are opened in one way: against NumPy for depth and orientation, against plain Pillow for the rest."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_sd import data
from keras_sd.utils import images
from keras_sd.weights import Preprocessing, preprocessing

PLAIN = Preprocessing(size=8, interpolation=None, scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
RAMP = np.linspace(0, 65535, 64).round().reshape(8, 8)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (8, 8, 3), "uint8")


def prepared(source):
    """Pixels as a network for color images gets them."""
    return preprocessing.Preprocessor(PLAIN)(source)[0]


def trained_on(tmp_path, file):
    """Pixels of a file as training gets them, in colors."""
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
        for number in range(3):
            Image.new("RGB", (8, 8)).save(tmp_path / "set" / name / f"{number}.png")
    file.rename(tmp_path / "set" / "a" / file.name)
    dataset = data.load(f"folder:{tmp_path / 'set'}")
    found = np.concatenate([getattr(dataset, part).images for part in data.PARTS])
    return next(image for image in found if image.any())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_photographs_are_upright_for_prediction(pixels, tmp_path, orientation, suffix):
    # What each number of EXIF asks for, from its definition: where the first row and column of the file belong.
    turns = {1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1]}
    turns |= {5: pixels.transpose(1, 0, 2), 6: np.rot90(pixels, -1)}
    turns |= {7: pixels[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(pixels)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}", exif=exif, lossless=True)
    np.testing.assert_array_equal(prepared(tmp_path / f"a{suffix}"), turns[orientation])
    with Image.open(tmp_path / f"a{suffix}") as image:
        np.testing.assert_array_equal(prepared(image), turns[orientation])
        np.testing.assert_array_equal(prepared(ImageOps.exif_transpose(image)), turns[orientation])  # turned once


def test_prediction_and_training_see_the_same_pixels(pixels, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    expected = prepared(tmp_path / "a.jpg")
    np.testing.assert_array_equal(trained_on(tmp_path, tmp_path / "a.jpg"), expected)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "big_endian.tif", "a.pgm"])
def test_16_bit_grey_is_scaled(name, tmp_path):
    expected = np.repeat(np.rint(RAMP / 257)[..., None], 3, -1)
    if name == "a.pgm":
        (tmp_path / name).write_bytes(b"P5 8 8 65535\n" + RAMP.astype(">u2").tobytes())
    else:
        Image.fromarray(RAMP.astype(">u2" if "endian" in name else "<u2")).save(tmp_path / name)
    np.testing.assert_array_equal(prepared(tmp_path / name), expected)
    np.testing.assert_array_equal(trained_on(tmp_path, tmp_path / name), expected)


def test_a_folder_of_16_bit_gray_is_gray(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.fromarray((RAMP * 0.9 + number).astype("uint16")).save(tmp_path / name / f"{number}.png")
    gray = data.load(f"folder:{tmp_path}")
    assert gray.input_shape == (8, 8, 1)
    assert np.abs(gray.train.images[..., 0] - RAMP * 0.9 / 257).max() <= 0.5 + 3 / 257


@pytest.mark.parametrize(("kind", "named"), [("int32", "32-bit integers"), ("float32", "32-bit floating-point")])
def test_32_bit_grey_is_refused_by_name(kind, named, tmp_path, store_folder):
    Image.fromarray(RAMP.astype(kind)).save(tmp_path / "deep.tif")
    with pytest.raises(ValueError, match=rf"deep\.tif', which cannot be read: its pixels are {named}"):
        prepared(tmp_path / "deep.tif")
    with pytest.raises(ValueError, match=rf"Received: <PIL.Image.Image.*: its pixels are {named}"):
        prepared(Image.fromarray(RAMP.astype(kind)))
    folder = store_folder("pets", {"cat": 4, "dog": 4}, (8, 8))
    (tmp_path / "deep.tif").rename(folder / "cat" / "deep.tif")
    with pytest.raises(ValueError, match=rf"1 file cannot be read as an image: .*deep\.tif \(its pixels are {named}"):
        data.load(f"folder:{folder}")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_other_modes_are_those_of_pillow(mode, pixels):
    image = Image.fromarray(pixels).convert("P" if mode == "PA" else mode).convert(mode)
    np.testing.assert_array_equal(prepared(image), np.asarray(image.convert("RGB")))


@pytest.mark.filterwarnings("error")
def test_transparency_is_discarded_without_a_warning(pixels):
    palette = Image.fromarray(pixels).quantize(8)
    file = io.BytesIO()
    palette.save(file, "PNG", transparency=bytes(range(8)))
    np.testing.assert_array_equal(prepared(Image.open(file)), np.asarray(palette.convert("RGB")))


def test_damaged_exif_leaves_an_image_as_it_is_stored(pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=b"Exif\0\0no TIFF at all")
    np.testing.assert_array_equal(prepared(tmp_path / "a.png"), pixels)
    assert images.look(tmp_path / "a.png") == ((8, 8), False, False)


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_files_that_are_no_images_are_a_value_error(content, pixels, tmp_path):
    if content is None:
        Image.fromarray(pixels).save(tmp_path / "a.png")
        content = (tmp_path / "a.png").read_bytes()[:120]
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"Received: '.*a\.png', which cannot be read: (it has no f|image file)"):
        prepared(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match=r"b\.png"):
        prepared(tmp_path / "b.png")
