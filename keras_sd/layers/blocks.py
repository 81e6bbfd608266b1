"""Layers that hold blocks, which gates open and shut: one vocabulary for all of them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_sd.layers.template import normalizations
from keras_sd.schedules import check_probability, custom
from keras_sd.utils.aliases import Shape, Tensor


class BlockWeight(NamedTuple):
    """One weight of a block.

    Attributes:
        variable: The Keras variable.
        row: The row of a stacked variable; `None` for a variable of the block's own.
    """

    variable: keras.Variable
    row: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.variable.shape if self.row is None else self.variable.shape[1:])

    def value(self) -> np.ndarray:
        """Return the weight as an array."""
        value = ops.convert_to_numpy(self.variable)
        return value if self.row is None else value[self.row]

    def assign(self, value: Any) -> None:
        """Give the weight a value of its shape."""
        if self.row is None:
            self.variable.assign(value)
            return
        stacked = ops.convert_to_tensor(self.variable)
        start = (self.row,) + (0,) * len(self.shape)
        self.variable.assign(ops.slice_update(stacked, start, ops.cast(value, stacked.dtype)[None]))


class FedProbabilities(keras.Variable):
    """Survival probabilities as a variable: compiled steps read it, files and checkpoints do not hold it."""

    def __init__(self, probabilities: tuple[float, ...], name: str):
        super().__init__(
            np.array(probabilities, "float32"),
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )


class GatedBlocks:
    """What analysis, folding, weights and fine-tuning ask of a layer that holds blocks; a base class of such layers.

    The layer's `call` takes `gates`, a number for each of its blocks: 0 leaves the block's branch out, uncomputed;
    others weigh it.

    Attributes:
        kind: `"residual"` (a branch and a shortcut), `"dense"` (layers of a dense block) or `"plain"` (no shortcut).
        num_blocks: Number of blocks.
        survival_probabilities: Probability of each block to survive a training step, a tuple; may be set.
        scaling: Where survival probabilities weigh branches: in `"inference"` or in `"training"`.
        keeps_shape: Whether the blocks' outputs have the shape of their inputs; of a dense block, its features' size.
        shortcut: Layer of the other path of a residual block; `None` is the identity.
    """

    kind = "residual"
    scaling = "inference"
    # What each layer has. Without values: on PyTorch the value of a class hides a layer that is set.
    branch: Any
    shortcut: Any
    name: str
    trainable: bool
    _fed: "_Held | None" = None  # survival probabilities that are an input of steps

    @property
    def num_blocks(self) -> int:
        return 1

    @property
    def survival_probabilities(self) -> tuple[float, ...]:
        return (1.0,) * self.num_blocks

    @property
    def can_be_fed(self) -> bool:
        """Whether survival probabilities can be inputs of compiled steps: no shape of the graph depends on them."""
        return True

    def feed_probabilities(self) -> None:
        """Make survival probabilities an input of the steps that are compiled from now on, for changes while training.

        They are constants of steps otherwise. The layer's `variables` then hold them, its `weights` do not.
        """
        if self._fed is None:
            self._fed = _Held(FedProbabilities(self.survival_probabilities, f"{self.name}_survival_probabilities"))
            self._probabilities_changed()

    def _probabilities_changed(self):
        """What a layer does whenever its survival probabilities are set."""
        if self._fed is not None:
            self._fed.variable.assign(np.array(self.survival_probabilities, "float32"))

    @property
    def variables(self) -> list[keras.Variable]:
        own = keras.layers.Layer.variables.fget(self)
        return own if self._fed is None else [*own, self._fed.variable]

    def _drops_none(self):
        """Whether steps can be compiled for blocks that all survive."""
        return self._fed is None and min(self.survival_probabilities) == 1

    def _probabilities(self):
        """Survival probabilities as a step reads them: a tensor, which is a constant unless they are fed."""
        fed = self.survival_probabilities if self._fed is None else self._fed.variable
        return ops.convert_to_tensor(fed, "float32")

    def _branch_weights(self, training):
        """`survivor_gates` or `inference_gates` as a step reads them."""
        if self._fed is None or bool(training) != (self.scaling == "training"):
            return self.survivor_gates() if training else self.inference_gates()
        return 1.0 / self._probabilities() if training else self._probabilities()

    @property
    def keeps_shape(self) -> bool:
        return True

    def inference_gates(self) -> tuple[float, ...]:
        """Return what the branch of each block is multiplied by in inference, a tuple."""
        return self.survival_probabilities if self.scaling == "inference" else (1.0,) * self.num_blocks

    def survivor_gates(self) -> tuple[float, ...]:
        """Return what the branch of each block is multiplied by in a training step that it survives, a tuple."""
        if self.scaling == "inference":
            return (1.0,) * self.num_blocks
        return tuple(1.0 / p for p in self.survival_probabilities)

    @property
    def stage(self) -> str:
        """Name of the stage: of `"stage2_block3"` or `"stage2_blocks"`, `"stage2"`."""
        return self.name.partition("_block")[0]

    def block_names(self, before: int) -> list[str]:
        """Return a name for each block (`"stage2_block3"`), after `before` blocks of the same stage."""
        return [self.name]

    def block_weights(self, index: int) -> dict[str, BlockWeight]:
        """Return the weights of a block's branch: a dictionary from names (`"conv1/kernel"`) to `BlockWeight`s."""
        return {name: BlockWeight(weight) for name, weight in named_weights(self, self.branch.weights).items()}

    def block_branch(self, index: int) -> keras.Layer:
        """Return the branch of a residual or plain block as a layer with the block's weights."""
        return self.branch

    def block_outputs(self, call: Callable, inputs: Tensor, gates: Any) -> Iterator[Tensor]:
        """Yield the features after each block.

        Args:
            call: Function of inputs and of `gates`, in place of the layer's `call`.
            inputs: Tensor.
            gates: A number for each block.
        """
        yield call(inputs, gates=gates)

    def products(self, input_shape: Shape, count: Callable) -> tuple[list[int], int]:
        """Return the multiply-adds of one forward pass: a list, one number for each block, and those of the rest.

        Args:
            input_shape: Shape of the inputs.
            count: Function that returns the multiply-adds of a layer for the shape of its inputs.
        """
        rest = 0 if self.shortcut is None else count(self.shortcut, input_shape)
        return [count(self.branch, input_shape)], rest

    @property
    def normalization_trainable(self) -> bool:
        """Whether batch normalizations of the blocks train; if not, they use (and leave alone) moving statistics.

        As with `trainable`, a model is compiled anew after a change.
        """
        return all(norm.trainable for norm in normalizations(self))

    @normalization_trainable.setter
    def normalization_trainable(self, value: bool) -> None:
        for norm in normalizations(self):
            norm.trainable = value


class _Held:
    """An object that Keras's tracker of weights does not look into."""

    def __init__(self, variable: FedProbabilities):
        self.variable = variable


def only_gate(gates: Any) -> Tensor:
    """Return the gate of a layer of one block in float32; of numbers, a constant that tracing can look at."""
    if isinstance(gates, list | tuple | float | int | np.ndarray | np.generic):
        return ops.convert_to_tensor(np.reshape(gates, ()), "float32")
    return ops.reshape(ops.cast(gates, "float32"), ())


def check_survival(value: Any, count: int) -> tuple[float, ...]:
    """Return a survival probability for each of `count` blocks, a tuple, of one number for all or one for each."""
    if isinstance(value, list | tuple | np.ndarray):
        return custom(count, [p.item() if isinstance(p, np.generic) else p for p in value])
    return (check_probability(value, "survival_probabilities"),) * count


def named_weights(layer: keras.Layer, weights: Iterable[keras.Variable]) -> dict[str, keras.Variable]:
    """Return weights of a layer by their paths inside it, whatever the layer is called.

    Parts of a model from a file may have been built before their layer, and lack its name in their paths.
    """
    named: dict[str, keras.Variable] = {}
    for weight in weights:
        name = weight.path.rpartition(f"{layer.name}/")[2].removeprefix("branch/")
        twins = sum(other.partition("#")[0] == name for other in named)
        named[f"{name}#{twins}" if twins else name] = weight
    return named


def block_names(layers: Iterable[keras.Layer]) -> dict[Any, list[str]]:
    """Return the names of the blocks in each of a model's layers, in order: a dictionary from layers to lists.

    Args:
        layers: Layers of a model; those that hold no blocks are left out.
    """
    names: dict[Any, list[str]] = {}
    before: Counter[str] = Counter()
    for layer in layers:
        if isinstance(layer, GatedBlocks):
            names[layer] = layer.block_names(before[layer.stage])
            before[layer.stage] += layer.num_blocks
    return names
