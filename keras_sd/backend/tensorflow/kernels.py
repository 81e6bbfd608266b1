"""Elementwise passes and sums of the dense block's training step, each compiled by XLA to one or two loops.

Matrices are rows (pixels of all images) x features. Per-feature values are rows of one number per feature, float32 or
wider for every dtype of the matrices: `affine` (scale, offset), `statistics` (mean, variance, inverse standard
deviation), and `sums` over the rows of a gradient g at the input of the ReLU (of g, and of g * (x - mean)).
"""

import concurrent.futures
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_sd.utils.aliases import Tensor

HALF = (tf.float16, tf.bfloat16)


def activate(x: Tensor, affine: Tensor, statistics: Tensor) -> Tensor:
    """Return the ReLU of the normalized features."""
    a, b = _folded(affine, statistics)
    return tf.cast(tf.nn.relu(wide(x) * a + b), x.dtype)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of the rows, and the sum of squared deviations from it."""
    x = wide(x)
    rows = tf.cast(tf.maximum(tf.shape(x)[0], 1), x.dtype)  # a chunk may be empty
    mean = tf.reduce_sum(x, 0) / rows
    return mean, tf.reduce_sum(tf.square(x - mean), 0)


def merge(rows: Tensor, epsilon: float, *moments: Any) -> Tensor:
    """Return the statistics of the batch from the moments of its chunks and their numbers of rows."""
    means, squares = tf.stack(moments[::2]), tf.stack(moments[1::2])
    rows, total = rows[:, None], tf.reduce_sum(rows)
    mean = tf.reduce_sum(rows * means, 0) / total
    variance = tf.reduce_sum(squares + rows * tf.square(means - mean), 0) / total
    return tf.stack([mean, variance, tf.math.rsqrt(variance + epsilon)])


def behind_relu(d: Tensor, x: Tensor, affine: Tensor, statistics: Tensor) -> tuple:
    """Return the sums for the gradient d of a normalized and rectified x."""
    a, b = _folded(affine, statistics)
    x = wide(x)
    return _sums(tf.where(x * a + b > 0, wide(d), 0), x, statistics)


def reader(d: Tensor, x: Tensor, total: Tensor, affine: Tensor, statistics: Tensor) -> tuple:
    """Return, for one reader in the backward pass, its recomputed input, G with its gradient d added, and its sums.

    x may have further features that the reader did not read; cutting them off in this kernel costs no extra pass.
    """
    a, b = _folded(affine, statistics)
    x = x[:, : d.shape[1]]
    y = wide(x)
    h = y * a + b
    g = tf.where(h > 0, wide(d), 0)
    z = tf.cast(tf.nn.relu(h), x.dtype)
    return z, tf.cast(wide(total) + g * affine[0], total.dtype), *_sums(g, y, statistics)


def normalization(d: Tensor, x: Tensor, sums: Tensor, affine: Tensor, statistics: Tensor, rows: Tensor) -> Tensor:
    """Return the gradient of x from the gradient d of the normalized and rectified x, and the sums over all rows."""
    a, b = _folded(affine, statistics)
    y = wide(x)
    p, q, r = _coefficients(sums, statistics, rows)
    g = tf.where(y * a + b > 0, wide(d), 0)
    return tf.cast((g * p + y * q + r) * affine[0], x.dtype)


def finish(upstream: Tensor, total: Tensor, x: Tensor, sums: Tensor, statistics: Tensor, rows: Tensor) -> Tensor:
    """Return the gradient of features after all of their readers: the upstream gradient plus that through G."""
    p, q, r = _coefficients(sums, statistics, rows)
    return tf.cast(wide(upstream) + wide(total) * p + wide(x) * q + r, x.dtype)


def wide(t: Tensor) -> Tensor:
    """Cast half precision to float32."""
    return tf.cast(t, tf.float32) if t.dtype in HALF else t


def _folded(affine, statistics):
    a = affine[0] * statistics[2]
    return a, affine[1] - statistics[0] * a


def _sums(g, x, statistics):
    return tf.reduce_sum(g, 0), tf.reduce_sum(g * (x - statistics[0]), 0)


def _coefficients(sums, statistics, rows):
    """Return p, q, r such that p*g + q*x + r is the gradient of x, given the gradient g of (x - mean) / deviation."""
    mean, _, inverse = tf.unstack(statistics)
    q = -(inverse**3) * sums[1] / rows
    return inverse, q, -inverse * sums[0] / rows - q * mean


def run(kernel: Callable, *args: Any) -> Any:
    """Call a kernel, compiled for the dtypes and shapes of its arguments."""
    return _compiled(kernel, *((t.dtype, *t.shape) for t in args))(*args)


@functools.lru_cache(maxsize=4096)
def _compiled(kernel, *signature):
    specs = [tf.TensorSpec(shape, dtype) for dtype, *shape in signature]
    # The caller may be tracing a graph under control dependencies, which must not become part of the kernel.
    with tf.init_scope():
        function = tf.function(kernel, jit_compile=True, autograph=False).get_concrete_function(*specs)
    if all(spec.shape.is_fully_defined() for spec in specs):
        _COMPILER.submit(_call_in_graph, function, specs)
    return function


def _call_in_graph(function, specs):
    # In a graph, because code that XLA compiles for an eager call is not reused in graphs. Traced separately from the
    # call: TensorFlow counts calls that trace, and would warn about retracing after the fifth kernel.
    call = tf.function(lambda *args: function(*args), autograph=False).get_concrete_function(*specs)
    call(*(tf.zeros(spec.shape, spec.dtype) for spec in specs))


# XLA compiles at the first call, which is made in this thread while the caller continues to trace.
_COMPILER = concurrent.futures.ThreadPoolExecutor(1, "keras_sd-compiler")
