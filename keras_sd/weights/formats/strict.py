"""Strict parsing of JSON, shapes and ZIP archives: ambiguous or oversized content raises an error."""

from __future__ import annotations

import contextlib
import json
import math
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from keras_sd.utils.checks import shown
from keras_sd.weights.errors import WeightsError, unreadable

_MAX_DIMENSIONS = 32  # limit of NumPy 1
_MOST_VALUES = 2_000_000  # in a JSON document: about 200 MB in Python; a ResNet-1202 of single blocks has a third
_MAX_NUMBER = 2**48  # for a dimension, stride or offset: in bytes it fits 64 bits with any dtype
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the only ones whose output Python limits


def parse_json(raw: bytes | str) -> object:
    """Parse JSON in which no object has a duplicate key.

    Raises:
        ValueError: If it is not such JSON, is nested too deep, or has so many values that they would fill the memory.
    """
    marks = (b",", b"[", b"{") if isinstance(raw, bytes) else (",", "[", "{")
    if sum(map(raw.count, marks)) > _MOST_VALUES:  # type: ignore[arg-type]  # of the kind of `raw`
        raise ValueError(f"it has more than {_MOST_VALUES:,} values")
    try:
        return json.loads(raw, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shown(key)} occurs twice")
        found[key] = value
    return found


def are_sizes(numbers: Sequence[object]) -> bool:
    """Return whether all numbers are non-negative integers that can be a dimension, stride or offset of an array."""
    return all(type(number) is int and 0 <= number < _MAX_NUMBER for number in numbers)


def is_shape(shape: object) -> bool:
    """Return whether NumPy can make an array of this shape, given enough memory."""
    if not isinstance(shape, list | tuple) or len(shape) > _MAX_DIMENSIONS or not are_sizes(shape):
        return False
    return math.prod(size or 1 for size in shape) < _MAX_NUMBER  # NumPy multiplies the other sizes even if one is 0


@contextlib.contextmanager
def open_archive(path: Path, expected: str) -> Iterator[zipfile.ZipFile]:
    """Open a ZIP archive. Its entries must have unique names, and declare no more bytes in total than the file has.

    Args:
        path: The file.
        expected: Description of the expected file, for error messages.

    Raises:
        WeightsError: If it is not such an archive, or an entry is found to be damaged when it is read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries, size = archive.infolist(), os.path.getsize(path)
            if len({info.filename for info in entries}) < len(entries):
                raise unreadable(path, "an archive with two entries of one name", expected)
            declared = sum(info.file_size for info in entries)
            if declared > size:
                raise unreadable(
                    path, f"an archive that would unpack to {declared} bytes from {size}", "uncompressed entries"
                )
            if any(info.compress_type not in _METHODS for info in entries):
                raise unreadable(path, "an archive compressed by a method other than deflate", expected)
            yield archive
    except WeightsError:
        raise
    except Exception as error:  # BadZipFile, zlib.error, struct.error, RuntimeError for encryption, ...
        raise unreadable(path, f"a damaged archive ({error})", expected) from error
