"""Loops and fused kernels on TensorFlow."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_sd.backend.tensorflow.devices import on_gpu
from keras_sd.backend.tensorflow.gates import with_zero_gradients
from keras_sd.backend.tensorflow.kernels import HALF, wide
from keras_sd.utils.aliases import Tensor

# XLA cannot compile loops whose length is known only at run time.
COMPILES_DYNAMIC_LOOPS = False


# Rows (pixels times examples) to process at a time, so that temporaries fit in the cache: 8192 rows of 100 float32
# features are 3 MB.
CHUNK_ROWS = 8192


def scan(
    body: Callable, carry: Tensor, states: list[Tensor], inputs: list[Tensor], length: Any, unroll: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """Carry a tensor through the rows of `states` and `inputs`; the body is traced once for any length.

    Like `jax.lax.scan`, but the returned rows have the structure of `states`, and no gradient flows through them.

    Args:
        body: Function `(carry, state_rows, input_rows) -> (carry, new_state_rows)`. The carried tensor and
            each row of the states keep their shape and dtype.
        carry: The initial tensor.
        states: List of tensors with a leading axis of `length`.
        inputs: List of tensors with a leading axis of `length`.
        length: Number of iterations: an integer, or a scalar tensor if it is known only at run time.
        unroll: Whether to trace the body once for each iteration if their number is known: the overhead of a loop
            matters for small batches.

    Returns:
        The final carried tensor, and the new states stacked on a leading axis.
    """
    if unroll and isinstance(length, int):
        return _unrolled_scan(body, carry, states, inputs, length)
    # Rows are read from TensorArrays: the gradient of a gather inside the loop would be as large as the
    # whole sequence in every iteration, and the cost quadratic in depth.
    state_rows, input_rows = _rows(states, length), _rows(inputs, length)
    written = [tf.TensorArray(s.dtype, size=length, element_shape=s.shape[1:]) for s in states]

    def step(t, carry, written):
        carry, new = body(carry, [a.read(t) for a in state_rows], [a.read(t) for a in input_rows])
        # Statistics of the branch depend on its input: without `stop_gradient`, TensorFlow would carry their
        # gradients through the loop.
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
    """Return a body for `scan` that keeps only its arguments for the backward pass, which recomputes the rest."""

    def wrapped(*arguments):
        @tf.custom_gradient
        def run(*tensors):
            def gradient(upstream, *_):
                # After the upstream gradient, or TensorFlow may merge this with the forward pass, and keep its values.
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
    """Return `function(x)`, computed in chunks of the batch that fit in the cache of a CPU.

    Args:
        function: Function of images (batch, height, width, channels) that treats each image separately, and returns
            images of the same size.
        x: The images.
        features: Number of channels of the result.
    """
    batch, height, width, _ = x.shape
    # LiteRT supports only lists of tensors with a static shape: images of variable size are processed at once.
    if height is None or width is None or on_gpu():
        return function(x)
    size = max(1, CHUNK_ROWS // (height * width))
    if batch and batch <= size:
        return function(x)
    # Chunks of one static size in the loop, and the rest (at least one example) after it: loops of ONNX and LiteRT can
    # stack tensors of equal size, but not concatenate tensors of different sizes.
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
    """Return `x[indices]` for distinct indices, with a dense gradient.

    The gradient of `tf.gather` is a `tf.IndexedSlices`, which optimizers, clipping, loss scaling and replicas handle
    with separate code: the momentum of rows not taken would not decay. Here, a dropped block gets zeros.
    """
    # A variable would be a hidden input of the custom gradient, which is an error in eager mode.
    return _take_rows(tf.convert_to_tensor(x), indices)


@tf.custom_gradient
def _take_rows(x, indices):
    def gradient(upstream):
        return tf.scatter_nd(indices[:, None], upstream, tf.shape(x)), None

    return tf.gather(x, indices), gradient


def fused_batch_normalization(
    x: Tensor, scale: Tensor, offset: Tensor, epsilon: float, mean: Tensor | None = None, variance: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute batch normalization over the last axis of a four-dimensional tensor in one kernel.

    Args:
        x: Tensor of shape (batch, height, width, channels), half precision or float32.
        scale, offset: float32 tensors of shape (channels,).
        epsilon: Added to the variance.
        mean, variance: float32 tensors of shape (channels,); `None` for those of the batch.

    Returns:
        The normalized tensor, and the mean and (biased) variance used.
    """
    if x.dtype in HALF and x.shape[-1] % 16 and not on_gpu():
        # oneDNN has no fast kernel for these: with 216 channels, bfloat16 takes twice as long as with the casts.
        y, mean, variance = fused_batch_normalization(wide(x), scale, offset, epsilon, mean, variance)
        return tf.cast(y, x.dtype), mean, variance
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
