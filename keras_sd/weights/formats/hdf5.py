"""Read Keras's HDF5 files: the legacy `.h5`, the `.weights.h5` of Keras 3, and the one inside a `.keras` archive.

Only arrays are read. No model is built and configurations are not interpreted.
"""

from __future__ import annotations

import io
import itertools
import math
import re
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np

from keras_sd.utils.checks import shown
from keras_sd.weights.errors import WeightsError, unreadable
from keras_sd.weights.formats.strict import open_archive

_WEIGHTS_ENTRY = "model.weights.h5"  # names inside a .keras archive
CONFIG_ENTRY = "config.json"
_OPTIMIZER = "optimizer/"  # group of a compiled model; its arrays are not weights
_HEAP = re.compile(rb"GCOL\x01\0{3}")  # start of a heap of strings: signature, version, and three reserved bytes
_HEAP_SIZE = 4096  # bytes of a heap of several strings; the heap of a longer string is as large as needed
_MAX_LARGE_HEAPS = 64
_MAX_TEXT = 1 << 24  # bytes allowed for layer names in addition to the size of the file
_MAX_DEPTH = 64  # of nested groups: names of arrays repeat the names of all groups around them


def read_hdf5(path: Path) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """Read a Keras `.h5` or `.weights.h5` file.

    Args:
        path: The file.

    Returns:
        The arrays by name in file order, and the weight names of each layer by layer name, in layer order. The latter
        is empty for a file of Keras 3, whose names are paths such as `layers/conv/vars/0`.

    Raises:
        WeightsError: If the file is damaged, links to other files, or has no Keras weights.
    """
    return _read(path, path, path.stat().st_size)


def read_keras_archive(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a `.keras` archive. Returns the arrays as `read_hdf5` does, and the model's configuration as text."""
    with open_archive(path, f"an archive of Keras with {_WEIGHTS_ENTRY}") as archive:
        data = archive.read(_WEIGHTS_ENTRY)  # checks the entry's CRC
        config = archive.read(CONFIG_ENTRY).decode()
    return _read(path, io.BytesIO(data), len(data))[0], {CONFIG_ENTRY: config}


def _read(path: Path, source: Path | io.BytesIO, size: int):
    try:
        with h5py.File(source, "r") as file:
            whole_model = isinstance(file.get("model_weights", getlink=True), h5py.HardLink)
            groups, datasets = _items(path, file["model_weights"] if whole_model else file, size)
            if _split(groups[""], "layer_names"):
                _check_texts(path, source, file, len(groups) + len(datasets))
                return _legacy(path, groups, datasets)
            weights = {name: dataset for name, dataset in datasets.items() if not name.startswith(_OPTIMIZER)}
            arrays = {name: _array(path, name, dataset) for name, dataset in weights.items()}
    except WeightsError:
        raise
    except Exception as error:  # h5py reports damage as OSError, RuntimeError, KeyError, TypeError, ...
        raise unreadable(path, f"a damaged HDF5 file ({error})", "an HDF5 file of Keras weights") from error
    if not arrays:
        raise unreadable(path, "an HDF5 file without arrays", "weights saved by Keras")
    return arrays, {}


def _items(path: Path, root: h5py.Group, size: int) -> tuple[dict[str, h5py.Group], dict[str, h5py.Dataset]]:
    """Return all groups and datasets of a group, if all are in this file and declare no more bytes than it has."""
    groups: dict[str, h5py.Group] = {}
    datasets: dict[str, h5py.Dataset] = {}
    pending, seen, declared = [(root, "", 0)], set(), 0
    while pending:
        group, place, depth = pending.pop()
        if not isinstance(group, h5py.Group):
            raise unreadable(path, f"a {type(group).__name__} as {shown(place)}", "a group")
        if (address := h5py.h5o.get_info(group.id).addr) in seen:
            raise unreadable(path, f"group {shown(place)} a second time, perhaps inside itself", "a tree of groups")
        if depth > _MAX_DEPTH:
            raise unreadable(path, f"groups nested {depth} deep", f"at most {_MAX_DEPTH}")
        seen.add(address)
        groups[place] = group
        for name in reversed(group):
            where = f"{place}/{name}" if place else name
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise unreadable(path, f"a link at {shown(where)}", "arrays inside the file; links are not followed")
            item = group[name]
            if isinstance(item, h5py.Dataset):
                declared += _declared(path, where, item)
                datasets[where] = item
            else:
                pending.append((item, where, depth + 1))
    if declared > size:
        raise unreadable(path, f"arrays of {declared} bytes in a file of {size}", "uncompressed arrays")
    return groups, dict(sorted(datasets.items()))


def _declared(path: Path, name: str, dataset: h5py.Dataset) -> int:
    """Return the bytes needed to read a dataset: HDF5 reads whole chunks, and filters may expand them without limit."""
    if dataset.external or dataset.is_virtual:
        raise unreadable(path, f"an array {shown(name)} stored in another file", "arrays inside the file")
    if dataset.id.get_create_plist().get_nfilters():
        raise unreadable(path, f"a compressed array {shown(name)}", "uncompressed arrays, as Keras writes them")
    if dataset.shape is None or dataset.dtype.kind not in "fiubV" or dataset.dtype.hasobject:
        raise unreadable(path, f"an array {shown(name)} of dtype {dataset.dtype}", "numbers")
    return max(dataset.nbytes, math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize)


def _array(path: Path, name: str, dataset: h5py.Dataset) -> np.ndarray:
    """Return the numbers of a dataset. Keras marks bfloat16, which HDF5 does not support, by an attribute."""
    if dataset.dtype.kind != "V":
        return dataset[()]
    if dataset.dtype != np.dtype("V2") or dataset.attrs.get("dtype") != "bfloat16":
        raise unreadable(path, f"an array {shown(name)} of dtype {dataset.dtype}", "numbers")
    return np.asarray(dataset[()]).view(ml_dtypes.bfloat16)


def _check_texts(path: Path, source: Path | io.BytesIO, file: h5py.File, names: int):
    """Raise if names take more memory than a few times the file size: many long names may share one place in the file.

    Strings of variable length are stored in heaps, and HDF5 does not state the length of a string before reading it.
    But a heap states its own size, and each reference to a string is stored as its length and the address of its heap.
    """
    data = source.read_bytes() if isinstance(source, Path) else source.getvalue()
    heaps = [(heap.start() - file.userblock_size, _number(data, heap.end(), 8)) for heap in _HEAP.finditer(data)]
    large = [(address, size) for address, size in heaps if size > _HEAP_SIZE]  # of one long string each
    claimed = names * _HEAP_SIZE
    if len(large) <= _MAX_LARGE_HEAPS and file.id.get_create_plist().get_sizes()[0] == 8:
        for address, size in large:
            places = re.finditer(re.escape(address.to_bytes(8, "little", signed=True)), data)
            lengths = (_number(data, max(0, place.start() - 4), 4) for place in places)
            claimed += sum(length for length in lengths if length <= size)
        if claimed <= len(data) + _MAX_TEXT:
            return
    raise unreadable(path, f"{names} names that may take {claimed} bytes or more", "names of layers")


def _number(data, start, size):
    return int.from_bytes(data[start : start + size], "little")


def _legacy(path: Path, groups: dict[str, h5py.Group], datasets: dict[str, h5py.Dataset]):
    """Read arrays by the attributes `layer_names` and `weight_names`, the only source of the layer order."""
    arrays: dict[str, np.ndarray] = {}
    layers: dict[str, tuple[str, ...]] = {}
    limit = len(groups) + len(datasets)
    listed = _names(path, groups[""], "layer_names", limit)
    if len(set(listed)) < len(listed):
        raise unreadable(path, "a layer that is listed twice", "each layer once")
    for layer in listed:
        if layer not in groups:  # never looked up in the file, where it could be a path to anywhere
            raise unreadable(path, f"no group for the layer {shown(layer)}", "a group for every listed layer")
        names = [f"{layer}/{weight}" for weight in _names(path, groups[layer], "weight_names", limit)]
        missing = [name for name in names if name not in datasets]
        if missing:
            raise unreadable(path, f"no array for {', '.join(missing[:5])}", "all weights that the layer lists")
        for name in names:
            if name in arrays:
                raise unreadable(path, f"the array {shown(name)} listed twice", "each weight once")
            arrays[name] = _array(path, name, datasets[name])
        if names:
            layers[layer] = tuple(names)
    if not arrays:
        raise unreadable(path, "layers without weights", "weights saved by Keras")
    return arrays, layers


def _split(group: h5py.Group, attribute: str) -> list[str]:
    """Return the attributes that contain a list. Keras splits a long list into `name0`, `name1`, ..."""
    if attribute in group.attrs:
        return [attribute]
    return list(itertools.takewhile(group.attrs.__contains__, (f"{attribute}{i}" for i in itertools.count())))


def _names(path: Path, group: h5py.Group, attribute: str, limit: int) -> list[str]:
    found: list[str] = []
    for chunk in _split(group, attribute):
        stored = group.attrs.get_id(chunk)
        if stored.shape == (0,):
            continue
        # Many strings may share one place in the file, so there must be no more strings than items to name.
        is_text = stored.dtype.kind == "S" or h5py.check_string_dtype(stored.dtype) is not None
        if not is_text or len(stored.shape) != 1 or stored.shape[0] > limit:
            raise unreadable(
                path, f"{chunk} of {shown(stored.dtype)} and shape {stored.shape}", "names of the items in the file"
            )
        found += [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[chunk]]
    return found
