"""Elementwise passes and sums of the dense block's training step, each compiled by XLA to a loop or two.

Arguments are matrices of rows (pixels of all images) x features; `a` and `b` are a batch normalization as a*x + b, with
one number a feature. Sums and statistics are float32 (or wider) whatever the dtype of the matrices.
"""

import functools

import tensorflow as tf

HALF = (tf.float16, tf.bfloat16)


def wide(t):
    return tf.cast(t, tf.float32) if t.dtype in HALF else t


def activate(x, a, b):
    """relu(a*x + b)."""
    return tf.cast(tf.nn.relu(wide(x) * a + b), x.dtype)


def moments(x):
    """Mean, and sum of squares around it."""
    x = wide(x)
    rows = tf.cast(tf.maximum(tf.shape(x)[0], 1), x.dtype)
    mean = tf.reduce_sum(x, 0) / rows
    return mean, tf.reduce_sum(tf.square(x - mean), 0)


def sums(d, x, a, b, mean):
    """Sums of g and g*(x - mean), where g is the gradient d behind the ReLU of a*x + b."""
    x = wide(x)
    g = tf.where(x * a + b > 0, wide(d), 0)
    return tf.reduce_sum(g, 0), tf.reduce_sum(g * (x - mean), 0)


def reader(d, x, total, a, b, gamma, mean):
    """One reader of features: relu(a*x + b) again, the total of gradients G with its own added, and `sums`."""
    y = wide(x)
    h = y * a + b
    g = tf.where(h > 0, wide(d), 0)
    total = tf.cast(wide(total) + g * gamma, total.dtype)
    return tf.cast(tf.nn.relu(h), x.dtype), total, tf.reduce_sum(g, 0), tf.reduce_sum(g * (y - mean), 0)


def normalization(d, x, a, b, p, q, r):
    """Gradient of batch normalization and ReLU: p*g + q*x + r."""
    x_ = wide(x)
    return tf.cast(tf.where(x_ * a + b > 0, wide(d), 0) * p + x_ * q + r, x.dtype)


def finish(upstream, total, x, p, q, r):
    """Gradient of a feature: upstream + p*G + q*x + r."""
    return tf.cast(wide(upstream) + wide(total) * p + wide(x) * q + r, x.dtype)


@functools.cache
def _compiled(kernel, *signature):
    # One tf.function for each signature: a common one would warn of retracing.
    return tf.function(kernel, jit_compile=True, autograph=False)


def run(kernel, *args):
    return _compiled(kernel, *((t.dtype, tuple(t.shape[1:])) for t in args))(*args)
