"""Convolution and normalization of images with the channels last.

With the channels viewed as the second axis, they are in PyTorch's channels_last memory format, which has fast kernels.
"""

import keras
import torch
from torch.nn import functional

from keras_sd.utils.aliases import Tensor


def channels_second(x: Tensor) -> Tensor:
    """View images (batch, height, width, channels) as (batch, channels, height, width)."""
    return x.permute(0, 3, 1, 2)


def channels_last(x: Tensor) -> Tensor:
    """View images (batch, channels, height, width) as (batch, height, width, channels)."""
    return x.permute(0, 2, 3, 1)


def to_oihw(kernel: Tensor) -> Tensor:
    """View a kernel (height, width, in, out) as (out, in, height, width)."""
    return kernel.permute(3, 2, 0, 1)


def conv2d(
    inputs: Tensor,
    kernel: Tensor,
    strides: int | list[int] = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: int | tuple[int, int] = 1,
) -> Tensor:
    """Compute `keras.ops.conv` of images without the copies of inputs and kernels that Keras makes in each call."""
    inputs, kernel = (keras.ops.convert_to_tensor(t) for t in (inputs, kernel))
    last = (data_format or keras.config.image_data_format()) == "channels_last"
    x, w = channels_second(inputs) if last else inputs, to_oihw(kernel)
    strides, dilation = (list(v) if isinstance(v, list | tuple) else [v, v] for v in (strides, dilation_rate))
    around = [0, 0]
    if padding == "same":
        sides = [_sides(*sizes) for sizes in zip(x.shape[2:], w.shape[2:], strides, dilation)]
        around = [before for before, _ in sides]
        if any(before != after for before, after in sides):
            x, around = functional.pad(x, [*sides[1], *sides[0]]), [0, 0]
    y = functional.conv2d(x, w, None, strides, around, dilation, x.shape[1] // w.shape[1])
    return channels_last(y) if last else y


def average_pool(
    inputs: Tensor, pool_size: int, strides: int, padding: str = "valid", data_format: str | None = None
) -> Tensor:
    """Compute `keras.ops.average_pool` of images without the copy that Keras makes of images with channels last."""
    last = (data_format or keras.config.image_data_format()) == "channels_last"
    pads = padding == "same" and any(size % strides for size in inputs.shape[1:3])
    if not last or pads:
        return keras.ops.average_pool(inputs, pool_size, strides, padding, data_format)
    return channels_last(functional.avg_pool2d(channels_second(inputs), pool_size, strides))


def _sides(size, kernel, stride, dilation):
    """Return the numbers of zeros that "same" padding adds before and after one axis of the images."""
    reach = dilation * (kernel - 1)
    total = reach if stride == 1 else max(0, (-(-size // stride) - 1) * stride + reach + 1 - size)
    return total // 2, total - total // 2


def fused_batch_normalization(
    x: Tensor, scale: Tensor, offset: Tensor, epsilon: float, mean: Tensor | None = None, variance: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute batch normalization over the last axis of images, like the function of this name on TensorFlow."""
    if mean is not None:
        y = torch.batch_norm(channels_second(x), scale, offset, mean, variance, False, 0.0, epsilon, True)
        return channels_last(y), mean, variance
    # With a momentum of 1 the "moving" statistics are those of the batch.
    mean, variance = torch.zeros_like(scale), torch.zeros_like(scale)
    y = torch.batch_norm(channels_second(x), scale, offset, mean, variance, True, 1.0, epsilon, True)
    # The kernel returns the unbiased variance; Keras keeps the biased one.
    n = x.numel() // x.shape[-1]
    variance = variance * ((n - 1) / n) if n > 1 else torch.zeros_like(variance)
    return channels_last(y), mean, variance
