"""Convolution of images by the backend's own kernel."""

from typing import Any

import keras

from keras_sd import backend
from keras_sd.utils.aliases import Tensor


@keras.saving.register_keras_serializable(package="keras_sd")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` without the copies that Keras makes of images and kernels in each call on PyTorch.

    Arguments, variables, configuration and results are those of its parent on each backend.

    Examples:
        >>> images = keras.random.normal((2, 8, 8, 3))
        >>> tuple(keras_sd.layers.Conv2D(16, 3, strides=2, padding="same")(images).shape)
        (2, 4, 4, 16)
    """

    def convolution_op(self, inputs: Tensor, kernel: Any) -> Tensor:
        return backend.conv2d(inputs, kernel, self.strides, self.padding, self.data_format, self.dilation_rate)
