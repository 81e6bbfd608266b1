"""Batch normalization and ReLU before a convolution: the common base of the layers of DenseNets."""

import zlib
from typing import Any

import keras
from keras import ops

from keras_sd import backend
from keras_sd.utils.aliases import Tensor
from keras_sd.utils.checks import check_choice, check_number, refusal


class PreActivation(keras.layers.Layer):
    """Base class of both dense layers: batch normalization and ReLU, then a convolution without bias.

    The computation is channels-last: `channels_first` inputs and outputs are transposed.
    """

    dropout_rate = 0.0  # overridden by layers with dropout

    def __init__(
        self, epsilon: float, momentum: float, kernel_initializer: Any, data_format: str | None, **kwargs: Any
    ):
        self._frozen_when_built = not kwargs.pop("normalization_trainable", True)
        super().__init__(**kwargs)
        self.epsilon = check_number("epsilon", epsilon, "a positive number", lambda v: v > 0)
        self.momentum = check_number("momentum", momentum, "a number in [0, 1]", lambda v: 0 <= v <= 1)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.data_format = check_data_format(data_format)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    @property
    def normalization_trainable(self) -> bool:
        """Whether batch normalizations train; if not, they use moving statistics and do not update them.

        As with `trainable`, compile the model again after a change.
        """
        return all(weight.trainable for weight in self._normalization_weights()) and not self._frozen_when_built

    @normalization_trainable.setter
    def normalization_trainable(self, value: bool) -> None:
        self._frozen_when_built = not value and not self._normalization_weights()
        for weight in self._normalization_weights():
            weight.trainable = bool(value)

    def _normalization_weights(self):
        return [weight for weight in self._trainable_variables if weight.name.endswith(("_gamma", "_beta"))]

    def _freeze_normalization(self):
        """Freeze normalizations at the end of `build` if that was requested before the weights existed."""
        if self._frozen_when_built:
            self._frozen_when_built = False
            self.normalization_trainable = False

    def _channels(self, input_shape):
        channels = input_shape[-1 if self.data_format == "channels_last" else 1]
        if channels is None:
            allowed = f"a shape with a known number of channels for {self.name!r}"
            raise refusal("input_shape", allowed, tuple(input_shape))
        return channels

    def _to_channels_last(self, x):
        return x if self.data_format == "channels_last" else ops.transpose(x, (0, 2, 3, 1))

    def _from_channels_last(self, x):
        return x if self.data_format == "channels_last" else ops.transpose(x, (0, 3, 1, 2))

    def _add_normalization(self, name, channels):
        parts = {"gamma": "ones", "beta": "zeros", "moving_mean": "zeros", "moving_variance": "ones"}
        return {
            f"{name.split('_')[-1]}/{part}": self.add_weight(
                shape=(channels,),
                name=f"{name}_{part}",
                initializer=initializer,
                trainable=not part.startswith("moving"),
                autocast=False,
            )
            for part, initializer in parts.items()
        }

    def _add_kernel(self, name, shape):
        # Keras's initializers return equal numbers for equal shapes, so each kernel needs its own seed.
        initializer = self.kernel_initializer
        if isinstance(getattr(initializer, "seed", None), int):
            seed = zlib.crc32(f"{initializer.seed}/{self.name}/{name}".encode()) & 0x7FFFFFFF
            initializer = type(initializer).from_config({**initializer.get_config(), "seed": seed})
        # Cast on use, since the memory-efficient step sums gradients of kernels in float32.
        kernel = self.add_weight(shape=shape, name=f"{name}_kernel", initializer=initializer, autocast=False)
        return {f"{name.split('_')[-1]}/kernel": kernel}

    def _uses_batch_statistics(self, training):
        return bool(training) and self.trainable and self.normalization_trainable

    def _normalize(self, x, weights, name, training, moves=None):
        """Return `relu(batch_normalization(x))`; training updates statistics, variances only where `moves`."""
        wide = wide_dtype(x)
        gamma, beta, *moving = (
            ops.cast(weights[f"{name}/{part}"], wide) for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        if not self._uses_batch_statistics(training):
            a = gamma * ops.rsqrt(moving[1] + self.epsilon)
            return ops.cast(ops.relu(ops.cast(x, wide) * a + (beta - moving[0] * a)), x.dtype)
        if wide == "float32":
            y, mean, variance = backend.fused_batch_normalization(x, gamma, beta, self.epsilon)
        else:
            mean, variance = ops.moments(x, (0, 1, 2))
            y = ops.batch_normalization(x, mean, variance, -1, beta, gamma, self.epsilon)
        self._move(weights[f"{name}/moving_mean"], mean)
        self._move(weights[f"{name}/moving_variance"], variance, moves)
        return ops.relu(y)

    def _move(self, moving, batch, moves=None):
        """Update a moving statistic by one step toward that of the batch, where `moves` is true."""
        step = (ops.cast(batch, moving.dtype) - moving) * (1.0 - self.momentum)
        moving.assign_add(step if moves is None else ops.where(moves, step, 0.0))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "momentum": self.momentum,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "data_format": self.data_format,
            "normalization_trainable": not self.trainable or self.normalization_trainable,
        }


def wide_dtype(x: Tensor) -> str:
    """Return the dtype for statistics of `x`: float32 for half precision, otherwise the dtype of `x`."""
    dtype = keras.backend.standardize_dtype(x.dtype)
    return "float32" if dtype in ("float16", "bfloat16") else dtype


def conv(x: Tensor, kernel: Tensor, dilation_rate: int = 1) -> Tensor:
    kernel = ops.cast(kernel, x.dtype)
    return backend.conv2d(x, kernel, padding="same", data_format="channels_last", dilation_rate=dilation_rate)


def check_data_format(value: str | None) -> str:
    """Return a data format, Keras's setting for `None`; raise a `ValueError` if it is not valid."""
    value = keras.config.image_data_format() if value is None else value
    return check_choice("data_format", value, ("channels_last", "channels_first"))
