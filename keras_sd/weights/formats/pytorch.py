"""PyTorch's `.th`, `.pth`, `.pt` and `.bin` files, read without PyTorch and without running what is pickled
in them.

Two formats exist: a ZIP archive (PyTorch 1.6 and later) and, before it, a sequence of pickles with the raw
storages behind them. In both a pickle describes the tensors. It passes two gates before anything of it takes
effect: every opcode must be one that plain containers and tensors need, and every global that it names must
be on a short list, each answered by an inert stand-in of ours. The tensors themselves are read only when the
whole description has passed.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from keras_sd.weights.errors import WeightsError, unreadable

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

_STORAGE_DTYPES: dict[str, np.dtype] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}

# All that a dict of tensors needs. Left out on purpose: INST, OBJ, NEWOBJ, NEWOBJ_EX (make objects), EXT* (a
# registry).
_OPCODES = frozenset((
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "GLOBAL", "STACK_GLOBAL", "REDUCE",
    "BUILD", "BINPERSID", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG",
    "LONG1", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "EMPTY_LIST", "APPEND", "APPENDS",
    "LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "DICT", "SETITEM",
    "SETITEMS", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET",
))  # fmt: skip


@dataclass(frozen=True)
class _Storage:
    """A run of numbers in the file, still unread: dtype, key and the count that the pickle declares."""

    dtype: np.dtype
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage, still unread: offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Inert:
    """Stands for a global of PyTorch. No attribute can be set on it, so no BUILD opcode changes it."""

    __slots__ = ("dtype", "function")

    def __init__(self, function=None, dtype=None):
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "dtype", dtype)

    def __setattr__(self, name, value):
        raise pickle.UnpicklingError("an attribute set on a function")

    def __call__(self, *args):
        if self.function is None:
            raise pickle.UnpicklingError("a storage class that is called")
        return self.function(*args)


def _rebuild_tensor(storage, offset, shape, strides, *_):
    """Answers `torch._utils._rebuild_tensor` and its `_v2`; hooks and gradient flags are ignored."""
    numbers = [offset, *shape, *strides]
    if not isinstance(storage, _Storage) or not all(type(number) is int and number >= 0 for number in numbers):
        raise pickle.UnpicklingError("a tensor without a storage, or with sizes that are no whole numbers from 0")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    # A stride of 0 would let a few bytes stand for terabytes.
    if 0 not in shape and (last >= storage.count or math.prod(shape) > storage.count):
        raise pickle.UnpicklingError(f"a tensor of shape {tuple(shape)} in a storage of {storage.count} numbers")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data, *_):
    if not isinstance(data, _Tensor):
        raise pickle.UnpicklingError("a parameter that is no tensor")
    return data


_GLOBALS = {
    ("collections", "OrderedDict"): _Inert(OrderedDict),
    ("torch", "Size"): _Inert(tuple),
    ("torch._utils", "_rebuild_tensor"): _Inert(_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Inert(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): _Inert(_rebuild_parameter),
    **{("torch", name): _Inert(dtype=dtype) for name, dtype in _STORAGE_DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return _GLOBALS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"the Python object '{module}.{name}', which is refused unexecuted") from None

    def persistent_load(self, pid):
        kind, storage, key, _, count, *view = pid
        if kind != "storage" or not isinstance(storage, _Inert) or storage.dtype is None or any(view):
            raise pickle.UnpicklingError(f"a reference of an unknown kind ({kind!r:.80})")
        if type(key) is not str or type(count) is not int or count < 0:
            raise pickle.UnpicklingError(f"a storage with key {key!r:.80} and {count!r:.80} numbers")
        return _Storage(storage.dtype, key, count)


def _unpickle(file: io.BytesIO, path: Path) -> object:
    """Checks the pickle that starts at the file's position, then reads it; leaves the position behind it."""
    start = file.tell()
    try:
        for opcode, argument, position in pickletools.genops(file):
            if opcode.name not in _OPCODES:
                raise pickle.UnpicklingError(f"the pickle instruction {opcode.name} at byte {position}")
            if "PUT" in opcode.name and argument > position:  # a huge index would allocate a huge memo
                raise pickle.UnpicklingError(f"memo index {argument} at byte {position}")
        file.seek(start)
        return _Unpickler(file).load()
    except Exception as error:  # malformed pickles raise nearly anything: IndexError, AttributeError, MemoryError ...
        found = f"{error}" if isinstance(error, pickle.UnpicklingError) else f"a broken pickle ({error!r:.200})"
        raise unreadable(path, found, "a dictionary of tensors in plain containers, and nothing else") from error


def read_pytorch(path: Path) -> dict[str, np.ndarray]:
    """Reads the state dictionary of a PyTorch file, in the ZIP format or the one before.

    Args:
        path: The file.

    Returns:
        The arrays by name, in the file's order.

    Raises:
        WeightsError: If the file is damaged, or holds anything but tensors and plain containers: such a file
            is refused before any of it takes effect.
    """
    read = _read_zip if zipfile.is_zipfile(path) else _read_legacy
    described, storages = read(path)
    return {name: _array(path, tensor, storages) for name, tensor in _state_dict(path, described).items()}


def _state_dict(path: Path, described: object) -> dict[str, _Tensor]:
    """Finds the dictionary of tensors: the object itself, or under the key that training scripts use."""
    if not isinstance(described, dict):
        raise unreadable(path, f"a pickled {type(described).__name__}", "a dictionary of tensors")
    candidates = [described, *(described.get(key) for key in ("state_dict", "model_state_dict", "model"))]
    for candidate in candidates:
        if isinstance(candidate, dict) and candidate and all(isinstance(v, _Tensor) for v in dict.values(candidate)):
            return {str(name): tensor for name, tensor in dict.items(candidate)}
    keys = ", ".join(map(repr, list(described)[:10]))
    raise unreadable(path, f"a dictionary with the keys {keys}", "tensors, or a 'state_dict' of tensors")


def _array(path: Path, tensor: _Tensor, storages: dict[str, bytes]) -> np.ndarray:
    storage = tensor.storage
    data = storages.get(storage.key, b"")
    if len(data) != storage.count * storage.dtype.itemsize:
        wanted = storage.count * storage.dtype.itemsize
        raise unreadable(path, f"{len(data)} bytes of storage '{storage.key}'", f"{wanted} bytes, as its header says")
    flat = np.frombuffer(data, storage.dtype)[tensor.offset :]
    strides = [stride * storage.dtype.itemsize for stride in tensor.strides]
    return np.array(np.lib.stride_tricks.as_strided(flat, tensor.shape, strides))


def _read_zip(path: Path) -> tuple[object, dict[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename.partition("/")[2]: info for info in archive.infolist()}
            check_declared_sizes(path, archive)
            if "data.pkl" not in entries:
                raise unreadable(path, "a ZIP archive without data.pkl", "an archive written by torch.save")
            if "byteorder" in entries and archive.read(entries["byteorder"]) != b"little":
                raise unreadable(path, "big-endian numbers", "little-endian ones")
            described = _unpickle(io.BytesIO(archive.read(entries["data.pkl"])), path)
            names = [name for name in entries if name.startswith("data/") and name != "data/"]
            return described, {name.removeprefix("data/"): archive.read(entries[name]) for name in names}
    except (
        zipfile.BadZipFile,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:  # CRC, encryption, methods
        raise unreadable(path, f"a damaged ZIP archive ({error})", "an archive written by torch.save") from error


def check_declared_sizes(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuses an archive whose entries claim more bytes than the file has: weights are stored as is."""
    declared, size = sum(info.file_size for info in archive.infolist()), os.path.getsize(path)
    if declared > size:
        raise unreadable(path, f"an archive that would unpack to {declared} bytes from {size}", "uncompressed entries")


def _read_legacy(path: Path) -> tuple[object, dict[str, bytes]]:
    expected = "a PyTorch file (magic number, protocol, system, objects, storages)"
    file = io.BytesIO(path.read_bytes())
    if _unpickle(file, path) != LEGACY_MAGIC or _unpickle(file, path) != _LEGACY_PROTOCOL:
        raise unreadable(path, "a pickle of something else", expected)
    system = _unpickle(file, path)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise unreadable(path, f"{system!r:.100} as the system's description", "a little-endian system")
    described = _unpickle(file, path)
    keys = _unpickle(file, path)
    if not isinstance(keys, list):
        raise unreadable(path, f"a {type(keys).__name__} of storage keys", "a list")
    itemsizes = _itemsizes(described)
    storages: dict[str, bytes] = {}
    for key in keys:
        if key not in itemsizes:
            raise unreadable(path, f"storage {key!r:.80} that no tensor uses", "storages of the tensors only")
        count = int.from_bytes(file.read(8), "little")
        wanted = count * itemsizes[key]
        storages[key] = file.read(wanted) if wanted <= file.getbuffer().nbytes else b""
        if len(storages[key]) != wanted:
            raise unreadable(path, f"the end of the file inside storage '{key}'", f"{wanted} bytes of it")
    if file.read(1):
        raise unreadable(path, f"{file.getbuffer().nbytes - file.tell() + 1} bytes behind the last storage", "none")
    return described, storages


def _itemsizes(described: object) -> dict[str, int]:
    """The size of a number in each storage: the file gives counts only. No recursion, so no depth limit."""
    sizes, seen, pending = {}, set(), [described]
    while pending:
        item = pending.pop()
        if isinstance(item, _Tensor):
            sizes[item.storage.key] = item.storage.dtype.itemsize
        elif id(item) not in seen and isinstance(item, dict | list | tuple):
            seen.add(id(item))
            pending.extend(dict.values(item) if isinstance(item, dict) else item)
    return sizes


__all__ = ["WeightsError", "check_declared_sizes", "read_pytorch"]
