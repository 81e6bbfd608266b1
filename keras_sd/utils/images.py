"""Image files: one way to open them, for training and for prediction."""

import functools
import os
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

# Pillow recognizes files of these formats but cannot decode them by itself.
_NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# Formats in which mode "I" has 16 bits; in any other it has 32, and which value is white is not known.
_DEEP_GREY = {"PNG", "PPM"}


@functools.cache
def suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case, of the files that Pillow decodes."""
    Image.init()
    can_open = set(Image.OPEN) - _NOT_DECODED
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in can_open)


def open_image(source: Any, mode: str) -> Image.Image:
    """Return an image upright, as its EXIF orientation says, with 8 bits a channel.

    Transparency is discarded, and of several frames the first is taken, as PyTorch's and Keras's loaders do. 16-bit
    grey is scaled to 8 bits.

    Args:
        source: Path of a file, or a Pillow image.
        mode: "RGB" or "L", Pillow's name of the channels.

    Returns:
        A Pillow image.

    Raises:
        ValueError: The file cannot be read, or its pixels have 32 bits; the message is the reason alone.
        FileNotFoundError: There is no such file.
    """
    with _reasons():
        if isinstance(source, Image.Image):
            return _converted(source, mode)
        with Image.open(source) as image:
            return _converted(image, mode)


class Looked(NamedTuple):
    """What is known of an image file before it is decoded.

    Args:
        size: Tuple of integers, width and height of the upright image.
        is_grey: Boolean.
        is_plain_jpeg: Boolean, whether any decoder of JPEG makes of it what `open_image` does: upright as it is stored,
            grey or RGB.
    """

    size: tuple[int, int]
    is_grey: bool
    is_plain_jpeg: bool = False


def look(path: str | os.PathLike) -> Looked:
    """Return what the header of an image file says, once it is clear that the file is whole.

    Checksums of a PNG are verified and the end of a JPEG is looked at; files of other formats are decoded.

    Raises:
        ValueError, FileNotFoundError: As `open_image`.
    """
    with _reasons(), Image.open(path) as image:
        _check_depth(image.mode, image.format)
        is_grey = image.mode in ("1", "L", "LA", "La", "I") or image.mode.startswith("I;16")
        orientation = _orientation(image)
        if image.format == "PNG" and orientation < 5:
            size = image.size
            image.verify()
            return Looked(size, is_grey)
        if image.format == "JPEG" and orientation < 5 and _has_end(path):
            return Looked(image.size, is_grey, orientation == 1 and image.mode in ("RGB", "L"))
        return Looked(_upright(image).size, is_grey)  # turned by a quarter; some formats do it in decoding


def _has_end(path):
    """Whether a JPEG ends with its last marker; what is torn does not, and what has something more behind it."""
    with open(path, "rb") as file:
        file.seek(-2, os.SEEK_END)
        return file.read() == b"\xff\xd9"


class _reasons:
    """Whatever Pillow raises becomes a `ValueError`: of a damaged file it raises nearly anything."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, UnidentifiedImageError):
            raise ValueError("it has no format that Pillow knows") from error
        if isinstance(error, Exception) and not isinstance(error, FileNotFoundError):
            raise ValueError(str(error) or kind.__name__) from error


def _converted(image, mode):
    _check_depth(image.mode, image.format)
    upright = _upright(image)
    if upright.mode == "I" or upright.mode.startswith("I;16"):
        upright = Image.fromarray(np.rint(np.asarray(upright) / 257).astype("uint8"))
    if "transparency" in upright.info and upright.mode == "P":
        upright = upright.convert("RGBA")  # Pillow warns where it discards a palette's transparency
    return upright.convert(mode)


def _check_depth(mode, kind):
    if mode == "F" or (mode == "I" and kind not in _DEEP_GREY):
        numbers = "floating-point numbers" if mode == "F" else "integers"
        raise ValueError(f"its pixels are 32-bit {numbers}, of which white is not known; save it with 8 or 16 bits")


def _upright(image):
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the pixels are there and EXIF is damaged: viewers show such an image as it is stored
        return image


def _orientation(image):
    if image.format == "PNG" and not any("exif" in key or "xmp" in key for key in image.info):
        return 1  # `getexif` would decode the image
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
