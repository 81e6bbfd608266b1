"""Batch normalization in one kernel."""

from typing import Any

import keras
from keras import ops

from keras_sd import backend
from keras_sd.utils.aliases import Tensor
from keras_sd.utils.checks import check_number


@keras.saving.register_keras_serializable(package="keras_sd")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` that uses the backend's fused kernel where there is one.

    Same arguments, variables, configuration and numbers as its parent; about a third of its time for a training
    step on images. The kernel serves four-dimensional inputs normalized over their last axis; others (and masks,
    synchronized statistics, float64) go the parent's way.

    Call arguments:
        inputs: Tensor of shape (batch, height, width, channels), or any that the parent takes.
        training: Whether to normalize by the statistics of the batch and to move the moving ones (as in the parent, a
            layer that is not trainable never does).
        mask: As in the parent.

    Raises:
        ValueError: A momentum outside of [0, 1], or a negative epsilon.

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
