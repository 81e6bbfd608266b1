"""Layouts of published weight files: names, array order, and the factory arguments that they imply.

`LAYOUTS` has one object for each layout: which files have it, how their names map to those of
`keras_sd.weights.canonical`, and which factory arguments their networks imply. A new source of weights needs one such
object, and rows in `keras_sd.weights.registry`. Shapes are not checked here: see `keras_sd.weights.loading`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from keras_sd.weights.errors import WeightsError
from keras_sd.weights.formats.readers import WeightsFile

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Layout:
    """A layout of weight files and of the networks published in it.

    Attributes:
        matches: Function of a file and the canonical names of a model (empty if there is no model yet). Returns
            whether the file has this layout.
        map_names: Function of canonical names and a file. Returns the arrays by canonical name in our layout, and
            the remaining arrays by their own names.
        arguments: Factory arguments that the published networks need, if the architecture has them. `epsilon`, which
            no file stores, is that of the usual networks.
        seen: Function of a file. Returns the arguments that its names reveal, which override `arguments`; None for
            an argument that does not apply.
        write: Function that converts arrays by canonical name to those of a file; None if files are only read.
        format: Value of "format" in the metadata of a written file.
        has_survival: Whether its networks have survival probabilities. If not, the last layer of each branch is
            multiplied by them when a file is written.
    """

    matches: Callable[[WeightsFile, Collection[str]], bool]
    map_names: Callable[[Iterable[str], WeightsFile], tuple[dict, dict]]
    arguments: Mapping[str, object] = field(default_factory=dict)
    seen: Callable[[WeightsFile], dict[str, object]] = lambda file: {}
    write: Callable[[Arrays], dict[str, np.ndarray]] | None = None
    format: str = ""
    has_survival: bool = False

    def arguments_of(self, file: WeightsFile) -> dict[str, object]:
        """Return the factory arguments that a file of this layout implies."""
        return {name: value for name, value in {**self.arguments, **self.seen(file)}.items() if value is not None}


def layout_of(file: WeightsFile, names: Collection[str] = ()) -> Layout | None:
    """Return the layout of a file; None if only Keras can load it, into the model stored in it or one built alike.

    Args:
        file: The file.
        names: The canonical names of the target model, if there is one.
    """
    return next((layout for layout in LAYOUTS.values() if layout.matches(file, names)), None)


def _count(file: WeightsFile, pattern: str) -> int:
    return sum(bool(re.search(pattern, name)) for name in file.arrays)


def _is_state_dict(file: WeightsFile) -> bool:
    return not file.format.startswith("keras")


# ----------------------------------------------------------------------- PyTorch: timm, torchvision, the CIFAR ResNets

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
    """Return the name of a weight in the ResNets and DenseNets of timm and torchvision.

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


_WRAPPERS = {"module", "_orig_mod"}  # of DataParallel and averaged models, and of torch.compile, around any module
_ATTRIBUTES = {"model", "net", "backbone"}  # usual names of the network in a PyTorch Lightning module
_COUNTERS = ("num_batches_tracked", "n_averaged")  # not used here


def _unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Map the names of a state dictionary to their names without the modules that wrap the network."""
    parts = {name: [part for part in name.split(".") if part not in _WRAPPERS] for name in names}
    while len({path[0] for path in parts.values() if path}) == 1 and all(
        len(path) > 2 and path[0] in _ATTRIBUTES for path in parts.values()
    ):
        parts = {name: path[1:] for name, path in parts.items()}
    return {name: ".".join(path) for name, path in parts.items()}


def _todays_torch_name(name: str) -> str:
    """Return the current form of a name from an older file (`norm.1`) or from the CIFAR ResNets."""
    name = re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", name)
    name = re.sub(r"^(layer\d+\.\d+)\.shortcut\.(\d)\.", r"\1.downsample.\2.", name)  # with option B
    return re.sub(r"^linear\.", "fc.", name)


def to_torch(array: np.ndarray) -> np.ndarray:
    """Return a kernel in PyTorch's layout: (out, in, height, width) or (out, in). Vectors are unchanged."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def from_torch(array: np.ndarray) -> np.ndarray:
    """Return a PyTorch kernel in Keras's layout: (height, width, in, out) or (in, out)."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def is_dense(names: Iterable[str]) -> bool:
    """Return whether canonical names are those of a DenseNet."""
    return any(re.match(r"stage\d+/layer\d+/", name) for name in names)


def torch_arrays(file: WeightsFile) -> dict[str, np.ndarray]:
    """Return the arrays of a PyTorch state dictionary by the current names of timm and torchvision, without counters.

    Prefixes of wrapping modules are removed: `module.` and `_orig_mod.` anywhere, and `model.`, `net.` or `backbone.`
    if all names begin with it.

    Raises:
        WeightsError: If two arrays then have the same name, such as `fc.weight` and `module.fc.weight`.
    """
    arrays: dict[str, np.ndarray] = {}
    own_names: dict[str, str] = {}
    for own_name, inner in _unwrapped(name for name in file.arrays if not name.endswith(_COUNTERS)).items():
        name = _todays_torch_name(inner)
        if name in arrays:
            raise WeightsError(f"'{file.path}' is ambiguous: it has both '{own_names[name]:.80}' and '{own_name:.80}'.")
        arrays[name], own_names[name] = file.arrays[own_name], own_name
    return arrays


def map_torch(names: Iterable[str], file: WeightsFile) -> tuple[dict, dict]:
    """Match a PyTorch state dictionary of timm, torchvision, or the CIFAR ResNets.

    Args:
        names: The canonical names of the model.
        file: The file.

    Returns:
        Same as `Layout.map_names`.

    Raises:
        WeightsError: Same as `torch_arrays`.
    """
    left = torch_arrays(file)
    names = list(names)
    dense = is_dense(names)
    theirs = {name: torch_name(name, dense) for name in names}
    found = {name: from_torch(left.pop(other)) for name, other in theirs.items() if other in left}
    return found, left


def _write_torch(arrays: Arrays) -> dict[str, np.ndarray]:
    dense = is_dense(arrays)
    return {torch_name(name, dense): to_torch(array) for name, array in arrays.items()}


def _seen_in_torch(file: WeightsFile) -> dict[str, object]:
    return {
        "use_bias": _count(file, r"(^|\.)(conv\d?|downsample\.0|shortcut\.0)\.bias$") > 0,
        "stride_in": "middle" if _count(file, r"layer\d+\.\d+\.conv3\.") else None,  # only bottlenecks have a choice
        "shortcut": "projection" if _count(file, r"(downsample|shortcut)\.0\.weight$") else None,
    }


def _is_of_cifar(file: WeightsFile, names: Collection[str]) -> bool:
    return _is_state_dict(file) and _count(file, r"(^|\.)linear\.weight$") > 0


def _seen_in_cifar(file: WeightsFile) -> dict[str, object]:
    seen = _seen_in_torch(file)
    return seen | {"shortcut": seen["shortcut"] or "slice"}


# -------------------------------------------------------------------------------------------------- keras.applications

_ORDER = ("preact_norm", "conv1", "norm1", "conv2", "norm2", "shortcut/conv", "conv3", "shortcut/norm", "norm3")
_DENSE_ORDER = ("norm1", "conv1", "norm2", "conv2")
_UNKNOWN = (98, 0)  # for layers that keras.applications does not have: in the model's own order, before its last layers


def _keras_layers(names: Iterable[str]) -> dict[str, list[str]]:
    """Return canonical layers with their weights, in the layer order of keras.applications.

    That order follows the depth in the graph: in a block with a projection, its convolution is directly before the
    third convolution of the branch, and its normalization directly before the third normalization.
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
    return {"stem/conv": (0, 0), "stem/norm": (0, 1), "final/norm": (99, 0), "head": (99, 1)}.get(layer, _UNKNOWN)


def _rank(order: tuple[str, ...], part: str) -> int:
    return order.index(part) if part in order else len(order)


_VARIABLES = {
    "conv2d": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "dense": ("kernel", "bias"),
}
# In a `.weights.h5`, layers are named by their class and numbered in layer order.
_VARIABLE = re.compile(rf"layers/(?:functional/layers/)?({'|'.join(_VARIABLES)})(?:_(\d+))?/vars/([0-3])")


def _is_of_keras(file: WeightsFile, names: Collection[str]) -> bool:
    """Return whether a file is a legacy `.h5`, or a `.weights.h5` of a network in keras.applications.

    Our networks never write such a `.weights.h5`: their blocks and normalizations are custom layers.
    """
    if file.format != "keras-weights":
        return bool(file.layers)
    known = all(_keras_key(name.rpartition("/")[0]) != _UNKNOWN for name in names)
    has_norms = any("batch_normalization/vars/0" in name for name in file.arrays)
    return known and has_norms and all(map(_VARIABLE.fullmatch, file.arrays))


def _pairs(ours: dict[str, list[str]], file: WeightsFile) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield our layers, each with the corresponding layer of the file and that layer's arrays by kind."""
    if file.layers:
        layers = list(file.layers.items())
        if "head" in ours and len(layers) == len(ours) - 1:  # a file without the classifier
            ours = {layer: names for layer, names in ours.items() if layer != "head"}
        for layer, (theirs, names) in zip(ours, layers):
            yield layer, theirs, {name.rpartition("/")[2].partition(":")[0]: name for name in names}
        return
    numbered: dict[tuple[str, int], dict[str, str]] = {}
    for name in file.arrays:
        kind, number, variable = cast(re.Match, _VARIABLE.fullmatch(name)).groups()
        by_kind = dict(enumerate(_VARIABLES[kind]))
        numbered.setdefault((kind, int(number or 0)), {})[by_kind.get(int(variable), variable)] = name
    queues = {kind: deque(sorted(key for key in numbered if key[0] == kind)) for kind in _VARIABLES}
    for layer, own_names in ours.items():
        is_norm = any(name.endswith("/gamma") for name in own_names)
        queue = queues["batch_normalization" if is_norm else "dense" if layer == "head" else "conv2d"]
        if queue:
            key = queue.popleft()
            yield layer, f"{key[0]}_{key[1]}" if key[1] else key[0], numbered[key]


def map_keras(names: Iterable[str], file: WeightsFile) -> tuple[dict, dict]:
    """Match a file of keras.applications by layer order, as Keras itself does.

    The published `.h5` files have the names of the first releases, and a `.weights.h5` numbers layers by class, so
    names are ignored here; the kinds of the weights in each layer (kernel, bias, gamma ...) must agree.

    Args:
        names: The canonical names of the model.
        file: The file, of keras.applications.

    Returns:
        Same as `Layout.map_names`.

    Raises:
        WeightsError: If a layer of the file has other kinds of weights than the corresponding layer of the model.
    """
    found: dict[str, np.ndarray] = {}
    left = dict(file.arrays)
    ours = _keras_layers(names)
    for layer, their_layer, by_kind in _pairs(ours, file):
        kinds = [name.rpartition("/")[2] for name in ours[layer]]
        if set(kinds) != set(by_kind):
            raise WeightsError(
                f"'{file.path}' does not fit the model: its layer '{their_layer}' has {', '.join(by_kind)}; "
                f"expected {', '.join(kinds)}, for '{layer}'."
            )
        found.update((name, left.pop(by_kind[kind])) for name, kind in zip(ours[layer], kinds))
    return found, left


def _seen_in_keras(file: WeightsFile) -> dict[str, object]:
    # Version 1 has one normalization per convolution; in version 2, blocks begin with a normalization.
    norms = _count(file, r"(/gamma(:0)?|batch_normalization(_\d+)?/vars/0)$")
    is_first = norms == sum(array.ndim == 4 for array in file.arrays.values())
    biases = _count(file, r"(/bias(:0)?|conv2d(_\d+)?/vars/1)$")  # one may belong to the classifier
    return {"use_bias": biases > 1, "stride_in": "first" if is_first else "middle", "shortcut": "projection"}


# ------------------------------------------------------------------------------------------------------ canonical names


def _has_canonical_names(file: WeightsFile, names: Collection[str]) -> bool:
    return _is_state_dict(file) and any("/" in name for name in file.arrays)


def map_own(names: Iterable[str], arrays: Arrays) -> tuple[dict, dict]:
    """Match arrays by canonical name, the default of `save`. Returns the same as `Layout.map_names`."""
    left = dict(arrays)
    return {name: left.pop(name) for name in list(names) if name in left}, left


def _seen_in_own(file: WeightsFile) -> dict[str, object]:
    return {
        "use_bias": _count(file, r"(^|/)conv\d?/bias$") > 0,
        "shortcut": "projection" if _count(file, "shortcut/conv/kernel$") else None,
    }


# A file is compared with them in this order. The last one matches any other state dictionary.
LAYOUTS: Mapping[str, Layout] = {
    "keras": Layout(  # legacy `.h5` and `.weights.h5` of keras.applications
        matches=_is_of_keras,
        map_names=map_keras,
        arguments={"use_bias": True, "stride_in": "first", "epsilon": 1.001e-5},
        seen=_seen_in_keras,
    ),
    "keras_sd": Layout(  # canonical names, and Keras's layout of kernels
        matches=_has_canonical_names,
        map_names=lambda names, file: map_own(names, file.arrays),
        arguments={"use_bias": False, "epsilon": 1e-5},
        seen=_seen_in_own,
        write=dict,
        format="keras_sd",
        has_survival=True,
    ),
    "cifar": Layout(  # akamaster/pytorch_resnet_cifar10 and similar, with a classifier named `linear`
        matches=_is_of_cifar,
        map_names=map_torch,
        arguments={"shortcut": "slice", "use_bias": False, "epsilon": 1e-5},
        seen=_seen_in_cifar,
    ),
    "timm": Layout(  # and torchvision
        matches=lambda file, names: _is_state_dict(file),
        map_names=map_torch,
        arguments={"use_bias": False, "stride_in": "middle", "epsilon": 1e-5},
        seen=_seen_in_torch,
        write=_write_torch,
        format="pt",
    ),
}
