"""A residual block that survives a training step with a given probability."""

from collections.abc import Sequence
from typing import Any, Self

import keras
from keras import ops

from keras_sd import backend
from keras_sd.layers import gates as gating
from keras_sd.layers.blocks import GatedBlocks, only_gate
from keras_sd.layers.template import build_by_call, check_adds_no_losses, check_layer, deserialize
from keras_sd.schedules import check_probability
from keras_sd.utils.aliases import Shape, Tensor
from keras_sd.utils.checks import check_choice, refusal


@keras.saving.register_keras_serializable(package="keras_sd")
class StochasticDepthResidual(GatedBlocks, keras.layers.Layer):
    """Residual block whose branch is dropped at random while training.

        training   y = activation(shortcut(x) + b * branch(x)),   b ~ Bernoulli(p)
        inference  y = activation(shortcut(x) + p * branch(x))

    With `scaling="training"` the branch is divided by `p` in training instead, and inference adds it unscaled. Use this
    form for weights that were trained at constant depth.

    With one gate for the batch (as in the paper) a dropped branch is not computed: its weights get zero gradients and
    its moving statistics do not change.

    Args:
        branch: A Keras layer or model, the function `f` of the block `x + f(x)`. It must not add losses, except for
            regularizers of its weights.
        shortcut: A Keras layer or model for the shortcut path; `None` is the identity.
        survival_probability: `p`, in (0, 1]. 1 gives an ordinary residual block.
        activation: Applied to the sum; `None` for blocks with pre-activation.
        granularity: `"batch"`: one gate for the whole batch. `"sample"`: one gate for each example (drop path);
            every branch is computed. `"subset"`: the branch runs on a random `round(p * batch)` examples.
        scaling: `"inference"` or `"training"`: where the survival probability is applied, see above.
        seed: Integer; it is mixed with the layer's name, so that layers with the same seed draw different gates.

    Call arguments:
        inputs: Tensor that `branch` accepts, with the batch on its first axis.
        training: Whether to draw a gate. Replicas of a `tf.distribute` strategy draw the same gate for the batch.
        gates: One number used instead of `b` or `p`; with 0 the branch is not computed (lesions, sub-networks).

    Raises:
        ValueError: An argument is invalid, or branch and shortcut return different shapes.

    Examples:
        >>> branch = keras.layers.Dense(4, kernel_initializer="ones")
        >>> block = keras_sd.layers.StochasticDepthResidual(branch, survival_probability=0.5)
        >>> keras.ops.convert_to_numpy(block(keras.ops.ones((1, 4)))).tolist()  # 1 + 0.5 * 4
        [[3.0, 3.0, 3.0, 3.0]]
        >>> keras.ops.convert_to_numpy(block(keras.ops.ones((1, 4)), gates=0)).tolist()  # without the branch
        [[1.0, 1.0, 1.0, 1.0]]

    Reference:
        [Huang et al., 2016](https://arxiv.org/abs/1603.09382), equations 2 and 5. Subsets of the batch:
        [Oquab et al., 2023](https://arxiv.org/abs/2304.07193), section 5.
    """

    def __init__(
        self,
        branch: keras.Layer,
        shortcut: keras.Layer | None = None,
        survival_probability: float = 0.5,
        activation: Any = "relu",
        granularity: str = "batch",
        scaling: str = "inference",
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.branch = check_layer("branch", branch)
        self.shortcut = None if shortcut is None else check_layer("shortcut", shortcut)
        self.activation = keras.activations.get(activation)
        self.granularity = check_choice("granularity", granularity, gating.GRANULARITIES)
        self.scaling = check_choice("scaling", scaling, gating.SCALINGS)
        self.seed = seed
        self.seed_generator = gating.seed_generator(seed, self.name)
        self.survival_probability = survival_probability

    @property
    def survival_probability(self) -> float:
        """`p`; can be assigned. Compile the model again after a change, unless `p` is fed."""
        return self._survival_probability

    @survival_probability.setter
    def survival_probability(self, value: float) -> None:
        self._survival_probability = check_probability(value)
        self._probabilities_changed()
        self.supports_jit = self.granularity != "subset" or value == 1 or backend.COMPILES_DYNAMIC_LOOPS

    @property
    def survival_probabilities(self) -> tuple[float, ...]:
        """`(p,)`."""
        return (self.survival_probability,)

    @survival_probabilities.setter
    def survival_probabilities(self, value: Sequence[float]) -> None:
        (self.survival_probability,) = value

    @property
    def can_be_fed(self) -> bool:
        return self.granularity != "subset"

    @property
    def keeps_shape(self) -> bool:
        return self.shortcut is None

    def build(self, input_shape: Shape) -> None:
        shortcut = tuple(input_shape) if self.shortcut is None else build_by_call(self.shortcut, input_shape)
        branch = build_by_call(self.branch, input_shape)
        if branch != shortcut:
            allowed = f"a layer with the same output shape as the shortcut of {self.name!r}, {shortcut},"
            raise refusal("branch", f"{allowed} for inputs of shape {tuple(input_shape)}, not {branch}", self.branch)
        check_adds_no_losses(self.name, self.branch, input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if self.shortcut is None:
            return tuple(input_shape)
        # Not every layer has `compute_output_shape`; `compute_output_spec` falls back to tracing the call.
        return tuple(self.shortcut.compute_output_spec(keras.KerasTensor(input_shape)).shape)

    def call(self, inputs: Tensor, training: bool = False, gates: Any = None) -> Tensor:
        residual = inputs if self.shortcut is None else self._cast(self.shortcut(inputs))
        weight = self._branch_weights(training)[0]
        if gates is not None:
            gate = only_gate(gates)
            outputs = self._gated(inputs, residual, gate, gate)
        elif not training or self._drops_none():
            outputs = residual + scale(self._branch(inputs), weight)
        elif self.granularity == "batch":
            drawn = gating.draw_independent(self._probabilities()[0], (), self.seed_generator)
            outputs = self._gated(inputs, residual, ops.cast(drawn, "float32"), weight)
        elif self.granularity == "sample":
            drawn = gating.draw_independent(self._probabilities(), (ops.shape(inputs)[0],), self.seed_generator)
            outputs = residual + gate_examples(self._branch(inputs), drawn, weight)
        else:
            outputs = self._on_subset(inputs, residual, weight)
        return self.activation(outputs)

    def _branch(self, inputs):
        return self._cast(self.branch(inputs))

    def _cast(self, x):
        """Cast the output of a part, which may have another dtype policy, to the compute dtype of this layer."""
        return ops.cast(x, self.compute_dtype)

    def _gated(self, inputs, residual, gate, weight):
        """Return the sum of shortcut and scaled branch, or only the shortcut if the gate is 0."""
        return backend.cond(
            gate != 0,
            lambda: residual + scale(self._branch(inputs), weight),
            lambda: residual,
            self.branch.variables,
        )

    def _on_subset(self, inputs, residual, weight):
        batch = ops.shape(inputs)[0]
        order = gating.draw_order((batch,), self.seed_generator)
        rows = order[: gating.subset_size(self.survival_probability, batch)]
        return add_rows(residual, rows, scale(self._branch(backend.take_rows(inputs, rows)), weight))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "branch": keras.saving.serialize_keras_object(self.branch),
            "shortcut": keras.saving.serialize_keras_object(self.shortcut),
            "survival_probability": self.survival_probability,
            "activation": keras.activations.serialize(self.activation),
            "granularity": self.granularity,
            "scaling": self.scaling,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: Any) -> Self:
        # Parts of a saved layer are built on creation, under this name, as when they were first built.
        with keras.name_scope(config["name"]):
            layers = {key: deserialize(config[key]) for key in ("branch", "shortcut")}
        return cls(**{**config, **layers})


def scale(x: Tensor, weight: Any) -> Tensor:
    """Return `weight * x` in the dtype of `x`; a plain 1.0 adds no operation."""
    return x if isinstance(weight, float) and weight == 1.0 else x * ops.cast(weight, x.dtype)


def gate_examples(x: Tensor, gates: Tensor, weight: Any = 1.0) -> Tensor:
    """Return `weight * x` for examples with open gates, and zeros (even where `x` is NaN) for the others."""
    gates = ops.reshape(gates, (-1,) + (1,) * (len(x.shape) - 1))
    return ops.where(gates, scale(x, weight), ops.zeros((), x.dtype))


def add_rows(x: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """Return `x` with `values` added to the examples with the indices `rows`, which must be distinct."""
    return x + ops.scatter(ops.expand_dims(rows, -1), values, ops.shape(x))
