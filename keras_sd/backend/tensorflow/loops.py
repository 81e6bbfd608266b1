"""Loops and fused kernels on TensorFlow."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_sd.backend.tensorflow.gates import with_zero_gradients
from keras_sd.utils.aliases import Tensor

# XLA compiles no loop whose length is known only when it runs.
COMPILES_DYNAMIC_LOOPS = False


# Rows (pixels times examples) to work at a time, so that temporaries stay in the cache: 8192 rows of 100 float32
# features are 3 MB.
CHUNK_ROWS = 8192


def scan(
    body: Callable, carry: Tensor, states: list[Tensor], inputs: list[Tensor], length: Any, unroll: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """Carry a tensor through the rows of `states` and `inputs`; the body is traced once, whatever the length.

    As `jax.lax.scan`, but the rows that it returns have the form of `states`, and no gradient flows through them.

    Args:
        body: Function `(carry, state_rows, input_rows) -> (carry, new_state_rows)`. The carried tensor keeps
            its shape and dtype, and so does each row of the states.
        carry: The tensor to begin with.
        states: List of tensors with a leading axis of `length`.
        inputs: List of tensors with a leading axis of `length`.
        length: Number of iterations: an integer, or a scalar tensor where it is known only at run time.
        unroll: Whether to trace the body once for each iteration, where their number is known: a loop has costs of
            its own, which count where the batch is small.

    Returns:
        The last carried tensor, and the new states stacked on a leading axis.
    """
    if unroll and isinstance(length, int):
        return _unrolled_scan(body, carry, states, inputs, length)
    # Rows are read from TensorArrays: the gradient of a gather inside of the loop would be as large as
    # the whole sequence in every iteration, and the cost of depth quadratic.
    state_rows, input_rows = _rows(states, length), _rows(inputs, length)
    written = [tf.TensorArray(s.dtype, size=length, element_shape=s.shape[1:]) for s in states]

    def step(t, carry, written):
        carry, new = body(carry, [a.read(t) for a in state_rows], [a.read(t) for a in input_rows])
        # Statistics of the branch depend on its input: without the stop, TensorFlow would carry
        # gradients of them through the loop.
        return t + 1, carry, [a.write(t, tf.stop_gradient(v)) for a, v in zip(written, new)]

    _, carry, written = tf.while_loop(
        lambda t, *_: t < length,
        step,
        (tf.constant(0), carry, written),
        shape_invariants=(tf.TensorShape([]), carry.shape, [tf.TensorShape(None)] * len(written)),
        parallel_iterations=10,
        maximum_iterations=length if isinstance(length, int) else None,
    )
    if tf.executing_eagerly() and length == 0:
        carry = with_zero_gradients(carry, [t for t in (*states, *inputs) if t.dtype.is_floating])
    return carry, [a.stack() for a in written]


def _unrolled_scan(body, carry, states, inputs, length):
    state_rows, input_rows = ([tf.unstack(t, length) for t in tensors] for tensors in (states, inputs))
    written = []
    for t in range(length):
        carry, new = body(carry, [rows[t] for rows in state_rows], [rows[t] for rows in input_rows])
        written.append([tf.stop_gradient(v) for v in new])
    return carry, [tf.stack(rows) for rows in zip(*written)]


def recomputed(body: Callable) -> Callable:
    """The body of a `scan`, of which the backward pass keeps the arguments only, and computes the rest again."""

    def wrapped(*arguments):
        @tf.custom_gradient
        def run(*tensors):
            def gradient(upstream, *_):
                # Behind the upstream gradient, or TensorFlow may find the forward pass's values equal, and keep those.
                with tf.control_dependencies([upstream]):
                    again = [tf.identity(t) for t in tensors]
                with tf.GradientTape() as tape:
                    tape.watch([t for t in again if t.dtype.is_floating])
                    carry, _ = body(*tf.nest.pack_sequence_as(arguments, again))
                return tape.gradient(carry, again, upstream)

            carry, new = body(*tf.nest.pack_sequence_as(arguments, tensors))
            return (carry, *new), gradient

        carry, *new = run(*tf.nest.flatten(arguments))
        return carry, new

    return wrapped


def _rows(tensors, length):
    return [tf.TensorArray(t.dtype, size=length, element_shape=t.shape[1:]).unstack(t) for t in tensors]


def map_chunks(function: Callable, x: Tensor, features: int) -> Tensor:
    """`function(x)`, worked in chunks of the batch that suit the cache of a CPU.

    Args:
        function: Function of images (batch, height, width, channels) that works on each image by itself, and
            returns images of the same size.
        x: The images.
        features: Channels of the result.
    """
    batch, height, width, _ = x.shape
    # LiteRT has lists of tensors of a static shape only: images of a free size are worked at once.
    if height is None or width is None or tf.config.list_logical_devices("GPU"):
        return function(x)
    size = max(1, CHUNK_ROWS // (height * width))
    if batch and batch <= size:
        return function(x)
    # Chunks of one static size in the loop, and the rest (of one example at least) after it: ONNX and LiteRT have loops
    # that stack equal tensors, and none that join tensors of several sizes.
    count = (tf.shape(x)[0] - 1) // size
    outputs = tf.TensorArray(x.dtype, count, element_shape=(size, height, width, features))

    def step(i, outputs):
        chunk = x[i * size : (i + 1) * size]
        chunk.set_shape((size, *x.shape[1:]))
        return i + 1, outputs.write(i, function(chunk))

    _, outputs = tf.while_loop(lambda i, _: i < count, step, (tf.constant(0), outputs), parallel_iterations=1)
    chunks = tf.reshape(outputs.stack(), (-1, height, width, features))
    return tf.concat([chunks, function(x[count * size :])], axis=0)


def take_rows(x: Tensor, indices: Tensor) -> Tensor:
    """`x[indices]` for indices that differ, with a dense gradient.

    The gradient of `tf.gather` is a `tf.IndexedSlices`, for which optimisers, clipping, loss scaling and replicas
    each have other code: rows not taken would keep their momentum still. Zeros are what a block that was dropped gets.
    """
    # A variable would be a hidden input of the custom gradient, which eager execution refuses.
    return _take_rows(tf.convert_to_tensor(x), indices)


@tf.custom_gradient
def _take_rows(x, indices):
    def gradient(upstream):
        return tf.scatter_nd(indices[:, None], upstream, tf.shape(x)), None

    return tf.gather(x, indices), gradient


def fused_batch_normalization(
    x: Tensor, scale: Tensor, offset: Tensor, epsilon: float, mean: Tensor | None = None, variance: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalization over the last axis of a four-dimensional tensor in one kernel.

    Args:
        x: Tensor of shape (batch, height, width, channels), half precision or float32.
        scale, offset: float32 tensors of shape (channels,).
        epsilon: Added to the variance.
        mean, variance: float32 tensors of shape (channels,); left out: those of the batch.

    Returns:
        The normalized tensor, the mean and the (biased) variance that it was normalized by.
    """
    training = mean is None
    empty = tf.zeros([0])
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=scale,
        offset=offset,
        mean=empty if training else mean,
        variance=empty if training else variance,
        epsilon=epsilon,
        is_training=training,
    )
    if training:
        # The kernel returns the unbiased variance; Keras keeps the biased one.
        n = tf.cast(tf.size(x) // tf.shape(x)[-1], tf.float32)
        variance = variance * ((n - 1) / n)
    return y, tf.stop_gradient(mean), tf.stop_gradient(variance)
