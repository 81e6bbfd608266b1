"""Canonical names of the weights of a network, the same for all forms of the network.

A block is `stage2/block3` whether it is a separate layer or a row of a `StochasticDepthStack`, and models of
keras.applications have the same names as ours. The names in files are mapped to these:

    stem/conv/kernel                 stem/norm/gamma
    stage1/block1/conv1/kernel       stage2/block1/shortcut/conv/kernel      (residual and plain networks)
    stage1/layer1/norm1/gamma        transition1/conv/kernel                 (densely connected networks)
    final/norm/gamma                 head/kernel

A layer that matches no rule keeps its own name, so that two models built alike still correspond.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import keras
import ml_dtypes
import numpy as np

from keras_sd.layers import TransitionLayer
from keras_sd.layers.blocks import GatedBlocks, block_names, named_weights
from keras_sd.utils.checks import check_type

_FIXED = {
    "stem_conv": "stem/conv",
    "conv1_conv": "stem/conv",
    "stem_norm": "stem/norm",
    "conv1_bn": "stem/norm",
    "final_norm": "final/norm",
    "post_bn": "final/norm",
    "bn": "final/norm",
    "predictions": "head",
}
_BLOCK = re.compile(r"(stage|conv)(\d+)_block(\d+)(?:_out|_preact)?")
_STAGE = re.compile(r"(stage|conv|transition|pool)(\d+)")
_KERAS_PART = re.compile(r"(conv\d+_block\d+)_(0|1|2|3|preact)_(conv|bn)")  # a layer of keras.applications


@dataclass(frozen=True)
class Slot:
    """The location of a weight.

    Attributes:
        variable: The variable.
        row: Row of a stacked variable; None for the whole variable.
        factor: Factor of the weight's branch at inference: the block's survival probability, unless the branch was
            scaled in training; 1 for all other weights.
    """

    variable: keras.Variable
    row: int | None = None
    factor: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.variable.shape if self.row is None else self.variable.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(ml_dtypes.bfloat16 if self.variable.dtype == "bfloat16" else self.variable.dtype)


def canonical(model: keras.Model) -> dict[str, Slot]:
    """Map canonical names to the weights of a model.

    Args:
        model: A model of `keras_sd.applications` or keras.applications, or one built on them.

    Returns:
        The location of each weight by its canonical name, in order from the input.

    Raises:
        TypeError: If the model is not a Keras model.
        ValueError: If two weights would have the same name.
    """
    check_type("model", model, keras.Model, "a Keras model")
    slots: dict[str, Slot] = {}
    for name, slot in _walk(model):
        if name in slots:
            raise ValueError(f"Two weights of {model.name!r} would both be called {name!r}.")
        slots[name] = slot
    return slots


def _walk(model: keras.Model) -> Iterator[tuple[str, Slot]]:
    is_dense = any(layer.name.endswith("_concat") for layer in model.layers)
    names = block_names(model.layers)
    for layer in model.layers:
        if isinstance(layer, GatedBlocks):
            yield from _of_blocks(layer, names[layer])
        elif isinstance(layer, TransitionLayer):
            prefix = _stage(layer.name).replace("stage", "transition")
            yield from ((f"{prefix}/{part}", Slot(v)) for part, v in layer.weights_by_name.items())
        elif isinstance(layer, keras.Model) and not _BLOCK.fullmatch(layer.name):
            yield from _walk(layer)
        else:
            prefix = layer_prefix(layer.name, is_dense)
            yield from ((f"{prefix}/{part}", Slot(v)) for part, v in named_weights(layer, layer.weights).items())


def _of_blocks(layer: GatedBlocks, names: list[str]) -> Iterator[tuple[str, Slot]]:
    prefixes = [_block_prefix(name, layer) for name in names]
    for index, (prefix, factor) in enumerate(zip(prefixes, layer.inference_gates())):
        for part, weight in layer.block_weights(index).items():
            yield f"{prefix}/{part}", Slot(*weight, factor)
    if layer.shortcut is not None:
        for part, variable in named_weights(layer, layer.shortcut.weights).items():
            yield f"{prefixes[0]}/shortcut/{part.removeprefix('shortcut/')}", Slot(variable)


def _block_prefix(name: str, layer: GatedBlocks) -> str:
    if name == layer.name:
        return layer_prefix(name, is_dense=False)
    place, _, block = name.rpartition("_")  # one of several: "stage2_block3", "stage2_block_layer3"
    return f"{_stage(place)}/{block}"


def _stage(name: str) -> str:
    """Return `stage2` for a layer of the second stage, or the layer's own name if it is in no stage.

    keras.applications counts the stem as the first stage.
    """
    if not (found := _STAGE.match(name)):
        return name
    return f"stage{int(found[2]) - (found[1] in ('conv', 'pool'))}"


def layer_prefix(name: str, is_dense: bool) -> str:
    """Return the canonical name of a layer, given its own name."""
    if name in _FIXED:
        return _FIXED[name]
    if found := re.fullmatch(r"pool(\d+)_(conv|bn)", name):
        return f"transition{int(found[1]) - 1}/{found[2].replace('bn', 'norm')}"
    if found := _KERAS_PART.fullmatch(name):
        return layer_prefix(found[1], is_dense) + "/" + _keras_part(found[2], found[3].replace("bn", "norm"), is_dense)
    if found := _BLOCK.fullmatch(name):
        return f"{_stage(name)}/{'layer' if is_dense else 'block'}{found[3]}"
    return name


def _keras_part(number: str, kind: str, is_dense: bool) -> str:
    if number == "preact":
        return "preact_norm"
    if is_dense:  # a normalization precedes its convolution, and has the number of the previous one
        return f"{kind}{int(number) + (kind == 'norm')}"
    return f"shortcut/{kind}" if number == "0" else f"{kind}{number}"


def read_slots(slots: Mapping[str, Slot]) -> dict[str, np.ndarray]:
    """Return copies of the weights of a model, by name."""
    variables = {id(slot.variable): slot.variable for slot in slots.values()}
    values = {key: keras.ops.convert_to_numpy(variable) for key, variable in variables.items()}
    found = ((name, slot.row, values[id(slot.variable)]) for name, slot in slots.items())
    return {name: np.array(value if row is None else value[row]) for name, row, value in found}


def read_factors(slots: Mapping[str, Slot]) -> dict[str, float]:
    """Return the inference factor of each block whose branch is scaled at inference, by block name."""
    return {"/".join(name.split("/")[:2]): slot.factor for name, slot in slots.items() if slot.factor != 1}


def absorb_factors(slots: Mapping[str, Slot], arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Multiply the last layer of each branch by the branch's factor: the same function at constant depth."""
    last = {}  # the last layer of each branch
    for name, slot in slots.items():
        if slot.factor != 1:
            layer = name.rpartition("/")[0]
            last[layer.rpartition("/")[0]] = layer
    scaled = {f"{layer}/{leaf}" for layer in last.values() for leaf in ("kernel", "bias", "gamma", "beta")}
    return {name: a * np.asarray(slots[name].factor, a.dtype) if name in scaled else a for name, a in arrays.items()}


def assign_slots(slots: Mapping[str, Slot], arrays: Mapping[str, np.ndarray]) -> None:
    """Assign arrays to a model. Names, shapes and dtypes must have been checked. A stacked variable is written once."""
    stacked: dict[int, tuple[keras.Variable, np.ndarray]] = {}
    for name, array in arrays.items():
        slot = slots[name]
        if slot.row is None:
            slot.variable.assign(array)
            continue
        if id(slot.variable) not in stacked:
            stacked[id(slot.variable)] = slot.variable, np.array(keras.ops.convert_to_numpy(slot.variable))
        stacked[id(slot.variable)][1][slot.row] = array
    for variable, value in stacked.values():
        variable.assign(value)
