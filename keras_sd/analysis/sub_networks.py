"""The blocks of a trained model, and the sub-networks without some of them."""

import contextlib
import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sd.layers.blocks import BlockWeight, block_names
from keras_sd.layers.nesting import Rewired, walk
from keras_sd.utils.checks import check_type, refusal


@dataclass(frozen=True)
class Block:
    """One block of a model, controlled by one gate.

    Attributes:
        name: Name by stage and block (`"stage2_block3"`), in a dense block also by layer.
        layer: The Keras layer that contains the block.
        row: Index of the block in the layer, from 0.
        kind: `"residual"`, `"dense"` (a layer of a dense block), or `"plain"` (a block without shortcut).
        keeps_shape: Whether its output has the shape of its input; for a dense layer, whether its size is kept.
        survival_probability: Probability that it survives a training step.
        gate: Factor of its branch in inference.
        survivor_gate: Factor of its branch in a training step that it survives.
    """

    name: str
    layer: keras.layers.Layer
    row: int
    kind: str
    keeps_shape: bool
    survival_probability: float = 1.0
    gate: float = 1.0
    survivor_gate: float = 1.0

    @property
    def removable(self) -> bool:
        """Whether the network works without the block: false for plain blocks that change the shape."""
        return self.kind != "plain" or self.keeps_shape

    def weights(self) -> dict[str, BlockWeight]:
        """Return the weights of the branch, a dictionary from names to `BlockWeight`s."""
        return self.layer.block_weights(self.row)

    def kernels(self) -> list[tuple]:
        """Return the convolution kernels: pairs of a Keras variable and its row (`None`: the whole variable)."""
        return [tuple(weight) for name, weight in self.weights().items() if name.endswith("kernel")]

    def get_weights(self) -> dict[str, np.ndarray]:
        """Return the weights of the branch, a dictionary of arrays."""
        return {name: weight.value() for name, weight in self.weights().items()}

    def set_weights(self, weights: dict[str, np.ndarray]) -> None:
        """Set the weights of the branch from a dictionary as `get_weights` returns it, in its order."""
        for weight, value in zip(self.weights().values(), weights.values(), strict=True):
            weight.assign(value)


def blocks(model: keras.Model) -> list[Block]:
    """Return all blocks of a model in order: residual blocks (also in stacks), dense layers, plain blocks.

    Args:
        model: A model of `keras_sd.applications`, or one with its layers; they may be inside nested models.

    Returns:
        List of `Block`s; empty if it has none.

    Raises:
        TypeError: The model is not a Keras model.
    """
    check_type("model", model, keras.Model, "a Keras model")
    found = []
    for layer, names in block_names(walk(model)).items():
        gates = zip(layer.survival_probabilities, layer.inference_gates(), layer.survivor_gates())
        for row, (name, probabilities) in enumerate(zip(names, gates)):
            found.append(Block(name, layer, row, layer.kind, layer.keeps_shape, *map(float, probabilities)))
    return found


def by_layer(found: list[Block]) -> list[tuple[keras.Layer, list[Block]]]:
    """Group the blocks of a model by layer: pairs of a layer and the list of its blocks."""
    groups = itertools.groupby(found, lambda block: id(block.layer))
    return [(group[0].layer, group) for group in (list(group) for _, group in groups)]


class SubNetworks:
    """A model and all its sub-networks without some blocks, none of which needs to be built.

    The gates are a variable of one compiled model that shares the weights of the given one. Choosing other blocks is an
    assignment, without building, tracing or compiling. Blocks with gate 0 are not computed.

    Args:
        model: A model with blocks (see `blocks`).

    Attributes:
        blocks: The `Block`s.
        full: The gates of ordinary inference: with them the outputs are those of the model.
        model: The Keras model with gates.

    Raises:
        TypeError: The model is not a Keras model.
        ValueError: The model has no blocks.
    """

    def __init__(self, model: keras.Model):
        self.blocks = blocks(model)
        if not self.blocks:
            raise refusal("model", "a model with residual, dense or plain blocks", model.name)
        self.full = np.array([block.gate for block in self.blocks], "float32")
        self._gates = keras.Variable(self.full, dtype="float32", trainable=False, autocast=False, name="gates")
        gated, start = [], 0
        for layer, group in by_layer(self.blocks):
            gated.append((layer, functools.partial(_gated, len(group), self._gates, start)))
            start += len(group)
        self.model = Rewired(model, gated)
        self.model.gates = self._gates  # part of its state: otherwise JAX would compile the values as constants

    @property
    def gates(self) -> np.ndarray:
        """Current gates, an array with one number for each block: 0 closed, 1 open, others scale the branch."""
        return ops.convert_to_numpy(self._gates)

    @gates.setter
    def gates(self, value: Any) -> None:
        value = np.asarray(value, "float32")
        if value.shape != self.full.shape:
            raise refusal("gates", f"{len(self.full)} numbers, one for each block", value)
        stuck = [b.name for b, gate in zip(self.blocks, value) if not b.removable and gate == 0]
        if stuck:
            raise refusal("gates", f"other than 0 for {stuck}, which change the shape and have no shortcut", value)
        self._gates.assign(value)

    def predict(self, x: np.ndarray, gates: Any = None, batch_size: int = 256) -> np.ndarray:
        """Return the outputs of the network with these gates (`None`: those of inference), as an array."""
        self.gates = self.full if gates is None else gates
        starts = range(0, len(x), batch_size)
        return np.concatenate([self.model.predict_on_batch(x[i : i + batch_size]) for i in starts])

    def error(self, x: np.ndarray, y: np.ndarray, gates: Any = None, batch_size: int = 256) -> float:
        """Return the fraction of the examples whose most likely class is wrong."""
        return error(self.predict(x, gates, batch_size), y)


def _gated(count, gates, start, call):
    """Return the call of a layer with its part of the model's gates: `count` numbers from `start` on."""

    def gated(inputs, training=False, **ignored):
        return call(inputs, training=training, gates=ops.convert_to_tensor(gates)[start : start + count])

    return gated


def error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the fraction of the examples whose most likely class is not the label."""
    return float(np.mean(np.argmax(probabilities, axis=-1) != np.asarray(labels).ravel()))


@contextlib.contextmanager
def swapped(first: Block, second: Block) -> Iterator[None]:
    """Exchange the weights of two blocks of a model within a `with` block.

    Survival probabilities stay in place. Only weights are assigned; nothing is compiled again.

    Args:
        first, second: `Block`s whose weights have equal shapes.

    Raises:
        ValueError: The blocks have different forms.
    """
    check_type("first", first, Block, "a `Block`")
    check_type("second", second, Block, "a `Block`")
    before = first.get_weights(), second.get_weights()
    shapes = [[np.shape(w) for w in weights.values()] for weights in before]
    if first.kind != second.kind or shapes[0] != shapes[1]:
        raise ValueError(f"`first` and `second` must have equal form. Received: {first.name!r} and {second.name!r}")
    try:
        first.set_weights(before[1])
        second.set_weights(before[0])
        yield
    finally:
        first.set_weights(before[0])
        second.set_weights(before[1])
