"""A stack of equal residual blocks as one layer with stacked weights."""

from collections.abc import Callable, Iterator
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from keras_sd import backend
from keras_sd.backend.survivors import Survivors
from keras_sd.layers import gates as gating
from keras_sd.layers.blocks import BlockWeight, GatedBlocks, check_survival
from keras_sd.layers.residual import add_rows, gate_examples, scale
from keras_sd.layers.template import (
    Template,
    automatic_stems,
    build_by_call,
    check_adds_no_losses,
    check_layer,
    deserialize,
    normalizations,
    positional,
)
from keras_sd.schedules import check_depth
from keras_sd.utils.aliases import Shape, Tensor
from keras_sd.utils.checks import check_choice, check_flag, check_integer, refusal

_IDEMPOTENT = (keras.activations.relu, keras.activations.relu6, keras.activations.linear)


@keras.saving.register_keras_serializable(package="keras_sd")
class StochasticDepthStack(GatedBlocks, keras.layers.Layer):
    """Sequence of `depth` residual blocks `x = activation(x + b_l * branch_l(x))`; only the survivors are computed.

    The blocks share the structure of one template, but each has its own weights, stacked on a leading axis. The graph
    contains the block once, in a loop over the survivors, so that building, tracing and compiling cost the same at any
    depth. Outputs, gradients and moving statistics are those of `depth` layers `StochasticDepthResidual`.

    An optimizer sees the weights of all blocks as one variable. If it uses the norm of each variable (`clipnorm`,
    Lamb), this is the norm over all blocks. Scales, offsets and biases have two axes, so a rule such as "decay
    variables with more than one axis" decays them. `keras_sd.training.norm_and_bias_variables` lists the variables
    that are usually excluded from weight decay.

        training   b_l ~ Bernoulli(p_l);     inference   b_l = p_l

    Args:
        branch: Keras layer or model with equal input and output shape, the template of the blocks. It is copied, and
            its own weights are not used. Regularizers of its weights may be L1, L2 or both; it must not add other
            losses.
        depth: Number of blocks.
        survival_probabilities: One number for all blocks, or one for each, in (0, 1].
        activation: Applied to each sum, `"relu"` or `"relu6"`; `None` for blocks with pre-activation.
        gates: `"independent"`: a separate draw for each block (as in the paper). `"systematic"`: systematic sampling
            with the same marginal probabilities and the same number of survivors in each step, so that step time is
            constant and the layer compiles under XLA.
        granularity, scaling, seed: As in `StochasticDepthResidual`.
        unroll: Whether the loop is unrolled in the graph where all blocks are computed: in inference, and at constant
            depth. Building takes longer, but the overhead of the loop, which matters for small batches, is saved.
        memory_efficient: Whether training keeps only the input of each block and recomputes the rest in the backward
            pass: less memory, longer steps, equal gradients.

    Call arguments:
        inputs: Tensor that `branch` accepts, with the batch on its first axis.
        training: Whether to draw gates.
        gates: `depth` numbers used instead of the gates `b_l`, drawn or expected; blocks with gate 0 are not
            computed (lesions, truncated depth, single networks of the implicit ensemble).

    Raises:
        ValueError: An argument is invalid, or the branch changes the shape of its input.

    Examples:
        >>> branch = keras.Sequential([keras.layers.Conv2D(16, 3, padding="same"), keras.layers.BatchNormalization()])
        >>> stack = keras_sd.layers.StochasticDepthStack(branch, depth=50, survival_probabilities=0.8)
        >>> tuple(stack(keras.random.normal((2, 8, 8, 16))).shape)
        (2, 8, 8, 16)
        >>> len(stack.unstacked_weights())
        50

    Reference:
        [Huang et al., 2016](https://arxiv.org/abs/1603.09382), equations 2 and 5
    """

    def __init__(
        self,
        branch: keras.Layer,
        depth: int,
        survival_probabilities: Any = 0.5,
        activation: Any = "relu",
        gates: str = "independent",
        granularity: str = "batch",
        scaling: str = "inference",
        seed: int | None = None,
        unroll: bool = False,
        memory_efficient: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.depth = check_depth("depth", depth)
        self.shortcut = None
        self.activation = keras.activations.get(activation)
        if self.activation not in _IDEMPOTENT:
            names = tuple(function.__name__ for function in _IDEMPOTENT)
            allowed = (
                f"one of {names}: dropped blocks apply it again, which must change nothing (for others, "
                "use `StochasticDepthResidual`)"
            )
            raise refusal("activation", allowed, activation)
        self.gates = check_choice("gates", gates, gating.GATES)
        self.granularity = check_choice("granularity", granularity, gating.GRANULARITIES)
        self.scaling = check_choice("scaling", scaling, gating.SCALINGS)
        self.seed = seed
        self.unroll = check_flag("unroll", unroll)
        self.memory_efficient = check_flag("memory_efficient", memory_efficient)
        self.seed_generator = gating.seed_generator(seed, self.name)
        self._template = Template(check_layer("branch", branch))
        self.survival_probabilities = survival_probabilities

    @property
    def survival_probabilities(self) -> tuple[float, ...]:
        """One for each block, a tuple; assign what the argument accepts.

        Compile the model again after a change, unless they are fed (`feed_probabilities`).
        """
        return self._survival_probabilities

    @survival_probabilities.setter
    def survival_probabilities(self, value: Any) -> None:
        self._survival_probabilities = check_survival(value, self.depth)
        self._probabilities_changed()

    def _probabilities_changed(self):
        super()._probabilities_changed()
        static = self._drops_none() or self.granularity == "sample"
        static = static or (self.gates == "systematic" and self.granularity == "batch")
        self.supports_jit = static or backend.COMPILES_DYNAMIC_LOOPS

    @property
    def can_be_fed(self) -> bool:
        return self.granularity == "sample" or (self.granularity == "batch" and self.gates == "independent")

    def build(self, input_shape: Shape) -> None:
        template, self._input_shape = self._template, tuple(input_shape)
        output_shape = template.build(input_shape, self.path)
        if output_shape != tuple(input_shape):
            allowed = f"a layer that keeps the shape of its input in {self.name!r}, {tuple(input_shape)}"
            raise refusal("branch", f"{allowed}, not {output_shape}", template.layer)
        check_adds_no_losses(self.name, template.layer, input_shape)
        self._weights_of = {}
        for name, variable in template.variables.items():
            self._weights_of[name] = self.add_weight(
                shape=(self.depth, *variable.shape),
                initializer=template.stacked_initializer(name, self.depth),
                dtype=variable.dtype,
                trainable=name not in template.fixed,
                regularizer=_separable(variable),
                constraint=_blockwise(variable.constraint),
                autocast=False,  # the template does its own casting
                aggregation=variable.aggregation,
                name=name.replace("/", "_"),
            )
            # A frozen part of the template can be unfrozen later, as any layer.
            self._weights_of[name].trainable = variable.trainable
        if not self.trainable:
            template.layer.trainable = False

    @property
    def branch(self) -> keras.Layer:
        """An unbuilt layer with the structure of the blocks: a copy of the template, without weights."""
        return self._template.copy()

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def call(self, inputs: Tensor, training: bool = False, gates: Any = None) -> Tensor:
        everything = Survivors(self.depth)
        if gates is not None:
            gates = ops.cast(gates, "float32")
            if tuple(gates.shape) not in ((self.depth,), (None,)):
                raise refusal("gates", f"{self.depth} numbers, one for each block", gates)
            return self._run(inputs, training, backend.survivors(gates != 0), _Weighted(gates))
        if not training or self._drops_none():
            return self._run(inputs, training, everything, _Weighted(self._branch_weights(training)))
        if self.granularity == "batch":
            return self._run(inputs, training, self._drawn(), _Weighted(self._branch_weights(training)))
        gated = _ByExample if self.granularity == "sample" else _OnSubset
        return self._run(inputs, training, everything, gated(self, ops.shape(inputs)[0]))

    def _drawn(self):
        if self.gates == "systematic":
            return gating.draw_systematic(self.survival_probabilities, self.seed_generator)
        return backend.survivors(gating.draw_independent(self._probabilities(), (self.depth,), self.seed_generator))

    def _run(self, inputs, training, survivors, addition):
        """Run the loop over the survivors; `addition` adds each block's branch."""

        def taken(stacked):
            return stacked if survivors.rows is None else backend.take_rows(stacked, survivors.rows)

        stacked = {name: ops.convert_to_tensor(w) for name, w in self._weights_of.items()}
        states = [name for name in stacked if name in self._template.states] if training else []
        constants = [name for name in stacked if name not in states]
        live = [] if survivors.live is None else [survivors.live]

        def block(x, state_rows, other_rows):
            values = dict(zip(states + constants, state_rows + other_rows))
            own = other_rows[len(constants) : len(other_rows) - len(live)]

            def computed():
                new = {}

                def branch(z):
                    y, found = self._template(values, z, training)
                    new.update(found)
                    return ops.cast(y, z.dtype)

                y = self.activation(addition.add(x, branch, *own))
                return y, [ops.cast(new[name], values[name].dtype) for name in states]

            return backend.choose(other_rows[-1], computed, (x, state_rows)) if live else computed()

        outputs, new_states = backend.scan(
            backend.recomputed(block) if training and self.memory_efficient else block,
            self._activated_for_dropped(inputs, survivors),
            [taken(stacked[name]) for name in states],
            [*(taken(stacked[name]) for name in constants), *map(taken, addition.rows), *live],
            survivors.length,
            self.unroll,
        )
        for name, value in zip(states, new_states):
            if survivors.rows is not None:
                value = ops.scatter_update(stacked[name], ops.expand_dims(survivors.rows, -1), value)
            self._weights_of[name].assign(value)
        return outputs

    def _activated_for_dropped(self, inputs, survivors):
        """Return the input of the first survivor: if blocks before it are dropped, their activation is applied once."""
        rows, live = survivors.rows, survivors.live
        if self.activation is keras.activations.linear or (rows is None and live is None):
            return inputs
        opened = True if live is None else live
        first = opened[0] if rows is None else ops.any(ops.logical_and(rows == 0, opened))
        return ops.cond(first, lambda: inputs, lambda: self.activation(inputs))

    @property
    def trainable(self) -> bool:
        return super().trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        # The template's batch normalizations must be frozen too.
        keras.layers.Layer.trainable.fset(self, value)
        if getattr(self, "built", False):
            self._template.layer.trainable = value
            if value:
                self._set_normalization_trainable(True)  # assigning an unchanged value is ignored

    @property
    def normalization_trainable(self) -> bool:
        return all(norm.trainable for norm in normalizations(self._template.layer or self.branch))

    @normalization_trainable.setter
    def normalization_trainable(self, value: bool) -> None:
        self._set_normalization_trainable(value)

    def _set_normalization_trainable(self, value):
        self._template.set_normalization_trainable(bool(value))
        if self.built:
            for name, variable in self._template.variables.items():
                self._weights_of[name].trainable = variable.trainable

    @property
    def num_blocks(self) -> int:
        return self.depth

    def block_names(self, before: int) -> list[str]:
        return [f"{self.stage}_block{before + i + 1}" for i in range(self.depth)]

    def block_weights(self, index: int) -> dict[str, BlockWeight]:
        return {name: BlockWeight(w, index) for name, w in self._weights_of.items() if name not in self._template.seeds}

    def block_branch(self, index: int) -> keras.Layer:
        branch = self.branch
        build_by_call(branch, self._input_shape)
        values = {name: weight.value() for name, weight in self.block_weights(index).items()}
        for variable, value in zip(branch.weights, values.values(), strict=True):
            variable.assign(value)
        return branch

    def block_outputs(self, call: Callable, inputs: Tensor, gates: Any) -> Iterator[Tensor]:
        for index in range(self.depth):
            inputs = call(inputs, gates=gates * (np.arange(self.depth) == index))
            yield inputs

    def products(self, input_shape: Shape, count: Callable) -> tuple[list[int], int]:
        # A layer like any of the blocks, built for its shapes only, without values.
        with keras.StatelessScope(initialize_variables=False):
            branch = self.branch
            build_by_call(branch, input_shape)
        return [count(branch, input_shape)] * self.depth, 0

    def unstacked_weights(self) -> list[dict[str, np.ndarray]]:
        """Return the weights of each block: a list of dictionaries from names such as `"conv1/kernel"` to arrays."""
        stacked = {name: ops.convert_to_numpy(w) for name, w in self._weights_of.items()}
        return [{name: w[i] for name, w in stacked.items()} for i in range(self.depth)]

    def assign_block(self, index: int, weights: dict[str, Any]) -> None:
        """Set the weights of a block to those of a dictionary, as `unstacked_weights` returns them.

        Args:
            index: Integer, the block, counted from 0.
            weights: Dictionary from names to arrays. Automatic names of layers (`"conv2d_7"`) are matched by position,
                so that those of another stack of the same structure are accepted.

        Raises:
            ValueError: The index is beyond the depth, or names or shapes differ from those of the block. Nothing is
                assigned then.
        """
        check_integer("index", index, 0, self.depth - 1)
        stems = automatic_stems(self._template.layer)
        weights = dict(zip(positional(weights, stems), weights.values()))
        places = dict(zip(positional(self._weights_of, stems), self._weights_of.values()))
        expected = {name: tuple(w.shape[1:]) for name, w in places.items()}
        received = {name: tuple(np.shape(w)) for name, w in weights.items()}
        if expected != received:
            raise refusal("weights", f"of the names and shapes {expected} for a block of {self.name!r}", received)
        for name, variable in places.items():
            BlockWeight(variable, index).assign(weights[name])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "branch": self._template.config,
            "depth": self.depth,
            "survival_probabilities": list(self.survival_probabilities),
            "activation": keras.activations.serialize(self.activation),
            "gates": self.gates,
            "granularity": self.granularity,
            "scaling": self.scaling,
            "seed": self.seed,
            "unroll": self.unroll,
            "memory_efficient": self.memory_efficient,
        }

    @classmethod
    def from_config(cls, config: Any) -> Self:
        return cls(**{**config, "branch": deserialize(config["branch"])})


# Ways to add the branches of blocks, by granularity. Each has `rows`, tensors with a row for each block, and `add`, a
# function of a block's input, its branch (a function), and the block's row of each of these tensors.


class _Weighted:
    """Multiply each branch by one number for the whole batch; no tensor is needed if all numbers are 1."""

    def __init__(self, weights):
        plain = isinstance(weights, tuple) and min(weights) == max(weights) == 1
        self.rows = [] if plain else [ops.convert_to_tensor(weights, "float32")]

    def add(self, x, branch, weight=1.0):
        return x + scale(branch(x), weight)


class _ByExample:
    """Gate each example separately in each block."""

    def __init__(self, stack, batch):
        p = ops.reshape(stack._probabilities(), (stack.depth, 1))
        open_gates = gating.draw_independent(p, (stack.depth, batch), stack.seed_generator)
        self.rows = [open_gates, ops.convert_to_tensor(stack._branch_weights(True), "float32")]

    def add(self, x, branch, open_gates, weight):
        return x + gate_examples(branch(x), open_gates, weight)


class _OnSubset:
    """Run each branch on a subset of the batch."""

    def __init__(self, stack, batch):
        order = gating.draw_order((stack.depth, batch), stack.seed_generator)
        sizes = gating.subset_size(stack.survival_probabilities, batch)
        self.rows = [order, sizes, ops.convert_to_tensor(stack.survivor_gates(), "float32")]

    def add(self, x, branch, order, size, weight):
        rows = order[:size]
        return add_rows(x, rows, scale(branch(backend.take_rows(x, rows)), weight))


def _blockwise(constraint):
    """Return a constraint that applies a layer's constraint to each block of a stacked weight."""
    return constraint and (lambda weights: ops.vectorized_map(constraint, weights))


def _separable(variable):
    """Return the regularizer of a variable; it must sum over elements, so that a stack's is the sum over blocks."""
    regularizer = getattr(variable, "regularizer", None)
    if regularizer is not None and type(regularizer) not in (
        keras.regularizers.L1,
        keras.regularizers.L2,
        keras.regularizers.L1L2,
    ):
        raise ValueError(
            f"Regularizers in a stack must be one of L1, L2, L1L2. Received: {regularizer} for {variable.path!r}"
        )
    return regularizer
