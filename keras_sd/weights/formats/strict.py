"""Parsing that refuses what is ambiguous, or larger than the file that it is in: JSON, shapes, ZIP archives."""

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

_MAX_DIMENSIONS = 32  # of NumPy 1
_MOST_VALUES = 2_000_000  # of a JSON document: some 200 MB in Python; a ResNet of 1202 single blocks has a third
_MAX_NUMBER = 2**48  # of a dimension, stride or offset: in bytes it fits 64 bits, whatever the dtype
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # Python bounds the output of no other one


def parse_json(raw: bytes | str) -> object:
    """Parse JSON in which no object has a key twice.

    Raises:
        ValueError: If it is anything else, nested too deep, or of so many values that they would fill the memory.
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
            raise ValueError(f"the key {shown(key)} is there twice")
        found[key] = value
    return found


def are_sizes(numbers: Sequence[object]) -> bool:
    """Whether all are whole numbers from 0 that can be a dimension, a stride or an offset of an array."""
    return all(type(number) is int and 0 <= number < _MAX_NUMBER for number in numbers)


def is_shape(shape: object) -> bool:
    """Whether NumPy can have an array of this shape, given the memory for it."""
    if not isinstance(shape, list | tuple) or len(shape) > _MAX_DIMENSIONS or not are_sizes(shape):
        return False
    return math.prod(size or 1 for size in shape) < _MAX_NUMBER  # NumPy multiplies the others even when one is 0


@contextlib.contextmanager
def open_archive(path: Path, expected: str) -> Iterator[zipfile.ZipFile]:
    """Open a ZIP archive whose entries have names of their own and claim no more bytes than the file has.

    Args:
        path: The file.
        expected: What an error says was expected.

    Raises:
        WeightsError: If it is no such archive, or an entry that is read turns out to be damaged.
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
                raise unreadable(path, "an archive compressed by another method than deflate", expected)
            yield archive
    except WeightsError:
        raise
    except Exception as error:  # BadZipFile, zlib.error, struct.error, RuntimeError for encryption, ...
        raise unreadable(path, f"a damaged archive ({error})", expected) from error
