"""How published files name and lay out the weights that `keras_sd.weights.canonical` names.

Each function here takes the canonical names of a model and the arrays of a file, and says which array of the
file is meant for which name, in our layout. Nothing is checked against shapes here: see
`keras_sd.weights.loading`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from keras_sd.weights.errors import WeightsError
from keras_sd.weights.formats.readers import WeightsFile

_LEAVES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "bias": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_RESNET = {"stem/conv": "conv1", "stem/norm": "bn1", "head": "fc"}
_DENSENET = {
    "stem/conv": "features.conv0",
    "stem/norm": "features.norm0",
    "final/norm": "features.norm5",
    "head": "classifier",
}


def torch_name(name: str, is_dense: bool) -> str:
    """The name that timm and torchvision give to a weight of their ResNets and DenseNets.

    Args:
        name: A canonical name, such as "stage2/block1/shortcut/conv/kernel".
        is_dense: Whether the network is a DenseNet.

    Returns:
        The name in a state dictionary, such as "layer2.0.downsample.0.weight".
    """
    prefix, _, leaf = name.rpartition("/")
    module = (_DENSENET if is_dense else _RESNET).get(prefix)
    if module is None:
        if is_dense:
            module = re.sub(r"stage(\d+)/layer(\d+)/", r"features.denseblock\1.denselayer\2.", prefix)
            module = re.sub(r"transition(\d+)/", r"features.transition\1.", module)
        elif found := re.fullmatch(r"stage(\d+)/block(\d+)/(.+)", prefix):
            part = found[3].replace("shortcut/conv", "downsample.0").replace("shortcut/norm", "downsample.1")
            module = f"layer{found[1]}.{int(found[2]) - 1}.{part.replace('norm', 'bn')}"
    return f"{module or prefix}.{_LEAVES.get(leaf, leaf)}"


def _todays_torch_name(name: str) -> str:
    """Names of older files in today's form: data-parallel prefixes, `norm.1`, the CIFAR ResNets' own words."""
    name = name.removeprefix("module.")
    name = re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", name)
    name = re.sub(r"^(layer\d+\.\d+)\.shortcut\.(\d)\.", r"\1.downsample.\2.", name)  # with option B
    return re.sub(r"^linear\.", "fc.", name)


def to_torch(array: np.ndarray) -> np.ndarray:
    """A kernel in PyTorch's layout: (out, in, height, width) or (out, in). Vectors are the same in both."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def from_torch(array: np.ndarray) -> np.ndarray:
    """A kernel of PyTorch in Keras's layout: (height, width, in, out) or (in, out)."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def is_dense(names: Iterable[str]) -> bool:
    """Whether canonical names are those of a DenseNet."""
    return any(re.match(r"stage\d+/layer\d+/", name) for name in names)


def map_torch(names: Iterable[str], arrays: Mapping[str, np.ndarray]) -> tuple[dict, dict]:
    """Matches a PyTorch state dictionary, of timm, torchvision, or the CIFAR ResNets.

    Args:
        names: The canonical names of the model.
        arrays: The file's arrays.

    Returns:
        The arrays by canonical name in our layout, and those that no name asked for, by their own names.
        Counters of batches (`num_batches_tracked`) are left out: nothing here uses them.
    """
    left: dict[str, np.ndarray] = {}
    for own, array in arrays.items():
        if not own.endswith("num_batches_tracked"):
            name = _todays_torch_name(own)
            left[f"{own} (a second {name})" if name in left else name] = array  # of two, no name asks for the second
    names = list(names)
    dense = is_dense(names)
    theirs = {name: torch_name(name, dense) for name in names}
    found = {name: from_torch(left.pop(other)) for name, other in theirs.items() if other in left}
    return found, left


def map_own(names: Iterable[str], arrays: Mapping[str, np.ndarray]) -> tuple[dict, dict]:
    """Matches a file with canonical names, as `save` writes it by default; see `map_torch` for what is returned."""
    left = dict(arrays)
    return {name: left.pop(name) for name in list(names) if name in left}, left


_ORDER = ("preact_norm", "conv1", "norm1", "conv2", "norm2", "shortcut/conv", "conv3", "shortcut/norm", "norm3")
_DENSE_ORDER = ("norm1", "conv1", "norm2", "conv2")


def _keras_layers(names: Iterable[str]) -> dict[str, list[str]]:
    """Canonical layers with their weights, in the order of the layers of keras.applications.

    That is the order of depth in the graph: in a block with a projection, its convolution stands beside the
        third
    of the branch, and its normalization beside the third normalization.
    """
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(name.rpartition("/")[0], []).append(name)
    return dict(sorted(layers.items(), key=lambda item: _keras_key(item[0])))


def _keras_key(layer: str) -> tuple[int, ...]:
    if found := re.fullmatch(r"stage(\d+)/block(\d+)/(.+)", layer):
        return int(found[1]), 0, int(found[2]), _rank(_ORDER, found[3])
    if found := re.fullmatch(r"stage(\d+)/layer(\d+)/(.+)", layer):
        return int(found[1]), 0, int(found[2]), _rank(_DENSE_ORDER, found[3])
    if found := re.fullmatch(r"transition(\d+)/(.+)", layer):
        return int(found[1]), 1, 0, _rank(("norm", "conv"), found[2])
    return {"stem/conv": (0, 0), "stem/norm": (0, 1), "final/norm": (99, 0), "head": (99, 1)}.get(layer, (100, 0))


def _rank(order: tuple[str, ...], part: str) -> int:
    return order.index(part) if part in order else len(order)


def map_keras(names: Iterable[str], file: WeightsFile) -> tuple[dict, dict]:
    """Matches a legacy `.h5` of keras.applications by the order of its layers, as Keras itself reads it.

    The names inside the published files are those of the first releases, so names decide nothing here; the
    kinds of the weights in each layer (kernel, bias, gamma ...) must agree.

    Args:
        names: The canonical names of the model.
        file: The file.

    Returns:
        As `map_torch`.

    Raises:
        WeightsError: If a layer of the file holds other kinds of weights than the model's layer in its place.
    """
    found, left = {}, dict(file.arrays)
    ours, theirs = _keras_layers(names), dict(file.layers)
    if "head" in ours and len(theirs) == len(ours) - 1:  # a file without the classifier
        del ours["head"]
    for (layer, own_names), (their_layer, their_names) in zip(ours.items(), theirs.items()):
        kinds = [name.rpartition("/")[2] for name in own_names]
        their_kinds = [name.rpartition("/")[2].partition(":")[0] for name in their_names]
        if set(kinds) != set(their_kinds):
            raise WeightsError(
                f"'{file.path}' does not fit the model: its layer '{their_layer}' holds {', '.join(their_kinds)}; "
                f"expected {', '.join(kinds)}, for '{layer}'."
            )
        by_kind = dict(zip(their_kinds, their_names))
        found.update((name, left.pop(by_kind[kind])) for name, kind in zip(own_names, kinds))
    return found, left
