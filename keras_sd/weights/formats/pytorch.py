"""Read PyTorch's `.th`, `.pth`, `.pt` and `.bin` files without PyTorch and without executing pickled code.

There are two formats: a ZIP archive (PyTorch 1.6 and later), and an older sequence of pickles followed by the raw
storages. In both, a pickle describes the tensors. It passes two checks before it has any effect: every opcode must be
one that checkpoints need, and every global that it names is replaced by an inert stand-in. Checkpoints contain more
than tensors: options, metrics, optimizer states. Anything that is neither a tensor nor a plain container is described,
never executed, and skipped. The tensors are read only after the whole description has passed.
"""

from __future__ import annotations

import io
import logging
import math
import pickle
import pickletools
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

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

# Keys under which training scripts store weights, as timm and others look for them: the weights themselves, and their
# moving average.
_RAW = ("state_dict", "model_state_dict", "model", "net")
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict")

_log = logging.getLogger(__name__)

# Everything needed for a dict of tensors and the usual objects next to it. Deliberately excluded: INST, OBJ, NEWOBJ_EX
# (other ways to make objects), EXT* (a registry).
_OPCODES = frozenset((
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ",
    "BUILD", "BINPERSID", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG",
    "LONG1", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "EMPTY_LIST", "APPEND", "APPENDS",
    "LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "DICT", "SETITEM",
    "SETITEMS", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET",
))  # fmt: skip


@dataclass(frozen=True)
class _Storage:
    """An unread sequence of numbers in the file: dtype, key and count, as declared by the pickle."""

    dtype: np.dtype
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """An unread view of a storage; offset and strides are in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Inert:
    """A stand-in for a PyTorch global. Attributes cannot be set, so no BUILD opcode can change it."""

    __slots__ = ("dtype", "function")

    def __init__(self, function=None, dtype=None):
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "dtype", dtype)

    def __setattr__(self, name, value):
        raise pickle.UnpicklingError("an attribute set on a function")

    def __call__(self, *args):
        if self.function is None:
            raise pickle.UnpicklingError("a call of a storage class")
        return self.function(*args)


class _Foreign(dict):
    """A stand-in for a foreign class or function, and for the objects that it would have made.

    Each global has its own subclass. Items are kept because state dictionaries may be of a class derived from
    `OrderedDict`; everything else is discarded.
    """

    __eq__, __hash__ = object.__eq__, object.__hash__  # type: ignore[assignment]  # may be a dictionary key

    def append(self, *_):
        """Ignore the items of a list."""

    extend = append


def _is_foreign_class(value):
    return isinstance(value, type) and issubclass(value, _Foreign)


def _rebuild_tensor(storage, offset, shape, strides, *_):
    """Replace `torch._utils._rebuild_tensor` and its `_v2`; hooks and gradient flags are ignored."""
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    if not is_shape(shape) or len(strides) != len(shape) or not are_sizes([offset, *strides]):
        raise pickle.UnpicklingError("a tensor with invalid sizes")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    # With a stride of 0, a few bytes could expand to terabytes.
    if 0 not in shape and (last >= storage.count or math.prod(shape) > storage.count):
        raise pickle.UnpicklingError(f"a tensor of shape {tuple(shape)} in a storage of {storage.count} numbers")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data, *_):
    if not isinstance(data, _Tensor):
        raise pickle.UnpicklingError("a parameter that is not a tensor")
    return data


def _size(sizes=()):
    if not is_shape(sizes):
        raise pickle.UnpicklingError("an invalid shape")
    return tuple(sizes)


def _ordered_dict(pairs=()):
    if not isinstance(pairs, list | tuple):
        raise pickle.UnpicklingError(f"a dictionary made of a {type(pairs).__name__}")
    made = OrderedDict()
    _store(made, [part for key, value in pairs for part in (key, value)])
    if isinstance(pairs, list):
        pairs.clear()  # used only by this call; a second use would let a few bytes expand repeatedly
    return made


def _store(target, items):
    """Store alternating keys and values in a dictionary."""
    if not isinstance(target, dict):
        raise pickle.UnpicklingError(f"an item set in a {type(target).__name__}")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not _is_key(key):
            raise pickle.UnpicklingError(f"a dictionary with {_brief(key)} as a key")
        if key in target:
            raise pickle.UnpicklingError(f"a dictionary with the key {_brief(key)} twice")
        target[key] = value


def _is_key(key):
    """Return whether a key is a scalar or a short tuple of scalars.

    Hashing nested tuples that each contain the next one twice takes exponential time, and huge numbers may all have
    the same hash.
    """
    parts = key if isinstance(key, tuple) else (key,)
    return len(parts) <= _MAX_ARGUMENTS and all(
        isinstance(part, _Foreign)
        or _is_foreign_class(part)
        or (isinstance(part, _SCALARS) and (not isinstance(part, int) or abs(part) < 2**61 - 1))
        for part in parts
    )


def _brief(value):
    """Return a scalar as text, or the type of anything else: the `repr` of nested containers may never end."""
    return shown(value) if isinstance(value, _SCALARS) else f"a {type(value).__name__}"


_SCALARS = (str, bytes, int, float, type(None))
_MAX_ARGUMENTS = 16
_MAX_FOREIGN = 256  # foreign globals in a file; each takes memory
_GLOBALS = {
    ("collections", "OrderedDict"): _Inert(_ordered_dict),
    ("torch", "Size"): _Inert(_size),
    ("torch._utils", "_rebuild_tensor"): _Inert(_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Inert(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): _Inert(_rebuild_parameter),
    **{("torch", name): _Inert(dtype=dtype) for name, dtype in _STORAGE_DTYPES.items()},
}


class _Unpickler(pickle._Unpickler):  # the Python version, in which keys can be checked before they are hashed
    """Unpickler that only describes the content of a pickle.

    Attributes:
        foreign: A class for each foreign global that the pickle names, by that name.
        storages: Dtype of each storage by its key, including storages that only skipped objects use.
    """

    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)

    def __init__(self, file):
        super().__init__(file)
        self.foreign: dict[str, type] = {}
        self.storages: dict[str, np.dtype] = {}

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
        if _is_foreign_class(self.stack[-2]):
            self.load_newobj()
        # As everywhere here: a few bytes may request this again and again, so it must be cheap.
        elif not isinstance(self.stack[-1], tuple) or len(self.stack[-1]) > _MAX_ARGUMENTS:
            raise pickle.UnpicklingError("a call without arguments, or with too many")
        else:
            super().load_reduce()

    def load_newobj(self):
        self.stack.pop()  # arguments of foreign classes are ignored
        if not _is_foreign_class(self.stack[-1]):
            raise pickle.UnpicklingError("an object made from something that is not a class")
        self.stack[-1] = self.stack[-1]()

    def load_build(self):  # attributes of dictionaries have no meaning here
        self.stack.pop()
        if isinstance(self.stack[-1], _Inert):
            raise pickle.UnpicklingError("an attribute set on a function")

    dispatch[pickle.SETITEMS[0]] = load_setitems  # type: ignore[assignment]
    dispatch[pickle.SETITEM[0]] = load_setitem  # type: ignore[assignment]
    dispatch[pickle.DICT[0]] = load_dict  # type: ignore[assignment]
    dispatch[pickle.REDUCE[0]] = load_reduce  # type: ignore[assignment]
    dispatch[pickle.NEWOBJ[0]] = load_newobj  # type: ignore[assignment]
    dispatch[pickle.BUILD[0]] = load_build  # type: ignore[assignment]

    def find_class(self, module, name):
        if (module, name) in _GLOBALS:
            return _GLOBALS[module, name]
        name = f"{module}.{name}"
        if name not in self.foreign:
            if len(self.foreign) == _MAX_FOREIGN:
                raise pickle.UnpicklingError(f"more than {_MAX_FOREIGN} kinds of Python objects")
            self.foreign[name] = type("Foreign", (_Foreign,), {})
        return self.foreign[name]

    def persistent_load(self, pid):
        if not isinstance(pid, tuple) or len(pid) not in (5, 6):
            raise pickle.UnpicklingError("a reference of an unknown kind")
        kind, storage, key, _, count, *view = pid
        if kind != "storage" or not isinstance(storage, _Inert) or storage.dtype is None or view not in ([], [None]):
            raise pickle.UnpicklingError(f"a reference of an unknown kind ({_brief(kind)})")
        if not isinstance(key, str) or not are_sizes([count]):
            raise pickle.UnpicklingError(f"a storage with key {_brief(key)} and {_brief(count)} numbers")
        if self.storages.setdefault(key, storage.dtype) != storage.dtype:
            raise pickle.UnpicklingError(f"storage {_brief(key)} with two kinds of numbers")
        return _Storage(storage.dtype, key, count)


@dataclass(frozen=True)
class _Description:
    """The content of a pickle, its unpickler's `foreign` names, and its `storages`."""

    content: object
    foreign: tuple[str, ...]
    storages: dict[str, np.dtype]


def _unpickle(file: io.BytesIO, path: Path) -> _Description:
    """Check and read the pickle at the file's position; the position is then after it."""
    start = file.tell()
    try:
        for opcode, argument, position in pickletools.genops(file):
            if opcode.name not in _OPCODES:
                raise pickle.UnpicklingError(f"the pickle instruction {opcode.name} at byte {position}")
            # A huge index would allocate a huge memo.
            if "PUT" in opcode.name and cast(int, argument) > cast(int, position):
                raise pickle.UnpicklingError(f"memo index {argument} at byte {position}")
        file.seek(start)
        unpickler = _Unpickler(file)
        return _Description(unpickler.load(), tuple(unpickler.foreign), unpickler.storages)
    except Exception as error:  # malformed pickles raise nearly anything: IndexError, AttributeError, MemoryError ...
        found = f"{error}" if isinstance(error, pickle.UnpicklingError) else f"a broken pickle ({shown(error)})"
        raise unreadable(path, found, "a dictionary of tensors in plain containers") from error


def read_pytorch(path: Path, use_ema: bool = True) -> dict[str, np.ndarray]:
    """Read the state dictionary of a PyTorch file, in the ZIP format or the older one.

    Args:
        path: The file.
        use_ema: Whether to read the moving average from a checkpoint that has weights and their average.

    Returns:
        The arrays by name, in file order. Everything that is not a tensor is skipped and not executed.

    Raises:
        WeightsError: If the file is damaged, or has no dictionary of tensors or several of them.
    """
    with open(path, "rb") as file:
        read = _read_zip if file.read(2) == b"PK" else _read_legacy
    described, storages = read(path)
    tensors = _state_dict(path, described, use_ema)
    claimed = sum(math.prod(tensor.shape) * tensor.storage.dtype.itemsize for tensor in tensors.values())
    if claimed > _SHARED * path.stat().st_size:
        raise unreadable(path, f"tensors of {claimed} bytes in all", f"at most {_SHARED} times the file's size")
    return {name: _array(path, tensor, storages) for name, tensor in tensors.items()}


def _state_dict(path: Path, described: _Description, use_ema: bool) -> dict[str, _Tensor]:
    """Find the dictionary of tensors: under a key used by training scripts, or else the object itself."""
    content, expected = described.content, "tensors, or a 'state_dict' of tensors"
    if isinstance(content, dict):
        raw = {key: tensors for key in _RAW if (tensors := _tensors(content.get(key)))}
        averaged = {key: tensors for key in _AVERAGED if (tensors := _tensors(content.get(key)))}
        chosen = averaged if averaged and (use_ema or not raw) else raw
        if len(chosen) > 1:
            raise unreadable(path, f"weights under each of the keys {', '.join(map(repr, chosen))}", "one of them")
        if averaged and not (use_ema or raw):
            raise unreadable(path, "the moving average of weights alone", "the weights as well, with use_ema=False")
        if raw and averaged and use_ema:
            _log.warning(
                "'%s' has weights (%s) and their moving average ('%s'): the average is used. "
                "keras_sd.weights.read(path, use_ema=False) reads the weights.",
                *(path, ", ".join(map(repr, raw)), *averaged),
            )
        if tensors := (next(iter(chosen.values())) if chosen else None) or _tensors(content):
            return tensors
    found = f"a pickled {type(content).__name__}"
    if type(content) in (dict, OrderedDict):
        found = f"a dictionary with the keys {', '.join(map(_brief, list(cast(dict, content))[:10])):.150}"
    if described.foreign:
        found += f" and Python objects that are not executed ({', '.join(described.foreign[:5]):.100})"
    raise unreadable(path, found, expected)


def _tensors(candidate: object) -> dict[str, _Tensor]:
    """Return the tensors of a dictionary by name; everything else in it is ignored."""
    items = candidate.items() if isinstance(candidate, dict) else ()
    return {name: value for name, value in items if isinstance(name, str) and isinstance(value, _Tensor)}


def _array(path: Path, tensor: _Tensor, storages: dict[str, bytes]) -> np.ndarray:
    storage = tensor.storage
    data = storages.get(storage.key, b"")
    if len(data) != storage.count * storage.dtype.itemsize:
        wanted = storage.count * storage.dtype.itemsize
        raise unreadable(path, f"{len(data)} bytes of storage '{storage.key}'", f"{wanted} bytes, as its header says")
    flat = np.frombuffer(data, storage.dtype)[tensor.offset :]
    strides = [stride * storage.dtype.itemsize for stride in tensor.strides]
    return np.array(np.lib.stride_tricks.as_strided(flat, tensor.shape, strides))


def _read_zip(path: Path) -> tuple[_Description, dict[str, bytes]]:
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


def _read_legacy(path: Path) -> tuple[_Description, dict[str, bytes]]:
    expected = "a PyTorch file (magic number, protocol, system, objects, storages)"
    file = io.BytesIO(path.read_bytes())
    if [_unpickle(file, path).content for _ in range(2)] != [LEGACY_MAGIC, _LEGACY_PROTOCOL]:
        raise unreadable(path, "a pickle of another kind", expected)
    system = _unpickle(file, path).content
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise unreadable(path, f"{_brief(system)} as the system's description", "a little-endian system")
    described = _unpickle(file, path)
    keys = _unpickle(file, path).content
    if not isinstance(keys, list):
        raise unreadable(path, f"a {type(keys).__name__} of storage keys", "a list")
    storages: dict[str, bytes] = {}
    for key in keys:
        if not isinstance(key, str) or key not in described.storages or key in storages:
            raise unreadable(
                path, f"storage {_brief(key)} twice or not used by a tensor", "storages of the tensors only"
            )
        count = int.from_bytes(file.read(8), "little")
        wanted = count * described.storages[key].itemsize
        storages[key] = file.read(wanted) if wanted <= file.getbuffer().nbytes else b""
        if len(storages[key]) != wanted:
            raise unreadable(path, f"the end of the file inside storage '{key}'", f"{wanted} bytes of it")
    if file.read(1):
        raise unreadable(path, f"{file.getbuffer().nbytes - file.tell() + 1} bytes after the last storage", "none")
    return described, storages
