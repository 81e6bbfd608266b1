"""Keras's HDF5 files: the legacy `.h5`, the `.weights.h5` of Keras 3, and the one inside a `.keras` archive.

Only arrays are read: no model is built and no configuration is looked at.
"""

from __future__ import annotations

import io
import itertools
import zipfile
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from keras_sd.weights.errors import unreadable
from keras_sd.weights.formats.pytorch import check_declared_sizes

_WEIGHTS_ENTRY = "model.weights.h5"  # the name inside a .keras archive


def read_hdf5(path: Path) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """Reads a Keras `.h5` or `.weights.h5` file.

    Args:
        path: The file.

    Returns:
        The arrays by name in the file's order, and for a legacy file the names of each layer's weights by
        layer name, in the order of the layers; empty for a file of Keras 3, whose names are paths such as
        `layers/conv/vars/0`.

    Raises:
        WeightsError: If the file is damaged, points outside itself, or holds no weights of Keras.
    """
    return _read(path, path, path.stat().st_size)


def read_keras_archive(path: Path) -> dict[str, np.ndarray]:
    """Reads the weights inside a `.keras` archive; see `read_hdf5` for what is returned and raised."""
    try:
        with zipfile.ZipFile(path) as archive:
            check_declared_sizes(path, archive)
            data = archive.read(_WEIGHTS_ENTRY)  # checks the entry's CRC
    except (zipfile.BadZipFile, KeyError, EOFError, RuntimeError, NotImplementedError) as error:
        raise unreadable(path, f"a damaged archive ({error})", f"an archive of Keras with {_WEIGHTS_ENTRY}") from error
    return _read(path, io.BytesIO(data), len(data))[0]


def _read(path: Path, source: Path | BinaryIO, size: int):
    try:
        with h5py.File(source, "r") as file:
            whole_model = isinstance(file.get("model_weights", getlink=True), h5py.HardLink)
            root = file["model_weights"] if whole_model else file
            datasets = _datasets(path, root, size)
            if _split(root, "layer_names"):
                return _legacy(path, root, datasets)
            arrays = {name: dataset[()] for name, dataset in datasets.items()}
    except (
        OSError,
        RuntimeError,
        KeyError,
        TypeError,
        UnicodeDecodeError,
    ) as error:  # how h5py reports damage
        raise unreadable(path, f"a damaged HDF5 file ({error})", "an HDF5 file of Keras weights") from error
    if not arrays:
        raise unreadable(path, "an HDF5 file without arrays", "weights saved by Keras")
    return arrays, {}


def _datasets(path: Path, root: h5py.Group, size: int) -> dict[str, h5py.Dataset]:
    """All datasets below a group, if all lie in this file and claim no more bytes than it has."""
    found: dict[str, h5py.Dataset] = {}
    pending, seen = [(root, "")], set()
    while pending:
        group, prefix = pending.pop()
        if (address := h5py.h5o.get_info(group.id).addr) in seen:
            raise unreadable(path, f"group '{prefix}' a second time, perhaps inside itself", "a tree of groups")
        seen.add(address)
        for name in reversed(group):
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise unreadable(path, f"a link at '{prefix}{name}'", "arrays inside the file; links are not followed")
            item = group[name]
            if isinstance(item, h5py.Group):
                pending.append((item, f"{prefix}{name}/"))
            elif item.external or item.is_virtual:
                raise unreadable(path, f"an array '{prefix}{name}' kept in another file", "arrays inside the file")
            else:
                found[prefix + name] = item
    declared = sum(dataset.nbytes for dataset in found.values())
    if declared > size:
        raise unreadable(path, f"arrays of {declared} bytes in a file of {size}", "uncompressed arrays")
    return dict(sorted(found.items()))


def _legacy(path: Path, root: h5py.Group, datasets: dict[str, h5py.Dataset]):
    """Follows the attributes `layer_names` and `weight_names`, which alone give the order of the layers."""
    arrays: dict[str, np.ndarray] = {}
    layers: dict[str, tuple[str, ...]] = {}
    for layer in _names(root, "layer_names"):
        names = [f"{layer}/{weight}" for weight in _names(root[layer], "weight_names")]
        missing = [name for name in names if name not in datasets]
        if missing:
            raise unreadable(path, f"no array for {', '.join(missing[:5])}", "every weight that the layer lists")
        arrays.update((name, datasets[name][()]) for name in names)
        if names:
            layers[layer] = tuple(names)
    return arrays, layers


def _split(group: h5py.Group, attribute: str) -> list[str]:
    """The attributes that hold a list: Keras splits one that is too long into `name0`, `name1`, ..."""
    if attribute in group.attrs:
        return [attribute]
    return list(itertools.takewhile(group.attrs.__contains__, (f"{attribute}{i}" for i in itertools.count())))


def _names(group: h5py.Group, attribute: str) -> list[str]:
    names = [name for chunk in _split(group, attribute) for name in group.attrs[chunk]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]
