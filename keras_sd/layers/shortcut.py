"""The parameter-free shortcut between stages of residual networks."""

from typing import Any

import keras
from keras import ops

from keras_sd import backend
from keras_sd.layers.pre_activation import check_data_format
from keras_sd.utils.aliases import Shape, Tensor
from keras_sd.utils.checks import check_choice, check_integer, refusal

SUBSAMPLINGS = ("average", "slice")


@keras.saving.register_keras_serializable(package="keras_sd")
class IdentityShortcut(keras.layers.Layer):
    """Identity shortcut between blocks of different sizes: subsampling, and padding with zero channels (option A).

    There are two published forms, which give different outputs for the same weights:

    - `"average"`: average pooling, and zero channels after the others (the Torch implementation of the papers on
      residual networks and stochastic depth).
    - `"slice"`: every `strides`-th pixel, and zero channels on both sides of the others (the common PyTorch
      re-implementation for CIFAR, whose weights are published).

    Args:
        filters: Number of output channels, at least the number of input channels.
        strides: Factor by which height and width are divided.
        subsampling: `"average"` or `"slice"`.
        data_format: `"channels_last"` or `"channels_first"`; by default Keras's setting.

    Raises:
        ValueError: An argument is invalid, or `filters` is less than the number of input channels.

    Examples:
        >>> shortcut = keras_sd.layers.IdentityShortcut(filters=32, strides=2)
        >>> tuple(shortcut(keras.random.normal((2, 8, 8, 16))).shape)
        (2, 4, 4, 32)

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), section 3.3, option A
    """

    def __init__(
        self,
        filters: int,
        strides: int = 1,
        subsampling: str = "average",
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = check_integer("filters", filters)
        self.strides = check_integer("strides", strides)
        self.subsampling = check_choice("subsampling", subsampling, SUBSAMPLINGS)
        self.data_format = check_data_format(data_format)
        self._channel_axis, self._image_axes = (-1, (1, 2)) if self.data_format == "channels_last" else (1, (2, 3))

    def build(self, input_shape: Shape) -> None:
        channels: Any = input_shape[self._channel_axis]
        if channels > self.filters:
            raise refusal("filters", f"at least the input's channels, {channels}", self.filters)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape: list[Any] = list(input_shape)
        shape[self._channel_axis] = self.filters
        for axis in self._image_axes:
            if shape[axis] is not None:
                shape[axis] = -(-shape[axis] // self.strides)
        return tuple(shape)

    def call(self, inputs: Tensor) -> Tensor:
        x = inputs
        if self.strides > 1:
            if self.subsampling == "average":
                # "same", so that odd sizes are rounded as by the branch's convolution.
                x = backend.average_pool(x, self.strides, self.strides, "same", self.data_format)
            else:
                step = slice(None, None, self.strides)
                x = x[:, step, step] if self._channel_axis == -1 else x[:, :, step, step]
        missing = self.filters - x.shape[self._channel_axis]
        before = missing // 2 if self.subsampling == "slice" else 0
        widths = [(0, 0)] * 4
        widths[self._channel_axis] = (before, missing - before)
        return ops.pad(x, widths)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "subsampling": self.subsampling,
            "data_format": self.data_format,
        }
