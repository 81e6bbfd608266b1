"""The training step of a dense block on JAX as one custom gradient, as on TensorFlow: exact and memory-efficient.

The statistics of a feature are computed once for all layers that read it. The backward pass recomputes the normalized
and rectified concatenations, whose size is quadratic in the number of layers. All readers of a feature share its
normalization, whose gradient is linear: they add to one sum, from which the gradient of a feature is computed when the
backward pass reaches its layer (the module of this name on TensorFlow has the formulas).
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
from jax import numpy as jnp

from keras_sd.utils.aliases import Tensor


def dense_block(x: Tensor, layers: list[tuple], growth_rate: int, epsilon: float) -> tuple:
    """Run a dense block in training mode, like the function of this name on TensorFlow."""
    output, statistics, narrow = _step(growth_rate, epsilon, x, [tuple(layer) for layer in layers])
    return output, lax.stop_gradient(statistics), lax.stop_gradient(jnp.stack(narrow)) if narrow else None


class _Norm(NamedTuple):
    """Normalization and ReLU of features; parameters are rows of one number per feature, float32 or wider."""

    gamma: Tensor
    beta: Tensor
    mean: Tensor
    inverse: Tensor  # of the standard deviation

    def before_relu(self, x):
        a = self.gamma * self.inverse
        return _wide(x) * a + (self.beta - self.mean * a)

    def activate(self, x):
        return jax.nn.relu(self.before_relu(x)).astype(x.dtype)

    def back(self, d, x):
        """Return the gradient g of the ReLU's input, given d of its output, and the sums of g and g * (x - mean)."""
        g = jnp.where(self.before_relu(x) > 0, _wide(d), 0)
        return g, jnp.stack([_sum(g), _sum(g * (_wide(x) - self.mean))])

    def of_parameters(self, sums):
        """Return gradients of scale and offset."""
        return sums[1] * self.inverse, sums[0]


def _through_statistics(g, x, sums, mean, inverse):
    """Return the gradient of x from the gradient g of its normalized values and the sums over g."""
    rows = x.size // x.shape[-1]
    return (g - sums[0] / rows - (_wide(x) - mean) * (inverse**2 * sums[1] / rows)) * inverse


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _step(growth_rate, epsilon, x, layers):
    return _forward(growth_rate, epsilon, x, layers)[0]


def _forward(growth_rate, epsilon, x, layers):
    moments = [_moments(x)]
    narrow, narrow_moments = [], []
    for first in layers:
        y = _convolve(_norm(first, _join(moments), epsilon).activate(x), first[2])
        if len(first) > 3:
            narrow.append(y)
            narrow_moments.append(_moments(y))
            y = _convolve(_norm(first[3:], narrow_moments[-1], epsilon).activate(y), first[5])
        x = jnp.concatenate([x, y], axis=-1)
        moments.append(_moments(y))
    statistics = _join(moments)
    return (x, statistics, narrow_moments), (x, statistics, narrow, narrow_moments, layers)


def _backward(growth_rate, epsilon, residuals, gradients):
    output, statistics, narrow, narrow_moments, layers = residuals
    upstream = gradients[0]
    # The readers' gradients times their scales: the sum over readers, and its sums over rows.
    total, sums = jnp.zeros(output.shape, _wide_dtype(output)), jnp.zeros_like(statistics)
    found = []

    def finished(start):
        """Return the gradient of the features from `start` to the last ones, after all of their readers."""
        taken = [t[..., start:] for t in (total, output, sums, statistics)]
        through = _through_statistics(*taken[:3], taken[3][0], _inverse(taken[3], epsilon))
        return (_wide(upstream[..., start:]) + through).astype(output.dtype)

    for j, layer in reversed(list(enumerate(layers))):
        width = output.shape[-1] - growth_rate
        d, before = finished(width), output[..., :width]
        # Without the barrier, XLA would merge the recomputed activations with those of the forward pass, and keep them.
        d, before, y = lax.optimization_barrier((d, before, narrow[j] if narrow else d))
        second = []
        if narrow:
            norm = _norm(layer[3:], narrow_moments[j], epsilon)
            d, kernel = _back_through_convolution(d, norm.activate(y), layer[5])
            g, own = norm.back(d, y)
            d = _through_statistics(g * norm.gamma, y, own * norm.gamma, norm.mean, norm.inverse).astype(output.dtype)
            second = [*norm.of_parameters(own), kernel]
        norm = _norm(layer, statistics[:, :width], epsilon)
        d, kernel = _back_through_convolution(d, norm.activate(before), layer[2])
        g, own = norm.back(d, before)
        found.append((*norm.of_parameters(own), kernel, *second))
        output, upstream, statistics = before, upstream[..., :width], statistics[:, :width]
        total, sums = total[..., :width] + g * norm.gamma, sums[:, :width] + own * norm.gamma
    return finished(0), found[::-1]


_step.defvjp(_forward, _backward)


def _norm(layer, moments, epsilon):
    return _Norm(layer[0], layer[1], moments[0], _inverse(moments, epsilon))


def _inverse(moments, epsilon):
    return lax.rsqrt(moments[1] + epsilon)


def _convolve(x, kernel):
    kernel = kernel.astype(x.dtype)
    if kernel.shape[:2] == (1, 1):
        return jnp.matmul(x, kernel[0, 0])
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _back_through_convolution(d, x, kernel):
    """Return gradients of the input and of the kernel."""
    return jax.vjp(_convolve, x, kernel)[1](d)


def _moments(x):
    """Return mean and variance as two rows."""
    x = _wide(x)
    mean = _sum(x) / (x.size // x.shape[-1])
    return jnp.stack([mean, jnp.mean(jnp.square(x - mean), (0, 1, 2))])


def _join(moments):
    return jnp.concatenate(moments, axis=-1)


def _sum(x):
    return jnp.sum(x, (0, 1, 2))


def _wide_dtype(x):
    return jnp.promote_types(x.dtype, "float32")


def _wide(x):
    return x.astype(_wide_dtype(x))
