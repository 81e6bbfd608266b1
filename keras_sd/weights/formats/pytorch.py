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
import pickle
import pickletools
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import ml_dtypes
import numpy as np

from keras_sd.utils.checks import shown
from keras_sd.weights.errors import unreadable
from keras_sd.weights.formats.strict import are_sizes, is_shape, open_archive

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_SHARED = 4  # tensors may share storages (tied weights), but not without bound

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
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    if not is_shape(shape) or len(strides) != len(shape) or not are_sizes([offset, *strides]):
        raise pickle.UnpicklingError("a tensor with sizes that no tensor has")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    # A stride of 0 would let a few bytes stand for terabytes.
    if 0 not in shape and (last >= storage.count or math.prod(shape) > storage.count):
        raise pickle.UnpicklingError(f"a tensor of shape {tuple(shape)} in a storage of {storage.count} numbers")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data, *_):
    if not isinstance(data, _Tensor):
        raise pickle.UnpicklingError("a parameter that is no tensor")
    return data


def _size(sizes=()):
    if not is_shape(sizes):
        raise pickle.UnpicklingError("a shape that no tensor has")
    return tuple(sizes)


def _ordered_dict(pairs=()):
    if not isinstance(pairs, list | tuple):
        raise pickle.UnpicklingError(f"a dictionary made of a {type(pairs).__name__}")
    made = OrderedDict()
    _store(made, [part for key, value in pairs for part in (key, value)])
    if isinstance(pairs, list):
        pairs.clear()  # its only reader was this call: a second one would double what a few bytes stand for
    return made


def _store(target, items):
    """Puts keys and values, one after the other, into a dictionary."""
    if not isinstance(target, dict):
        raise pickle.UnpicklingError(f"an item set in a {type(target).__name__}")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not _is_key(key):
            raise pickle.UnpicklingError(f"a dictionary with {_brief(key)} as a key")
        if key in target:
            raise pickle.UnpicklingError(f"a dictionary with the key {_brief(key)} twice")
        target[key] = value


def _is_key(key):
    """A scalar or a short tuple of them. Of a tuple with another one in it twice, with another one in it twice,
    and so on, the hash would never be computed; and huge numbers may have all the same one."""
    parts = key if isinstance(key, tuple) else (key,)
    return len(parts) <= _MAX_ARGUMENTS and all(
        isinstance(part, _SCALARS) and (not isinstance(part, int) or abs(part) < 2**61 - 1) for part in parts
    )


def _brief(value):
    """A scalar, or the type of anything else: the `repr` of nested containers may never end."""
    return shown(value) if isinstance(value, _SCALARS) else f"a {type(value).__name__}"


_SCALARS = (str, bytes, int, float, type(None))
_MAX_ARGUMENTS = 16
_GLOBALS = {
    ("collections", "OrderedDict"): _Inert(_ordered_dict),
    ("torch", "Size"): _Inert(_size),
    ("torch._utils", "_rebuild_tensor"): _Inert(_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Inert(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): _Inert(_rebuild_parameter),
    **{("torch", name): _Inert(dtype=dtype) for name, dtype in _STORAGE_DTYPES.items()},
}


class _Unpickler(pickle._Unpickler):  # the one in Python, in which keys can be checked before they are hashed
    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)

    def load_setitems(self):
        items = self.pop_mark()
        _store(self.stack[-1], items)

    def load_setitem(self):
        items = self.stack[-2:]
        del self.stack[-2:]
        _store(self.stack[-1], items)

    def load_dict(self):
        items = self.pop_mark()
        self.append({})
        _store(self.stack[-1], items)

    def load_reduce(self):
        # As everywhere here: what a few bytes may ask for again and again must cost no more than a few steps.
        if not isinstance(self.stack[-1], tuple) or len(self.stack[-1]) > _MAX_ARGUMENTS:
            raise pickle.UnpicklingError("a call without arguments, or with too many")
        super().load_reduce()

    def load_build(self):  # attributes of dictionaries mean nothing here
        self.stack.pop()
        if isinstance(self.stack[-1], _Inert):
            raise pickle.UnpicklingError("an attribute set on a function")

    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build

    def find_class(self, module, name):
        try:
            return _GLOBALS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"the Python object '{module}.{name}', which is refused unexecuted") from None

    def persistent_load(self, pid):
        if not isinstance(pid, tuple) or len(pid) not in (5, 6):
            raise pickle.UnpicklingError("a reference of an unknown kind")
        kind, storage, key, _, count, *view = pid
        if kind != "storage" or not isinstance(storage, _Inert) or storage.dtype is None or view not in ([], [None]):
            raise pickle.UnpicklingError(f"a reference of an unknown kind ({_brief(kind)})")
        if not isinstance(key, str) or not are_sizes([count]):
            raise pickle.UnpicklingError(f"a storage with key {_brief(key)} and {_brief(count)} numbers")
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
        found = f"{error}" if isinstance(error, pickle.UnpicklingError) else f"a broken pickle ({shown(error)})"
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
    with open(path, "rb") as file:
        read = _read_zip if file.read(2) == b"PK" else _read_legacy
    described, storages = read(path)
    tensors = _state_dict(path, described)
    claimed = sum(math.prod(tensor.shape) * tensor.storage.dtype.itemsize for tensor in tensors.values())
    if claimed > _SHARED * path.stat().st_size:
        raise unreadable(path, f"tensors of {claimed} bytes in all", f"at most {_SHARED} times the file's size")
    return {name: _array(path, tensor, storages) for name, tensor in tensors.items()}


def _state_dict(path: Path, described: object) -> dict[str, _Tensor]:
    """Finds the dictionary of tensors: the object itself, or under the key that training scripts use."""
    if not isinstance(described, dict):
        raise unreadable(path, f"a pickled {type(described).__name__}", "a dictionary of tensors")
    candidates = [described, *(described.get(key) for key in ("state_dict", "model_state_dict", "model"))]
    for candidate in candidates:
        if isinstance(candidate, dict) and candidate and all(isinstance(v, _Tensor) for v in dict.values(candidate)):
            return {str(name): tensor for name, tensor in dict.items(candidate)}
    keys = ", ".join(map(shown, list(described)[:10]))
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
    expected = "an archive written by torch.save"
    with open_archive(path, expected) as archive:
        entries = {name.partition("/")[2]: name for name in archive.namelist()}
        if len(entries) < len(archive.namelist()):
            raise unreadable(path, "an archive with two entries of one name", expected)
        if "data.pkl" not in entries:
            raise unreadable(path, "a ZIP archive without data.pkl", expected)
        if "byteorder" in entries and archive.read(entries["byteorder"]) != b"little":
            raise unreadable(path, "big-endian numbers", "little-endian ones")
        described = _unpickle(io.BytesIO(archive.read(entries["data.pkl"])), path)
        names = [name for name in entries if name.startswith("data/") and name != "data/"]
        return described, {name.removeprefix("data/"): archive.read(entries[name]) for name in names}


def _read_legacy(path: Path) -> tuple[object, dict[str, bytes]]:
    expected = "a PyTorch file (magic number, protocol, system, objects, storages)"
    file = io.BytesIO(path.read_bytes())
    if _unpickle(file, path) != LEGACY_MAGIC or _unpickle(file, path) != _LEGACY_PROTOCOL:
        raise unreadable(path, "a pickle of something else", expected)
    system = _unpickle(file, path)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise unreadable(path, f"{_brief(system)} as the system's description", "a little-endian system")
    described = _unpickle(file, path)
    keys = _unpickle(file, path)
    if not isinstance(keys, list):
        raise unreadable(path, f"a {type(keys).__name__} of storage keys", "a list")
    itemsizes = _itemsizes(described)
    storages: dict[str, bytes] = {}
    for key in keys:
        if not isinstance(key, str) or key not in itemsizes or key in storages:
            raise unreadable(
                path, f"storage {_brief(key)} twice, or that no tensor uses", "storages of the tensors only"
            )
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
