"""How published files name and lay out the weights that `keras_sd.weights.canonical` names.

Each function here takes the canonical names of a model and the arrays of a file, and says which array of the
file is meant for which name, in our layout. Nothing is checked against shapes here: see
`keras_sd.weights.loading`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

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


_WRAPPERS = {"module", "_orig_mod"}  # of DataParallel and averages, and of torch.compile, around any module
_COUNTERS = ("num_batches_tracked", "n_averaged")  # nothing here uses them


def _todays_torch_name(name: str) -> str:
    """Names of older files in today's form: wrapped modules, `norm.1`, the CIFAR ResNets' own words."""
    name = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
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


def torch_arrays(file: WeightsFile) -> dict[str, np.ndarray]:
    """The arrays of a PyTorch state dictionary by the names that timm and torchvision use today, without counters.

    Raises:
        WeightsError: If two arrays have one name then, such as `fc.weight` and `module.fc.weight`.
    """
    arrays, own_names = {}, {}
    for own_name, array in file.arrays.items():
        if own_name.endswith(_COUNTERS):
            continue
        name = _todays_torch_name(own_name)
        if name in arrays:
            raise WeightsError(f"'{file.path}' is ambiguous: it has both '{own_names[name]:.80}' and '{own_name:.80}'.")
        arrays[name], own_names[name] = array, own_name
    return arrays


def map_torch(names: Iterable[str], file: WeightsFile) -> tuple[dict, dict]:
    """Matches a PyTorch state dictionary, of timm, torchvision, or the CIFAR ResNets.

    Args:
        names: The canonical names of the model.
        file: The file.

    Returns:
        The arrays by canonical name in our layout, and those that no name asked for, by their own names.

    Raises:
        WeightsError: As `torch_arrays`.
    """
    left = torch_arrays(file)
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

    That is the order of depth in the graph: in a block with a projection, its convolution comes right before the
    third of the branch, and its normalization right before the third normalization.
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


_VARIABLES = {
    "conv2d": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "dense": ("kernel", "bias"),
}
# In a `.weights.h5` layers have the name of their class, numbered in the order of the layers.
_VARIABLE = re.compile(rf"layers/(?:functional/layers/)?({'|'.join(_VARIABLES)})(?:_(\d+))?/vars/([0-3])")


def is_of_keras(names: Iterable[str], file: WeightsFile) -> bool:
    """Whether a file is a legacy `.h5`, or a `.weights.h5` of keras.applications, for a network that it has.

    Our networks never write such a `.weights.h5`: their blocks and normalizations are layers of our own.
    """
    if file.format != "keras-weights":
        return bool(file.layers)
    known = all(_keras_key(name.rpartition("/")[0]) < (100,) for name in names)
    has_norms = any("batch_normalization/vars/0" in name for name in file.arrays)
    return known and has_norms and all(map(_VARIABLE.fullmatch, file.arrays))


def _pairs(ours: dict[str, list[str]], file: WeightsFile) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Our layers, each with the file's layer in its place, and that one's arrays by what they are."""
    if file.layers:
        layers = list(file.layers.items())
        if "head" in ours and len(layers) == len(ours) - 1:  # a file without the classifier
            ours = {layer: names for layer, names in ours.items() if layer != "head"}
        for layer, (theirs, names) in zip(ours, layers):
            yield layer, theirs, {name.rpartition("/")[2].partition(":")[0]: name for name in names}
        return
    numbered: dict[tuple[str, int], dict[str, str]] = {}
    for name in file.arrays:
        kind, number, variable = _VARIABLE.fullmatch(name).groups()
        by_kind = dict(enumerate(_VARIABLES[kind]))
        numbered.setdefault((kind, int(number or 0)), {})[by_kind.get(int(variable), variable)] = name
    queues = {kind: deque(sorted(key for key in numbered if key[0] == kind)) for kind in _VARIABLES}
    for layer, names in ours.items():
        is_norm = any(name.endswith("/gamma") for name in names)
        queue = queues["batch_normalization" if is_norm else "dense" if layer == "head" else "conv2d"]
        if queue:
            key = queue.popleft()
            yield layer, f"{key[0]}_{key[1]}" if key[1] else key[0], numbered[key]


def map_keras(names: Iterable[str], file: WeightsFile) -> tuple[dict, dict]:
    """Matches a file of keras.applications by the order of its layers, as Keras itself reads it.

    The names inside the published `.h5` files are those of the first releases, and a `.weights.h5` numbers layers
    by their class, so names decide nothing here; the kinds of the weights in each layer (kernel, bias, gamma ...)
    must agree.

    Args:
        names: The canonical names of the model.
        file: The file, for which `is_of_keras` holds.

    Returns:
        As `map_torch`.

    Raises:
        WeightsError: If a layer of the file holds other kinds of weights than the model's layer in its place.
    """
    found, left = {}, dict(file.arrays)
    ours = _keras_layers(names)
    for layer, their_layer, by_kind in _pairs(ours, file):
        kinds = [name.rpartition("/")[2] for name in ours[layer]]
        if set(kinds) != set(by_kind):
            raise WeightsError(
                f"'{file.path}' does not fit the model: its layer '{their_layer}' holds {', '.join(by_kind)}; "
                f"expected {', '.join(kinds)}, for '{layer}'."
            )
        found.update((name, left.pop(by_kind[kind])) for name, kind in zip(ours[layer], kinds))
    return found, left


@dataclass(frozen=True)
class Form:
    """What the names in a file say about its network.

    Attributes:
        use_bias: Whether the convolutions have biases.
        strided: The convolution of a bottleneck that has the stride in all known networks of the layout, such as
            "conv2"; None: not known, or no bottlenecks.
        shortcut: "projection"; "slice", of the CIFAR ResNets of akamaster/pytorch_resnet_cifar10 and their like;
            None: not known.
        epsilon: Of batch normalization, in the usual networks of the layout.
    """

    use_bias: bool
    strided: str | None
    shortcut: str | None
    epsilon: float


def form(file: WeightsFile) -> Form:
    """Says what the layout of a file implies; see `Form`."""

    def count(pattern):
        return sum(bool(re.search(pattern, name)) for name in file.arrays)

    if is_of_keras((), file):
        # A normalization for each convolution is version 1; in version 2 the blocks begin with one.
        norms = count(r"(/gamma(:0)?|batch_normalization(_\d+)?/vars/0)$")
        strided = "conv1" if norms == sum(array.ndim == 4 for array in file.arrays.values()) else "conv2"
        biases = count(r"(/bias(:0)?|conv2d(_\d+)?/vars/1)$")  # one may be the classifier's
        return Form(biases > 1, strided, "projection", 1.001e-5)
    strided = "conv2" if count(r"layer\d+\.\d+\.conv3\.") else None  # of torchvision and timm
    is_projection = count(r"((downsample|shortcut)\.0\.weight|shortcut/conv/kernel)$")
    is_slice = count(r"(^|\.)linear\.weight$") and not is_projection
    use_bias = count(r"(^|[./])(conv\d?|downsample\.0|shortcut\.0)[./]bias$") > 0
    return Form(use_bias, strided, "projection" if is_projection else "slice" if is_slice else None, 1e-5)
