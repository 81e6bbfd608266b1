"""The common interface of layers that contain blocks with gates."""

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
        row: Row of a stacked variable; `None` if the variable belongs to this block alone.
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
        """Set the weight to a value of its shape."""
        if self.row is None:
            self.variable.assign(value)
            return
        stacked = ops.convert_to_tensor(self.variable)
        start = (self.row,) + (0,) * len(self.shape)
        self.variable.assign(ops.slice_update(stacked, start, ops.cast(value, stacked.dtype)[None]))


class FedProbabilities(keras.Variable):
    """Survival probabilities as a variable that compiled steps read; it is not saved in files and checkpoints."""

    def __init__(self, probabilities: tuple[float, ...], name: str):
        super().__init__(
            np.array(probabilities, "float32"),
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )


class GatedBlocks:
    """Base class of layers that contain blocks, as analysis, folding, weight loading and fine-tuning use them.

    The layer's `call` takes `gates`, one number per block: with 0 the block's branch is not computed, any other number
    multiplies it.

    Attributes:
        kind: `"residual"` (a branch and a shortcut), `"dense"` (layers of a dense block) or `"plain"` (no shortcut).
        num_blocks: Number of blocks.
        survival_probabilities: Probability that each block survives a training step, a tuple; can be assigned.
        scaling: When branches are scaled by survival probabilities: in `"inference"` or in `"training"`.
        keeps_shape: Whether outputs have the shape of the inputs; for a dense block, whether height and width do.
        shortcut: Layer on the shortcut path of a residual block; `None` is the identity.
    """

    kind = "residual"
    scaling = "inference"
    # Declared without values: on PyTorch a class attribute would hide a layer assigned to the instance.
    branch: Any
    shortcut: Any
    name: str
    trainable: bool
    _fed: "_Held | None" = None  # survival probabilities that compiled steps take as an input

    @property
    def num_blocks(self) -> int:
        return 1

    @property
    def survival_probabilities(self) -> tuple[float, ...]:
        return (1.0,) * self.num_blocks

    @property
    def can_be_fed(self) -> bool:
        """Whether survival probabilities can be inputs of compiled steps: no shape in the graph depends on them."""
        return True

    def feed_probabilities(self) -> None:
        """Make survival probabilities an input of steps compiled from now on, so that they can change during training.

        Otherwise they are constants of the compiled steps. Afterwards the layer's `variables` contain them, its
        `weights` do not.
        """
        if self._fed is None:
            self._fed = _Held(FedProbabilities(self.survival_probabilities, f"{self.name}_survival_probabilities"))
            self._probabilities_changed()

    def _probabilities_changed(self):
        """Update what depends on the survival probabilities; called whenever they are assigned."""
        if self._fed is not None:
            self._fed.variable.assign(np.array(self.survival_probabilities, "float32"))

    @property
    def variables(self) -> list[keras.Variable]:
        own = keras.layers.Layer.variables.fget(self)
        return own if self._fed is None else [*own, self._fed.variable]

    def _drops_none(self):
        """Return whether steps can be compiled on the assumption that all blocks survive."""
        return self._fed is None and min(self.survival_probabilities) == 1

    def _probabilities(self):
        """Return the survival probabilities as a tensor, which is a constant unless they are fed."""
        fed = self.survival_probabilities if self._fed is None else self._fed.variable
        return ops.convert_to_tensor(fed, "float32")

    def _branch_weights(self, training):
        """Return `survivor_gates` or `inference_gates`, as tensors if they depend on fed probabilities."""
        if self._fed is None or bool(training) != (self.scaling == "training"):
            return self.survivor_gates() if training else self.inference_gates()
        return 1.0 / self._probabilities() if training else self._probabilities()

    @property
    def keeps_shape(self) -> bool:
        return True

    def inference_gates(self) -> tuple[float, ...]:
        """Return the factor of each block's branch in inference, a tuple."""
        return self.survival_probabilities if self.scaling == "inference" else (1.0,) * self.num_blocks

    def survivor_gates(self) -> tuple[float, ...]:
        """Return the factor of each block's branch in a training step that the block survives, a tuple."""
        if self.scaling == "inference":
            return (1.0,) * self.num_blocks
        return tuple(1.0 / p for p in self.survival_probabilities)

    @property
    def stage(self) -> str:
        """Name of the stage: `"stage2"` for `"stage2_block3"` or `"stage2_blocks"`."""
        return self.name.partition("_block")[0]

    def block_names(self, before: int) -> list[str]:
        """Return a name for each block (`"stage2_block3"`), counting on from `before` earlier blocks of the stage."""
        return [self.name]

    def block_weights(self, index: int) -> dict[str, BlockWeight]:
        """Return the weights of a block's branch, a dictionary from names (`"conv1/kernel"`) to `BlockWeight`s."""
        return {name: BlockWeight(weight) for name, weight in named_weights(self, self.branch.weights).items()}

    def block_branch(self, index: int) -> keras.Layer:
        """Return the branch of a residual or plain block as a layer with the block's weights."""
        return self.branch

    def block_outputs(self, call: Callable, inputs: Tensor, gates: Any) -> Iterator[Tensor]:
        """Yield the features after each block.

        Args:
            call: Function of inputs and `gates`, used instead of the layer's `call`.
            inputs: Tensor.
            gates: A number for each block.
        """
        yield call(inputs, gates=gates)

    def products(self, input_shape: Shape, count: Callable) -> tuple[list[int], int]:
        """Return the multiply-adds of one forward pass: a list with one number per block, and that of other layers.

        Args:
            input_shape: Shape of the inputs.
            count: Function of a layer and the shape of its inputs that returns the layer's multiply-adds.
        """
        rest = 0 if self.shortcut is None else count(self.shortcut, input_shape)
        return [count(self.branch, input_shape)], rest

    @property
    def normalization_trainable(self) -> bool:
        """Whether batch normalizations in the blocks train; if not, they use moving statistics and do not update them.

        As with `trainable`, compile the model again after a change.
        """
        return all(norm.trainable for norm in normalizations(self))

    @normalization_trainable.setter
    def normalization_trainable(self, value: bool) -> None:
        for norm in normalizations(self):
            norm.trainable = value


class _Held:
    """Hide a variable from Keras's tracking of weights."""

    def __init__(self, variable: FedProbabilities):
        self.variable = variable


def only_gate(gates: Any) -> Tensor:
    """Return the gate of a one-block layer in float32; for plain numbers, a constant that tracing can read."""
    if isinstance(gates, list | tuple | float | int | np.ndarray | np.generic):
        return ops.convert_to_tensor(np.reshape(gates, ()), "float32")
    return ops.reshape(ops.cast(gates, "float32"), ())


def check_survival(value: Any, count: int) -> tuple[float, ...]:
    """Return `count` survival probabilities, a tuple, from one number for all blocks or one for each."""
    if isinstance(value, list | tuple | np.ndarray):
        return custom(count, [p.item() if isinstance(p, np.generic) else p for p in value])
    return (check_probability(value, "survival_probabilities"),) * count


def named_weights(layer: keras.Layer, weights: Iterable[keras.Variable]) -> dict[str, keras.Variable]:
    """Return weights of a layer by their paths below it, which do not depend on the layer's name.

    In a model loaded from a file, parts may have been built before their layer, so that their paths lack its name.
    """
    named: dict[str, keras.Variable] = {}
    for weight in weights:
        name = weight.path.rpartition(f"{layer.name}/")[2].removeprefix("branch/")
        twins = sum(other.partition("#")[0] == name for other in named)
        named[f"{name}#{twins}" if twins else name] = weight
    return named


def block_names(layers: Iterable[keras.Layer]) -> dict[Any, list[str]]:
    """Return the names of the blocks in each layer of a model, in order: a dictionary from layers to lists.

    Args:
        layers: Layers of a model; those without blocks are skipped.
    """
    names: dict[Any, list[str]] = {}
    before: Counter[str] = Counter()
    for layer in layers:
        if isinstance(layer, GatedBlocks):
            names[layer] = layer.block_names(before[layer.stage])
            before[layer.stage] += layer.num_blocks
    return names
