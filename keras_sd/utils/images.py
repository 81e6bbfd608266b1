"""Open image files, in the same way for training and prediction."""

import functools
import os
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

# Pillow recognizes these formats but cannot decode them without other software.
_NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# Formats in which mode "I" has 16 bits. In all others it has 32, and the value of white is not known.
_DEEP_GREY = {"PNG", "PPM"}


@functools.cache
def suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case, of the files that Pillow can decode."""
    Image.init()
    can_open = set(Image.OPEN) - _NOT_DECODED
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in can_open)


def open_image(source: Any, mode: str) -> Image.Image:
    """Return an image rotated by its EXIF orientation, with 8 bits per channel.

    Transparency is discarded, and only the first of several frames is used, as in PyTorch's and Keras's loaders. 16-bit
    gray is scaled to 8 bits.

    Args:
        source: Path of a file, or a Pillow image.
        mode: "RGB" or "L", Pillow's name for the channels.

    Returns:
        A Pillow image.

    Raises:
        ValueError: If the file cannot be read, or its pixels have 32 bits; the message has only the reason.
        FileNotFoundError: If there is no such file.
    """
    with _reasons():
        if isinstance(source, Image.Image):
            return _converted(source, mode)
        with Image.open(source) as image:
            return _converted(image, mode)


class Looked(NamedTuple):
    """Properties of an image file that are known before decoding.

    Args:
        size: Tuple of integers, width and height of the upright image.
        is_gray: Boolean, whether the image is gray.
        is_plain_jpeg: Boolean, whether any JPEG decoder gives the same result as `open_image`: the image is stored
            upright, in gray or RGB.
    """

    size: tuple[int, int]
    is_gray: bool
    is_plain_jpeg: bool = False


def look(path: str | os.PathLike) -> Looked:
    """Return the properties in the header of an image file, after checking that the file is complete.

    Checksums of a PNG and the end of a JPEG are checked; files of other formats are decoded.

    Raises:
        ValueError, FileNotFoundError: Same as `open_image`.
    """
    with _reasons(), Image.open(path) as image:
        _check_depth(image.mode, image.format)
        is_gray = image.mode in ("1", "L", "LA", "La", "I") or image.mode.startswith("I;16")
        orientation = _orientation(image)
        if image.format == "PNG" and orientation < 5:
            size = image.size
            image.verify()
            return Looked(size, is_gray)
        if image.format == "JPEG" and orientation < 5 and _has_end(path):
            return Looked(image.size, is_gray, orientation == 1 and image.mode in ("RGB", "L"))
        return Looked(_upright(image).size, is_gray)  # rotated by 90 degrees; some formats do this in decoding


def _has_end(path):
    """Return whether a JPEG ends with its last marker, unlike truncated files and those with additional data."""
    with open(path, "rb") as file:
        file.seek(-2, os.SEEK_END)
        return file.read() == b"\xff\xd9"


class _reasons:
    """Convert all errors of Pillow to `ValueError`: for damaged files it raises many kinds."""

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
        raise ValueError(f"its pixels are 32-bit {numbers}, whose white value is not known; save it with 8 or 16 bits")


def _upright(image):
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF is damaged but the pixels are intact: viewers show such an image as stored
        return image


def _orientation(image):
    if image.format == "PNG" and not any("exif" in key or "xmp" in key for key in image.info):
        return 1  # `getexif` would decode the image
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
