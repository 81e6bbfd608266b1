"""The blocks of a trained model, and all the networks that are left when some of them are taken out."""

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
    """One block of a model: what a gate opens or shuts.

    Attributes:
        name: By stage and block (`"stage2_block3"`), in a dense block also by layer.
        layer: The Keras layer that holds it.
        row: Which of the layer's blocks it is, from 0.
        kind: `"residual"`, `"dense"` (a layer of a dense block), or `"plain"` (a block without shortcut).
        keeps_shape: Whether its output has the shape of its input; of a dense layer, that of its features is meant.
        survival_probability: How likely it is to survive a training step.
        gate: What its branch is multiplied by in inference.
        survivor_gate: What its branch is multiplied by in a training step that it survives.
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
        """Whether something goes through where the block is shut: not in a plain block that changes the shape."""
        return self.kind != "plain" or self.keeps_shape

    def weights(self) -> dict[str, BlockWeight]:
        """The weights of its branch, a dictionary from names to `BlockWeight`s."""
        return self.layer.block_weights(self.row)

    def kernels(self) -> list[tuple]:
        """Its convolution kernels: pairs of a Keras variable, and a row of it (`None`: the whole)."""
        return [tuple(weight) for name, weight in self.weights().items() if name.endswith("kernel")]

    def get_weights(self) -> dict[str, np.ndarray]:
        """Return the weights of the branch, a dictionary of arrays."""
        return {name: weight.value() for name, weight in self.weights().items()}

    def set_weights(self, weights: dict[str, np.ndarray]) -> None:
        """Set the weights of the branch from a dictionary as `get_weights` returns it, in its order."""
        for weight, value in zip(self.weights().values(), weights.values(), strict=True):
            weight.assign(value)


def blocks(model: keras.Model) -> list[Block]:
    """List all blocks of a model in order: residual blocks (those in stacks, too), dense layers, plain blocks.

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
    """Return the blocks of a model by the layer that holds them: pairs of it and a list."""
    groups = itertools.groupby(found, lambda block: id(block.layer))
    return [(group[0].layer, group) for group in (list(group) for _, group in groups)]


class SubNetworks:
    """A model, and every network that is left of it when blocks are shut, without building any of them.

    The gates are a variable of one compiled model with the weights of the given one: another choice of
    blocks is another assignment, and costs no building, tracing or compiling. Blocks that are shut are not computed.

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
        self.model.gates = self._gates  # part of its state: otherwise JAX would compile their numbers in

    @property
    def gates(self) -> np.ndarray:
        """The gates now, an array of one number for each block: 0 is shut, 1 open, others weigh the branch."""
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
        """Outputs of the network with these gates (`None`: those of inference), as an array."""
        self.gates = self.full if gates is None else gates
        starts = range(0, len(x), batch_size)
        return np.concatenate([self.model.predict_on_batch(x[i : i + batch_size]) for i in starts])

    def error(self, x: np.ndarray, y: np.ndarray, gates: Any = None, batch_size: int = 256) -> float:
        """Share of the examples whose most likely class is wrong, in [0, 1]."""
        return error(self.predict(x, gates, batch_size), y)


def _gated(count, gates, start, call):
    """Return the call of a layer that takes its part, `count` numbers from `start` on, of the gates of a model."""

    def gated(inputs, training=False, **ignored):
        return call(inputs, training=training, gates=ops.convert_to_tensor(gates)[start : start + count])

    return gated


def error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of the examples whose most likely class is not the label, in [0, 1]."""
    return float(np.mean(np.argmax(probabilities, axis=-1) != np.asarray(labels).ravel()))


@contextlib.contextmanager
def swapped(first: Block, second: Block) -> Iterator[None]:
    """Two blocks of a model with their weights exchanged, for a `with` block.

    Each keeps its place's survival probability. Nothing is compiled anew: only weights are assigned.

    Args:
        first, second: `Block`s whose weights have equal shapes.

    Raises:
        ValueError: Blocks of different form.
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
