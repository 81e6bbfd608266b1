"""The training step of a dense block on PyTorch as one custom gradient: exact, fast and memory-efficient.

The ideas are those of the step on TensorFlow: statistics of a feature are computed once for all of its readers; readers
add their gradients to one sum, from which the gradient of a feature is computed when the backward pass reaches its
layer; normalized and rectified concatenations are recomputed in the backward pass. Features are in one tensor from the
start, so nothing is concatenated.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from keras_sd.backend.torch.operations import channels_last, channels_second, to_oihw
from keras_sd.utils.aliases import Tensor

# Below this scale, sums over xhat cannot be derived from sums over the outputs of the normalization.
_SMALLEST_SCALE = 1e-2


def dense_block(x: Tensor, layers: Sequence[tuple], growth_rate: int, epsilon: float) -> tuple:
    """Return features, their statistics and those of bottlenecks, like the function of this name on TensorFlow."""
    tensors = [tensor for layer in layers for tensor in layer]
    output, statistics, *narrow = _DenseBlock.apply(x, len(layers), growth_rate, epsilon, *tensors)
    return output, statistics, narrow[0] if narrow else None


class _DenseBlock(torch.autograd.Function):
    """The custom function; each layer has scale, offset and kernel, and three more of these with a bottleneck."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, depth: int, growth_rate: int, epsilon: float, *tensors: Tensor) -> Any:
        layers, channels = _grouped(tensors, depth), x.shape[-1]
        features = x.new_empty((*x.shape[:-1], channels + depth * growth_rate))
        # Rows: mean, inverse standard deviation.
        statistics = layers[0][0].new_empty((2, features.shape[-1]))
        features[..., :channels], statistics[:, :channels] = x, _statistics(x, epsilon)
        saved = []
        for j, (scale, offset, kernel, *second) in enumerate(layers):
            read = channels + j * growth_rate
            y = _convolve(_activate(features[..., :read], scale, offset, statistics[:, :read]), kernel)
            if second:
                narrow_scale, narrow_offset, narrow_kernel = second
                z, *of_narrow = _normalize(y, narrow_scale, narrow_offset, epsilon)
                saved.append((y, *of_narrow))
                y = _convolve(z.relu_(), narrow_kernel)
            made = slice(read, read + growth_rate)
            features[..., made], statistics[:, made] = y, _statistics(y, epsilon)
        ctx.sizes = depth, growth_rate, epsilon, channels, len(tensors)
        ctx.save_for_backward(features, statistics, *(t for narrow in saved for t in narrow), *tensors)
        results = [_with_variance(statistics, epsilon)]
        if saved:
            results.append(_with_variance(torch.stack([torch.stack(narrow[1:]) for narrow in saved]), epsilon))
        ctx.mark_non_differentiable(*results)
        return features, *results

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, *_: Any) -> Any:
        depth, growth_rate, epsilon, channels, count = ctx.sizes
        features, statistics, *rest = ctx.saved_tensors
        narrow, layers = _grouped(rest[:-count], depth), _grouped(rest[-count:], depth)
        steps = _Backward(features, statistics, upstream, epsilon)
        gradients: list[Tensor] = []
        for j in reversed(range(depth)):
            read = channels + j * growth_rate
            gradients = steps.layer(slice(read, read + growth_rate), layers[j], narrow[j]) + gradients
        return steps.finished(slice(channels)), None, None, None, *gradients


class _Backward:
    """The backward pass, from the last layer to the first."""

    def __init__(self, features, statistics, upstream, epsilon):
        self.features, self.statistics, self.upstream, self.epsilon = features, statistics, upstream, epsilon
        # For each feature: the sum of its readers' gradients at its normalized values, and its two sums over pixels.
        self.total = torch.zeros(features.shape, dtype=statistics.dtype, device=features.device)
        self.sums = torch.zeros_like(statistics)

    def layer(self, made, layer, narrow):
        """Return gradients of a layer's tensors; add those of the features that it read to the totals."""
        scale, offset, kernel, *second = layer
        d, of_second = self.finished(made), []
        if second:
            d, *of_second = self.bottleneck(d, *second, *narrow)
        read = slice(made.start)
        z = _activate(self.features[..., read], scale, offset, self.statistics[:, read])
        d, of_kernel = _convolution_backward(d, z, kernel)
        g = torch.ops.aten.threshold_backward(d, z, 0)
        of_offset = g.sum((0, 1, 2), dtype=scale.dtype)
        of_scale = self.sum_over_normalized(g, z, read, scale, offset, of_offset, kernel, of_kernel)
        self.total[..., read].addcmul_(g, scale)
        self.sums[:, read].addcmul_(torch.stack([of_offset, of_scale]), scale)
        return [of_scale, of_offset, of_kernel, *of_second]

    def sum_over_normalized(self, g, z, read, scale, offset, of_offset, kernel, of_kernel):
        """Return the sum over pixels of g * xhat."""
        if kernel.shape[0] == 1 and scale.dtype == z.dtype and scale.abs().min() > _SMALLEST_SCALE:
            # From the sum of g * z, which kernel and its gradient give: z is xhat * scale + offset wherever g is not 0.
            return ((kernel * of_kernel).sum((0, 1, 3)) - offset * of_offset) / scale
        mean, inverse = self.statistics[:, read]
        return (g * (self.features[..., read] - mean)).sum((0, 1, 2)) * inverse

    def bottleneck(self, d, scale, offset, kernel, y, mean, inverse):
        """Return gradients of the bottleneck's features, and of the tensors of the second half of a layer."""
        z = _activate(y, scale, offset, (mean, inverse))
        d, of_kernel = _convolution_backward(d, z, kernel)
        g = channels_second(torch.ops.aten.threshold_backward(d, z, 0))
        mask = [True, True, True]
        d, of_scale, of_offset = torch.ops.aten.native_batch_norm_backward(
            g, channels_second(y), scale, None, None, mean, inverse, True, self.epsilon, mask
        )
        return channels_last(d), of_scale, of_offset, of_kernel

    def finished(self, made):
        """Return the gradient of features after all of their readers."""
        mean, inverse = self.statistics[:, made]
        count = self.features.numel() // self.features.shape[-1]
        first, second = self.sums[:, made] / count
        # inverse * (total - first - xhat * second), and the upstream gradient
        slope = -second * inverse * inverse
        d = torch.addcmul(-first * inverse - mean * slope, self.features[..., made], slope)
        d.addcmul_(self.total[..., made], inverse)
        return d.add_(self.upstream[..., made]).to(self.features.dtype)


def _grouped(tensors, depth):
    """Return the tensors as `depth` tuples."""
    size = len(tensors) // depth
    return [tensors[i * size : (i + 1) * size] for i in range(depth)]


def _activate(x, scale, offset, statistics):
    """Return the ReLU of the normalized features."""
    mean, inverse = statistics
    a = scale * inverse
    return torch.addcmul(offset - mean * a, x, a).relu_().to(x.dtype)


def _normalize(x, scale, offset, epsilon):
    """Return normalized features, their mean and inverse standard deviation."""
    y, mean, inverse = torch.native_batch_norm(channels_second(x), scale, offset, None, None, True, 0.0, epsilon)
    return channels_last(y), mean, inverse


def _statistics(x, epsilon):
    """Return mean and inverse standard deviation as two rows; the kernel is faster than `torch.var_mean`."""
    return torch.stack(_normalize(x, None, None, epsilon)[1:])


def _with_variance(statistics, epsilon):
    """Convert mean and inverse standard deviation to mean and variance."""
    mean, inverse = statistics.unbind(-2)
    return torch.stack([mean, (inverse**-2 - epsilon).clamp_min(0)], -2)


def _convolve(x, kernel):
    kernel = to_oihw(kernel).to(x.dtype)
    return channels_last(torch.conv2d(channels_second(x), kernel, None, 1, kernel.shape[2] // 2))


def _convolution_backward(d, x, kernel):
    """Return gradients of the images and of the kernel, the latter in the kernel's dtype."""
    w = to_oihw(kernel).to(x.dtype)
    padding = [w.shape[2] // 2] * 2
    dx, dw, _ = torch.ops.aten.convolution_backward(
        channels_second(d), channels_second(x), w, None, [1, 1], padding, [1, 1], False, [0, 0], 1, [True, True, False]
    )
    return channels_last(dx), dw.permute(2, 3, 1, 0).to(kernel.dtype)
