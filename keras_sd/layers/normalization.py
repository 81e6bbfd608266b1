"""Batch normalization with a fused kernel."""

from typing import Any

import keras
from keras import ops

from keras_sd import backend
from keras_sd.utils.aliases import Tensor
from keras_sd.utils.checks import check_number


@keras.saving.register_keras_serializable(package="keras_sd")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` with the backend's fused kernel, if it has one.

    Arguments, variables, configuration and results are those of the parent; a training step on images takes about a
    third of the time. The kernel is used for four-dimensional inputs normalized over their last axis; for others (and
    for masks, synchronized statistics, float64) the parent's implementation is used.

    Call arguments:
        inputs: Tensor of shape (batch, height, width, channels), or any other that the parent accepts.
        training: Whether to normalize by the statistics of the batch and to update the moving ones (as in the parent, a
            frozen layer never does).
        mask: As in the parent.

    Raises:
        ValueError: The momentum is outside of [0, 1], or epsilon is negative.

    Examples:
        >>> images = 3 + keras.random.normal((8, 4, 4, 16))
        >>> normalized = keras_sd.layers.FusedBatchNormalization()(images, training=True)
        >>> abs(float(keras.ops.mean(normalized))) < 1e-4
        True

    Reference:
        [Ioffe and Szegedy, 2015](https://arxiv.org/abs/1502.03167)
    """

    def __init__(self, axis: int = -1, momentum: float = 0.99, epsilon: float = 1e-3, *args: Any, **kwargs: Any):
        momentum = check_number("momentum", momentum, "a number in [0, 1]", lambda v: 0 <= v <= 1)
        epsilon = check_number("epsilon", epsilon, "a number of at least 0", lambda v: v >= 0)
        super().__init__(axis, momentum, epsilon, *args, **kwargs)

    def call(self, inputs: Tensor, training: bool | None = None, mask: Any = None) -> Tensor:
        if mask is not None or not self._kernel_applies(inputs):
            return super().call(inputs, training=training, mask=mask)
        inputs = ops.cast(inputs, self.compute_dtype)
        channels = self.moving_mean.shape
        scale = ops.ones(channels, "float32") if self.gamma is None else ops.cast(self.gamma, "float32")
        offset = ops.zeros(channels, "float32") if self.beta is None else ops.cast(self.beta, "float32")
        if not (training and self.trainable):
            return backend.fused_batch_normalization(
                inputs,
                scale,
                offset,
                self.epsilon,
                ops.cast(self.moving_mean, "float32"),
                ops.cast(self.moving_variance, "float32"),
            )[0]
        outputs, mean, variance = backend.fused_batch_normalization(inputs, scale, offset, self.epsilon)
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + ops.cast(batch, moving.dtype) * (1.0 - self.momentum))
        return outputs

    def _kernel_applies(self, inputs):
        return (
            len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and not self.synchronized
            and not getattr(self, "renorm", False)
            and self.compute_dtype in ("float16", "bfloat16", "float32")
        )
