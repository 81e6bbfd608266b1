"""The safetensors format: an 8-byte length, a JSON header, then the tensors' bytes.

The `safetensors` package cannot read bfloat16 into NumPy and changed its low-level functions between releases, so this
small format is implemented here; the tests compare with the package.

Reference:
    - [The format](https://github.com/huggingface/safetensors#format)
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import ml_dtypes
import numpy as np

from keras_sd.utils.checks import shown
from keras_sd.utils.files import replacing
from keras_sd.weights.errors import WeightsError, unreadable
from keras_sd.weights.formats.strict import are_sizes, is_shape, parse_json

MAX_HEADER_BYTES = 100_000_000  # the format's own limit

DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a `.safetensors` file.

    Args:
        path: The file.

    Returns:
        The arrays by name, in header order, and the metadata of the header.

    Raises:
        WeightsError: If the format or the file size does not allow the header or an offset.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise unreadable(
                path,
                f"a header of {length} bytes in a file of {size} bytes",
                f"a safetensors header that fits the file and has at most {MAX_HEADER_BYTES} bytes",
            )
        header = _parse_header(path, file.read(length))
        data = file.read()
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise unreadable(path, f"the metadata {shown(metadata)}", "a JSON object of text")
    spans = sorted((_check_entry(path, name, entry, len(data)), name) for name, entry in header.items())
    end = 0
    for (start, stop), name in spans:
        if start != end:  # the format allows neither gaps nor overlaps
            raise unreadable(
                path, f"tensor {shown(name)} at byte {start}", f"a start at byte {end}, the end of the previous one"
            )
        end = stop
    if end != len(data):
        raise unreadable(path, f"{len(data)} bytes of tensors", f"{end} bytes, as the header says")
    arrays = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        arrays[name] = np.frombuffer(data[start:stop], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays, metadata


def _parse_header(path: Path, raw: bytes) -> dict:
    try:
        header = parse_json(raw)
    except ValueError as error:
        raise unreadable(path, f"a header that is not JSON ({error})", "the JSON header of safetensors") from error
    if not isinstance(header, dict):
        raise unreadable(path, f"a JSON {type(header).__name__} as header", "a JSON object of tensors")
    return header


def _check_entry(path: Path, name: str, entry: object, available: int) -> tuple[int, int]:
    """Return the first and last byte of one tensor, after checking that dtype, shape and offsets agree."""
    entry = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not (is_shape(shape) and isinstance(offsets, list) and len(offsets) == 2 and are_sizes(offsets)):
        raise unreadable(path, f"tensor {shown(name)} described as {shown(entry)}", "dtype, shape, data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise unreadable(path, f"tensor {shown(name)} of dtype {shown(dtype)}", f"one of {', '.join(DTYPES)}")
    start, stop = offsets
    wanted = math.prod(cast(list, shape)) * DTYPES[dtype].itemsize
    if stop > available or stop - start != wanted:
        raise unreadable(
            path,
            f"tensor {shown(name)} at bytes {start} to {stop} of {available}",
            f"{wanted} bytes inside the file, as {dtype} of shape {shape} needs",
        )
    return start, stop


def write_safetensors(
    path: str | os.PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write arrays as a `.safetensors` file, atomically.

    Args:
        path: Path of the file. An existing file is replaced only when the new one is complete.
        arrays: The arrays by name, written in this order.
        metadata: Text for the header, for example `{"format": "pt"}`.

    Returns:
        The path.

    Raises:
        WeightsError: If the format does not support the dtype of an array, or a name is not text.
    """
    path = Path(path)
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    parts, end = [], 0
    for name, array in arrays.items():
        array = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")  # 0-d stays 0-d
        if array.dtype not in _CODES or not isinstance(name, str) or name == "__metadata__":
            allowed = ", ".join(str(dtype) for dtype in _CODES)
            raise WeightsError(f"Cannot write '{name}' of dtype {array.dtype} to '{path}': expected one of {allowed}.")
        span = [end, end := end + array.nbytes]
        header[name] = {"dtype": _CODES[array.dtype], "shape": list(array.shape), "data_offsets": span}
        parts.append(array)
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)  # aligned, as the format requires
    with replacing(path) as partial, open(partial, "wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for array in parts:
            file.write(array.tobytes())
    return path
