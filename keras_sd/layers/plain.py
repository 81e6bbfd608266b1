"""Blocks without shortcuts, for plain networks."""

from typing import Any, Self

import keras
from keras import ops

from keras_sd import backend
from keras_sd.layers.blocks import GatedBlocks, only_gate
from keras_sd.layers.template import build_by_call, check_layer, deserialize
from keras_sd.utils.aliases import Shape, Tensor


@keras.saving.register_keras_serializable(package="keras_sd")
class PlainBlock(GatedBlocks, keras.layers.Layer):
    """Block without shortcut, `y = activation(branch(x))`.

    Args:
        branch: Keras layer or model.
        activation: Activation applied to the branch's outputs; `None` for none.

    Call arguments:
        inputs: Tensor that `branch` accepts.
        training: Whether the branch runs in training mode.
        gates: One number; 0 returns the inputs unchanged (lesions) if the branch keeps their shape.

    Raises:
        ValueError: The branch is not a layer.

    Examples:
        >>> branch = keras.layers.Conv2D(8, 3, padding="same")
        >>> block = keras_sd.layers.PlainBlock(branch)
        >>> tuple(block(keras.random.normal((2, 8, 8, 3))).shape)
        (2, 8, 8, 8)

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), section 4.2, "plain networks"
    """

    kind = "plain"

    def __init__(self, branch: keras.Layer, activation: Any = "relu", **kwargs: Any):
        super().__init__(**kwargs)
        self.branch = check_layer("branch", branch)
        self.shortcut = None
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Shape) -> None:
        self._keeps_shape = build_by_call(self.branch, input_shape) == tuple(input_shape)

    @property
    def keeps_shape(self) -> bool:
        return self._keeps_shape

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(self.branch.compute_output_spec(keras.KerasTensor(input_shape)).shape)

    def call(self, inputs: Tensor, training: bool = False, gates: Any = None) -> Tensor:
        def computed():
            return self.activation(ops.cast(self.branch(inputs), self.compute_dtype))

        if gates is None or not self.keeps_shape:
            return computed()
        return backend.cond(only_gate(gates) != 0, computed, lambda: inputs, self.branch.variables)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "branch": keras.saving.serialize_keras_object(self.branch),
            "activation": keras.activations.serialize(self.activation),
        }

    @classmethod
    def from_config(cls, config: Any) -> Self:
        # Parts of a saved layer are built on creation, under this name, as when they were first built.
        with keras.name_scope(config["name"]):
            branch = deserialize(config["branch"])
        return cls(**{**config, "branch": branch})
