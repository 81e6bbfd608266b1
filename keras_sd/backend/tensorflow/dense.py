"""The training step of a dense block on TensorFlow as one custom gradient: exact, fast and memory-efficient.

It uses four ideas, none of which changes outputs or gradients:

- The statistics of a feature are the same for each layer that reads it, so they are computed once.
- The gradient of batch normalization is linear in the upstream gradient, and all readers of a feature share its
  normalized values xhat. With g_l the gradient at the input of the ReLU of reader l, G = sum_l gamma_l g_l, and s
  the standard deviation,
      dx = dx_out + (G - mean(G) - xhat mean(G xhat)) / s.
  So each reader adds to G, and the gradient of a feature is finished when the backward pass reaches its layer.
- The normalized and rectified concatenations, whose total size is quadratic, are recomputed in the backward pass.
- The batch is processed in chunks (with the statistics of the whole batch), so that wide temporaries fit in the cache.

A kernel is compiled for each width, and the time to trace and optimize a graph grows with its number of nodes. So
features are padded with zeros to a width shared by several consecutive layers (a bucket), and per-feature values are
kept in few tensors.
"""

import functools
import math

import tensorflow as tf

from keras_sd.backend.tensorflow import kernels
from keras_sd.backend.tensorflow.devices import on_gpu
from keras_sd.backend.tensorflow.kernels import run
from keras_sd.backend.tensorflow.loops import CHUNK_ROWS
from keras_sd.utils import retracing
from keras_sd.utils.aliases import Tensor


def dense_block(x: Tensor, layers: list[tuple], growth_rate: int, epsilon: float) -> tuple:
    """Run a dense block in training mode, normalized by the statistics of the batch.

    Args:
        x: Tensor of shape (batch, height, width, channels), floating.
        layers: For each layer a tuple of tensors, float32 (float64 if `x` is): scale, offset and kernel (height x
            width x in x out), and three more of the same kind if it has a bottleneck.
        growth_rate: Number of features that a layer adds.
        epsilon: Added to variances.

    Returns:
        The concatenation of `x` and the layers' features; mean and variance (biased) of its features, shape
        (2, features); mean and variance of the bottlenecks' features, shape (layers, 2, features), or `None`.
    """
    step = _step(len(layers), len(layers[0]), growth_rate, epsilon, x.dtype, tuple(x.shape))
    with retracing.meant():  # every block has its own step
        output, statistics, *narrow = step(x, *(t for layer in layers for t in layer))
    return output, tf.stop_gradient(statistics), tf.stop_gradient(narrow[0]) if narrow else None


@functools.lru_cache(maxsize=64)
def _step(depth, size, growth_rate, epsilon, dtype, shape):
    """Return the step as a function of the input and of the layers' tensors, `size` per layer.

    It is cached because Keras traces a model's first training step twice: before and after its optimizer has variables.
    """

    @tf.custom_gradient
    def step(x, *flat):
        layers = [flat[j * size : (j + 1) * size] for j in range(depth)]
        forward = _Forward(x, layers, growth_rate, epsilon)
        statistics = [forward.statistics[:2]]
        if forward.narrow_statistics:
            statistics.append(tf.stack(forward.narrow_statistics)[:, :2])
        return (forward.output, *statistics), lambda upstream, *_: _Backward(forward, upstream).run()

    return tf.function(step, autograph=False)


class _Layout:
    """The positions of features, the chunks of the batch, and operations that depend on both."""

    def __init__(self, x, depth, growth_rate):
        self.k, self.depth, self.channels = growth_rate, depth, x.shape[-1]
        self.bucket = max(2, round(math.sqrt(depth)))
        # Number of features before each layer, and the same for the last layer of its bucket.
        self.widths = [self.channels + j * growth_rate for j in range(depth + 1)]
        self.padded = [self.widths[min(j - j % self.bucket + self.bucket, depth) - 1] for j in range(depth)]
        self.height, self.width = (x.shape[i] or tf.shape(x)[i] for i in (1, 2))
        self.count = _chunk_count(*x.shape[:3])
        batch = x.shape[0] or tf.shape(x)[0]
        self.sizes = [(batch + c) // self.count for c in range(self.count)]
        self.rows = [size * self.height * self.width for size in self.sizes]
        self.dtype = x.dtype
        self.wide = tf.float32 if x.dtype in kernels.HALF else x.dtype
        self.wide_rows = tf.cast(tf.stack(self.rows), self.wide)
        self.total_rows = tf.reduce_sum(self.wide_rows)
        self.enter_graph()

    def enter_graph(self):
        """Discard the constants: the backward pass may be a separate graph, which could not infer shapes from them."""
        self._constants, self._zeros = {}, {}

    def constant(self, *numbers):
        """Return integers (or sizes known at run time) as a tensor: one node of the graph, reused in every call."""
        key = tuple(n if isinstance(n, int) else id(n) for n in numbers)
        if key not in self._constants:
            with tf.control_dependencies(None):
                self._constants[key] = tf.stack(numbers) if len(numbers) > 1 else tf.constant(numbers[0])
        return self._constants[key]

    def cut(self, t, sizes, axis=1):
        if len(sizes) == 1:
            return [t]
        return tf.raw_ops.SplitV(
            value=t, size_splits=self.constant(*sizes), axis=self.constant(axis), num_split=len(sizes)
        )

    def slice(self, t, start, width):
        """Return consecutive columns of a matrix."""
        return tf.slice(t, self.constant(0, start), self.constant(-1, width))

    def join(self, tensors, axis=1):
        return tensors[0] if len(tensors) == 1 else tf.raw_ops.ConcatV2(values=tensors, axis=self.constant(axis))

    def chunks(self, x):
        """Return chunks of images as matrices of pixels x features."""
        return [self.matrix(t) for t in tf.split(x, self.sizes, 0, num=self.count)]

    def matrix(self, t):
        return tf.reshape(t, self.constant(-1, t.shape[-1]))

    def images(self, t):
        return tf.reshape(t, self.constant(-1, self.height, self.width, t.shape[-1]))

    def each(self, function):
        """Return results of `function` for each chunk, transposed. At most two run at once, to fit in the cache."""
        results = []
        for c in range(self.count):
            with tf.control_dependencies([results[c - 2][0]] if c > 1 else []):
                results.append(function(c))
        return [list(column) for column in zip(*results)]

    def kernel(self, kernel, j):
        """Return the first kernel of layer j in the dtype of the features, padded; as a matrix if it is 1x1."""
        kernel = tf.cast(kernel, self.dtype)
        if kernel.shape[0] == 1:
            kernel = self.matrix(kernel)
        behind = [0, self.padded[j] - self.widths[j]]
        return tf.pad(kernel, [[0, 0]] * (len(kernel.shape) - 2) + [behind, [0, 0]])

    def affines(self, layers):
        """Return scale and offset of each layer's first normalization as two rows, padded."""
        rows = tf.stack([tf.concat([layer[i] for layer in layers], 0) for i in (0, 1)])
        index, start, zero = [], 0, sum(self.widths[:-1])
        for width, padded in zip(self.widths, self.padded):
            index += [*range(start, start + width)] + [zero] * (padded - width)
            start += width
        return self.cut(tf.gather(tf.pad(rows, [[0, 0], [0, 1]]), index, axis=1), self.padded)

    def convolve(self, z, kernel):
        if len(kernel.shape) == 2:
            return tf.matmul(z, kernel)
        return self.matrix(tf.nn.conv2d(self.images(z), kernel, 1, "SAME"))

    def summed(self, gradients):
        """Return the sum over chunks of the gradient of a kernel."""
        return tf.add_n([kernels.wide(t) for t in gradients])

    def input_gradient(self, d, kernel, c):
        if len(kernel.shape) == 2:
            return tf.matmul(d, kernel, transpose_b=True)
        shape = self.constant(self.sizes[c], self.height, self.width, kernel.shape[2])
        return self.matrix(
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=shape, filter=kernel, out_backprop=self.images(d), strides=[1] * 4, padding="SAME"
            )
        )

    def kernel_gradient(self, z, d, kernel):
        if len(kernel.shape) == 2:
            return tf.matmul(z, d, transpose_a=True)
        return tf.raw_ops.Conv2DBackpropFilter(
            input=self.images(z),
            filter_sizes=self.constant(*kernel.shape),
            out_backprop=self.images(d),
            strides=[1] * 4,
            padding="SAME",
        )


class _Forward(_Layout):
    """The forward pass, and its results that the backward pass needs: output, bottlenecks, statistics."""

    def __init__(self, x, layers, growth_rate, epsilon):
        super().__init__(x, len(layers), growth_rate)
        self.layers, self.epsilon = layers, tf.constant(epsilon, self.wide)
        self.affine = self.affines(layers)
        self.kernels = [self.kernel(layer[2], j) for j, layer in enumerate(layers)]
        self.narrow, self.narrow_affine, self.narrow_kernels, self.narrow_statistics = [], [], [], []
        chunks = self.chunks(x)
        # Pieces to join: the features at the start of the bucket, and those of its layers.
        features = [[t] for t in chunks]
        statistics = [self.merged(self.each(lambda c: run(kernels.moments, chunks[c])))]
        for j in range(self.depth):
            if j and j % self.bucket == 0:
                features, statistics = [[self.join(pieces)] for pieces in features], [self.join(statistics)]
            new, new_statistics = self.layer(j, features, self.padded_to(self.padded[j], statistics, 3, self.wide))
            features = [[*pieces, piece] for pieces, piece in zip(features, new)]
            statistics.append(new_statistics)
        self.statistics = self.join(statistics)
        self.output = tf.concat([self.images(self.join(pieces)) for pieces in features], 0)

    def padded_to(self, width, pieces, rows, dtype):
        """Join pieces and pad them with zeros."""
        missing = width - sum(t.shape[1] for t in pieces)
        key = missing, dtype, rows if isinstance(rows, int) else id(rows)
        if missing and key not in self._zeros:
            with tf.control_dependencies(None):
                self._zeros[key] = tf.zeros((rows, missing), dtype)
        return self.join([*pieces, self._zeros[key]] if missing else pieces)

    def merged(self, moments):
        means, squares = moments
        return run(kernels.merge, self.wide_rows, self.epsilon, *(t for pair in zip(means, squares) for t in pair))

    def layer(self, j, features, statistics):
        """Return the features of layer j, and their statistics."""

        def first(c):
            x = self.padded_to(self.padded[j], features[c], self.rows[c], self.dtype)
            y = self.convolve(run(kernels.activate, x, self.affine[j], statistics), self.kernels[j])
            return y, *run(kernels.moments, y)

        y, *moments = self.each(first)
        if len(self.layers[j]) == 3:
            return y, self.merged(moments)
        self.narrow.append(y)
        self.narrow_statistics.append(self.merged(moments))
        self.narrow_affine.append(tf.stack(self.layers[j][3:5]))
        self.narrow_kernels.append(tf.cast(self.layers[j][5], self.dtype))

        def second(c):
            z = run(kernels.activate, y[c], self.narrow_affine[j], self.narrow_statistics[j])
            f = self.convolve(z, self.narrow_kernels[j])
            return f, *run(kernels.moments, f)

        f, *moments = self.each(second)
        return f, self.merged(moments)


class _Backward:
    """The backward pass, from the last layer to the first."""

    def __init__(self, forward, upstream):
        self.forward = forward
        forward.enter_graph()
        self.outputs, self.upstream = forward.chunks(forward.output), forward.chunks(upstream)
        # G (per chunk) and its sums over all rows.
        self.total = [tf.zeros((rows, forward.widths[-1]), forward.dtype) for rows in forward.rows]
        self.sums = tf.zeros((2, forward.widths[-1]), forward.wide)

    def run(self):
        """Return gradients of the block's input and of the layers' tensors."""
        forward, layers = self.forward, []
        for j in reversed(range(forward.depth)):
            d = self.finished(forward.widths[j], forward.k)
            if forward.padded[j] == forward.widths[j]:
                self.enter_bucket(forward.widths[j])
            layers.append(self.layer(j, d))
        dx = self.finished(0, forward.channels)
        return tf.concat([forward.images(t) for t in dx], 0), *self.collect(layers[::-1])

    def finished(self, start, width):
        """Return gradients of features after all of their readers."""
        take = self.forward.slice
        of_features = take(self.sums, start, width), take(self.forward.statistics, start, width)

        def one(c):
            # Not earlier: TensorFlow would compute it in the forward pass, and keep it in memory.
            with tf.control_dependencies([self.total[c]]):
                x = take(self.outputs[c], start, width)
            upstream, total = take(self.upstream[c], start, width), take(self.total[c], start, width)
            return [run(kernels.finish, upstream, total, x, *of_features, self.forward.total_rows)]

        return self.forward.each(one)[0]

    def enter_bucket(self, width):
        """Restrict G, sums and statistics to the features that the layers of a bucket read."""
        take = self.forward.slice
        self.total = self.forward.each(lambda c: [take(self.total[c], 0, width)])[0]
        self.sums, self.statistics = take(self.sums, 0, width), take(self.forward.statistics, 0, width)

    def layer(self, j, d):
        """Return sums and kernel gradient of the first convolution, then of the second, given the layer's gradient."""
        forward, second = self.forward, []
        if forward.narrow:
            d, *second = self.bottleneck(j, d)
        affine, kernel = forward.affine[j], forward.kernels[j]

        def one(c):
            dz = forward.input_gradient(d[c], kernel, c)
            z, *rest = run(kernels.reader, dz, self.outputs[c], self.total[c], affine, self.statistics)
            return *rest, forward.kernel_gradient(z, d[c], kernel)

        self.total, *sums, dw = forward.each(one)
        sums = tf.stack([tf.add_n(t) for t in sums])
        self.sums += affine[0] * sums
        return sums, forward.summed(dw), *second

    def bottleneck(self, j, d):
        """Return gradients through the second convolution and its normalization: of its input, sums, of its kernel."""
        forward, y, kernel = self.forward, self.forward.narrow[j], self.forward.narrow_kernels[j]
        of_features = forward.narrow_affine[j], forward.narrow_statistics[j]

        def through_convolution(c):
            with tf.control_dependencies([d[c]]):
                z = run(kernels.activate, y[c], *of_features)
            dz = forward.input_gradient(d[c], kernel, c)
            return dz, *run(kernels.behind_relu, dz, y[c], *of_features), forward.kernel_gradient(z, d[c], kernel)

        dz, *sums, dw = forward.each(through_convolution)
        sums = tf.stack([tf.add_n(t) for t in sums])
        last = sums, *of_features, forward.total_rows
        dy = forward.each(lambda c: [run(kernels.normalization, dz[c], y[c], *last)])[0]
        return dy, sums, forward.summed(dw)

    def collect(self, layers):
        """Return all gradients in the order of the layers' tensors, with those of scales and offsets from the sums."""
        forward = self.forward
        # Positions of each layer's features in the padded sums, and the features' indices.
        starts = [sum(forward.padded[:j]) for j in range(forward.depth)]
        index = [start + i for start, width in zip(starts, forward.widths) for i in range(width)]
        features = [i for width in forward.widths[:-1] for i in range(width)]
        offsets, scales = tf.unstack(tf.gather(forward.join([layer[0] for layer in layers]), index, axis=1))
        scales *= tf.gather(forward.statistics[2], features)
        offsets, scales = (forward.cut(t, forward.widths[:-1], 0) for t in (offsets, scales))
        if forward.narrow:
            narrow_sums = tf.stack([layer[2] for layer in layers])
            deviations = tf.stack(forward.narrow_statistics)[:, 2]
            narrow = list(zip(tf.unstack(narrow_sums[:, 1] * deviations), tf.unstack(narrow_sums[:, 0])))
        gradients = []
        for j, (_, dw, *second) in enumerate(layers):
            shape = forward.layers[j][2].shape
            dw = tf.slice(dw, [0] * len(dw.shape), [*dw.shape[:-2], shape[2], -1])
            gradients += [scales[j], offsets[j], tf.reshape(dw, shape)]
            gradients += [*narrow[j], second[1]] if second else []
        return gradients


def _chunk_count(batch, height, width):
    """Return the number of chunks: each fits in the cache; two if the work suffices; of equal size if possible."""
    if on_gpu():
        return 1
    # For a size known only at run time, assume the usual one.
    rows = (batch or 32) * (height or 32) * (width or 32)
    count = max(1, rows // CHUNK_ROWS, min(2, rows // 1024))
    if batch is None:
        return count
    return next((n for n in range(count, 2 * count) if batch % n == 0), min(count, batch))
