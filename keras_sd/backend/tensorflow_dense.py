"""The training step of a dense block on TensorFlow as one custom gradient: exact, fast, small in memory.

Four ideas, all of which leave outputs and gradients what they are:

- The statistics of a feature are the same for each layer that reads it: they are computed once.
- The gradient of batch normalization is linear in what comes from above, and all readers of a feature share its
  normalized values xhat: with g_l behind the ReLU of reader l, G = sum_l gamma_l g_l, and s the deviation,
      dx = dx_out + (G - mean(G) - xhat mean(G xhat)) / s,
  so that readers add to G, and a feature is finished when the turn of the layer that made it comes.
- The normalized and rectified concatenations, of quadratic size together, are computed again in the backward pass.
- The batch is worked in chunks (with the statistics of the whole), so that wide temporaries stay in the cache.

A kernel is compiled for each width that it meets. So that these are few, features are kept in two parts: `base`, which
grows once in so many layers (a bucket), and `recent`, those since then, with zeros up to a fixed width. The time to trace
and optimise a graph goes with its nodes, so that what belongs to features is kept in few tensors, too.
"""

import math

import tensorflow as tf

from keras_sd.backend import tensorflow_kernels as kernels
from keras_sd.backend.tensorflow_kernels import run

# Rows (pixels times examples) to a chunk: 8192 rows of 100 float32 features are 3 MB.
_CHUNK_ROWS = 8192


def dense_block(x, layers, growth_rate, epsilon):
    """A dense block in training, normalized by the statistics of the batch.

    Args:
        x: Tensor of shape (batch, height, width, channels), floating.
        layers: For each layer a tuple of tensors, float32 (float64 if `x` is): scale, offset and kernel (height x
            width x in x out), and the same again if it has a bottleneck.
        growth_rate: Features that a layer adds.
        epsilon: Added to variances.

    Returns:
        The concatenation of `x` and the layers' features; mean and variance (biased) of its features, shape
        (2, features); mean and variance of the bottlenecks' features, shape (layers, 2, features), or `None`.
    """

    @tf.custom_gradient
    def block_step(x, *flat):
        forward = _Forward(x, _unflatten(flat, layers), growth_rate, epsilon)

        def gradient(upstream, *_):
            return _Backward(forward, upstream).run()

        statistics = [forward.statistics[:2]]
        if forward.narrow_statistics:
            statistics.append(tf.stack(forward.narrow_statistics)[:, :2])
        return (forward.output, *statistics), gradient

    output, statistics, *narrow = block_step(x, *(t for layer in layers for t in layer))
    return output, tf.stop_gradient(statistics), tf.stop_gradient(narrow[0]) if narrow else None


def _unflatten(flat, layers):
    flat = iter(flat)
    return [tuple(next(flat) for _ in layer) for layer in layers]


class _Layout:
    """Where features stand, how the batch is cut, and the operations that follow from both."""

    def __init__(self, x, depth, growth_rate):
        self.k, self.depth, self.channels = growth_rate, depth, x.shape[-1]
        self.bucket = max(2, round(math.sqrt(depth)))
        self.recent = (self.bucket - 1) * growth_rate
        self.widths = [self.channels + j * growth_rate for j in range(depth)]
        self.bases = [self.widths[j - j % self.bucket] for j in range(depth)]
        self._constants = {}
        self.height, self.width = (x.shape[i] or tf.shape(x)[i] for i in (1, 2))
        self.count = _chunk_count(*x.shape[:3])
        batch = x.shape[0] or tf.shape(x)[0]
        self.sizes = [(batch + c) // self.count for c in range(self.count)]
        self.dtype = x.dtype
        self.wide = tf.float32 if x.dtype in kernels.HALF else x.dtype
        self.rows = tf.cast(tf.stack(self.sizes) * self.height * self.width, self.wide)
        self.total_rows = tf.reduce_sum(self.rows)

    def constant(self, *numbers):
        """Integers (or sizes known at run time) as a tensor: one node of the graph, however often it is used."""
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

    def join(self, tensors, axis=1):
        return tensors[0] if len(tensors) == 1 else tf.raw_ops.ConcatV2(values=tensors, axis=self.constant(axis))

    def chunks(self, x):
        """Chunks of images as matrices of pixels x features."""
        return [self.matrix(t) for t in tf.split(x, self.sizes, 0, num=self.count)]

    def matrix(self, t):
        return tf.reshape(t, self.constant(-1, t.shape[-1]))

    def images(self, t):
        return tf.reshape(t, self.constant(-1, self.height, self.width, t.shape[-1]))

    def each(self, function):
        """Results of `function` for each chunk, transposed. At most two chunks are worked at a time: the cache."""
        results = []
        for c in range(self.count):
            with tf.control_dependencies([results[c - 2][0]] if c > 1 else []):
                results.append(function(c))
        return [list(column) for column in zip(*results)]

    def pad(self, t, axis=1):
        """Recent features, or what belongs to them, with zeros up to the width that is the same for all layers."""
        missing = self.recent - t.shape[axis]
        return tf.pad(t, [[0, missing if i == axis else 0] for i in range(len(t.shape))]) if missing else t

    def kernel(self, kernel, j):
        """A kernel in the dtype of the features, in parts for those that layer j reads; of 1x1 pixels as matrices."""
        kernel = tf.cast(kernel, self.dtype)
        if kernel.shape[0] == 1:
            kernel = self.matrix(kernel)
        axis, recent = len(kernel.shape) - 2, self.widths[j] - self.bases[j]
        if not recent:
            return [kernel]
        base, recent = self.cut(kernel, [self.bases[j], recent], axis)
        return [base, self.pad(recent, axis)]

    def affines(self, layers):
        """Scale and offset of each layer's first normalization in parts, as `kernel` has them."""
        index, sizes, start, zero = [], [], 0, sum(self.widths)
        for width, base in zip(self.widths, self.bases):
            recent = [*range(start + base, start + width)]
            index += [*range(start, start + base)] + (recent + [zero] * (self.recent - len(recent)) if recent else [])
            sizes += [base, self.recent] if recent else [base]
            start += width
        rows = [tf.concat([layer[i] for layer in layers], 0) for i in (0, 1)]
        parts = iter(self.cut(tf.gather(tf.pad(tf.stack(rows), [[0, 0], [0, 1]]), index, axis=1), sizes))
        return [
            [next(parts) for _ in ((0, 1) if width > base else (0,))] for width, base in zip(self.widths, self.bases)
        ]

    def convolve(self, z, kernel):
        if len(kernel.shape) == 2:
            return tf.matmul(z, kernel)
        return self.matrix(tf.nn.conv2d(self.images(z), kernel, 1, "SAME"))

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
    """The forward pass, and what the backward pass needs of it: output, bottlenecks, statistics."""

    def __init__(self, x, layers, growth_rate, epsilon):
        super().__init__(x, len(layers), growth_rate)
        self.layers, self.epsilon = layers, tf.constant(epsilon, self.wide)
        self.affine = self.affines(layers)
        self.kernels = [self.kernel(layer[2], j) for j, layer in enumerate(layers)]
        self.narrow, self.narrow_affine, self.narrow_kernels, self.narrow_statistics = [], [], [], []
        base, recent = self.chunks(x), [[] for _ in range(self.count)]
        statistics, recent_statistics = self.merged([run(kernels.moments, t) for t in base]), []
        for j in range(self.depth):
            if j and j % self.bucket == 0:
                base, recent = [self.join([b, *r]) for b, r in zip(base, recent)], [[] for _ in base]
                statistics, recent_statistics = self.join([statistics, *recent_statistics]), []
            features, feature_statistics = self.layer(j, base, recent, statistics, recent_statistics)
            recent = [[*r, f] for r, f in zip(recent, features)]
            recent_statistics.append(feature_statistics)
        self.statistics = self.join([statistics, *recent_statistics])
        self.output = tf.concat([self.images(self.join([b, *r])) for b, r in zip(base, recent)], 0)

    def merged(self, moments):
        return run(kernels.merge, self.rows, self.epsilon, *moments)

    def layer(self, j, base, recent, statistics, recent_statistics):
        """Chunks of the features of layer j, and their statistics."""
        statistics = [statistics] + ([self.pad(self.join(recent_statistics))] if recent_statistics else [])

        def first(c):
            parts = [base[c]] + ([self.pad(self.join(recent[c]))] if recent[c] else [])
            inputs = [run(kernels.activate, *part) for part in zip(parts, self.affine[j], statistics)]
            y = [self.convolve(*pair) for pair in zip(inputs, self.kernels[j])]
            y = y[0] if len(y) == 1 else y[0] + y[1]
            return y, run(kernels.moments, y)

        y, moments = self.each(first)
        if len(self.layers[j]) == 3:
            return y, self.merged(moments)
        self.narrow.append(y)
        self.narrow_statistics.append(self.merged(moments))
        self.narrow_affine.append(tf.stack(self.layers[j][3:5]))
        self.narrow_kernels.append(tf.cast(self.layers[j][5], self.dtype))

        def second(c):
            inputs = run(kernels.activate, y[c], self.narrow_affine[j], self.narrow_statistics[j])
            f = self.convolve(inputs, self.narrow_kernels[j])
            return f, run(kernels.moments, f)

        features, moments = self.each(second)
        return features, self.merged(moments)


class _Backward:
    """The backward pass, layer by layer from the last.

    G and its sums are kept as features are: `base` (everything, between buckets), then recent ones.
    """

    def __init__(self, forward, upstream):
        self.forward = forward
        self.outputs, self.upstream = forward.chunks(forward.output), forward.chunks(upstream)
        width = forward.bases[-1] + forward.bucket * forward.k
        self.total = [tf.zeros((tf.shape(t)[0], width), forward.dtype) for t in self.outputs]
        self.sums = [tf.zeros((2, width), forward.wide)] * forward.count

    def run(self):
        """Gradients of the block's input and of the layers' tensors."""
        forward, layers = self.forward, []
        for first in reversed(range(0, forward.depth, forward.bucket)):
            last = min(first + forward.bucket, forward.depth)
            self.enter_bucket(first, last)
            layers += [self.layer(j, j - first) for j in reversed(range(first, last))]
        upstream = [t[:, : forward.channels] for t in self.upstream]
        dx = self.finished(upstream, self.total, self.base, self.sums, self.statistics)
        return tf.concat([forward.images(t) for t in dx], 0), *self.collect(layers[::-1])

    def enter_bucket(self, first, last):
        """Takes apart what belongs to the layers first ... last - 1: features, gradients from above, G and its sums."""
        forward, k = self.forward, self.forward.k
        sizes = (forward.widths[first], *[k] * (last - first), k * (forward.depth - last))
        states = (forward.widths[first], forward.recent, k)

        def take(c):
            # In its turn, not before: TensorFlow would keep what it could compute in the forward pass.
            with tf.control_dependencies([self.total[c], self.upstream[c]]):
                output = tf.identity(self.outputs[c])
            base, *own, _ = forward.cut(output, sizes)
            total, sums = forward.cut(self.total[c], states), forward.cut(self.sums[c], states)
            return base, self.readable(own), own, forward.cut(self.upstream[c], sizes)[1:-1], *total, *sums

        columns = forward.each(take)
        self.base, self.recent, self.own, self.own_upstream = columns[:4]
        self.total, self.total_recent, self.total_last, self.sums, self.sums_recent, self.sums_last = columns[4:]
        self.statistics, *self.own_statistics, _ = forward.cut(forward.statistics, sizes)
        self.statistics_recent = self.readable(self.own_statistics)

    def readable(self, own):
        """Of a bucket's features those that its own layers read."""
        return self.forward.pad(self.forward.join(own[: self.forward.bucket - 1]))

    def layer(self, j, place):
        forward, k = self.forward, self.forward.k
        total, sums = self.total_last, self.sums_last
        if place < forward.bucket - 1:
            begin, size = forward.constant(0, place * k), forward.constant(-1, k)
            total, sums = ([tf.slice(t, begin, size) for t in s] for s in (self.total_recent, self.sums_recent))
        x, upstream = [t[place] for t in self.own], [t[place] for t in self.own_upstream]
        d = self.finished(upstream, total, x, sums, self.own_statistics[place])
        if not forward.narrow:
            return self.read(j, d)
        d, *gradients = self.bottleneck(j, d)
        return *self.read(j, d), *gradients

    def finished(self, upstream, total, x, sums, statistics):
        """Gradients of features all of whose readers are done."""
        sums, rows = tf.add_n(sums), self.forward.total_rows
        return self.forward.each(lambda c: [run(kernels.finish, upstream[c], total[c], x[c], sums, statistics, rows)])[
            0
        ]

    def bottleneck(self, j, d):
        """Back through the second convolution and its normalization: gradient of its input, sums, kernel's gradient."""
        forward, y, kernel = self.forward, self.forward.narrow[j], self.forward.narrow_kernels[j]
        of_features = forward.narrow_affine[j], forward.narrow_statistics[j]

        def through_convolution(c):
            with tf.control_dependencies([d[c]]):
                u = run(kernels.activate, y[c], *of_features)
            du = forward.input_gradient(d[c], kernel, c)
            return run(kernels.behind_relu, du, y[c], *of_features), du, forward.kernel_gradient(u, d[c], kernel)

        sums, du, dw = forward.each(through_convolution)
        sums = tf.add_n(sums)
        last = (sums, *of_features, forward.total_rows)
        dy = forward.each(lambda c: [run(kernels.normalization, du[c], y[c], *last)])[0]
        return dy, sums, self.summed(dw)

    def read(self, j, d):
        """Back through the first convolution, whose gradient is d: sums of each part it reads, kernel's gradient."""
        forward = self.forward
        affine, weights = forward.affine[j], forward.kernels[j]

        def read_part(part, x, total, sums, statistics):
            def one(c):
                dz = forward.input_gradient(d[c], weights[part], c)
                z, *rest = run(kernels.reader, dz, x[c], total[c], sums[c], affine[part], statistics)
                return *rest, forward.kernel_gradient(z, d[c], weights[part])

            total, sums, own, dw = forward.each(one)
            return total, sums, tf.add_n(own), self.summed(dw)

        self.total, self.sums, *base = read_part(0, self.base, self.total, self.sums, self.statistics)
        if len(weights) == 1:
            return base
        recent = self.recent, self.total_recent, self.sums_recent, self.statistics_recent
        self.total_recent, self.sums_recent, *recent = read_part(1, *recent)
        width = forward.widths[j] - forward.bases[j]
        axis = len(recent[1].shape) - 2
        size = [-1] * (axis + 2)
        size[axis] = width
        dw = tf.slice(recent[1], forward.constant(*[0] * (axis + 2)), forward.constant(*size))
        sums = tf.slice(recent[0], forward.constant(0, 0), forward.constant(-1, width))
        return forward.join([base[0], sums]), forward.join([base[1], dw], axis)

    def summed(self, kernels_):
        return tf.add_n([kernels.wide(t) for t in kernels_])

    def collect(self, layers):
        """All gradients, in the order of the layers' tensors; those of scales and offsets from the sums."""
        forward = self.forward
        index = [i for width in forward.widths for i in range(width)]
        sums = forward.join([layer[0] for layer in layers])
        deviations = tf.gather(forward.statistics[2], index)
        offsets, scales = (forward.cut(t, forward.widths, 0) for t in (sums[0], sums[1] * deviations))
        if forward.narrow:
            sums = tf.stack([layer[2] for layer in layers])
            deviations = tf.stack(forward.narrow_statistics)[:, 2]
            narrow = list(zip(tf.unstack(sums[:, 1] * deviations), tf.unstack(sums[:, 0])))
        gradients = []
        for j, (_, dw, *second) in enumerate(layers):
            gradients += [scales[j], offsets[j], tf.reshape(dw, forward.layers[j][2].shape)]
            gradients += [*narrow[j], second[1]] if second else []
        return gradients


def _chunk_count(batch, height, width):
    """In how many chunks to work a batch: enough for the cache, two if there is work for two, even ones if possible."""
    if tf.config.list_logical_devices("GPU"):
        return 1
    # Of a size known only at run time the usual one is assumed.
    rows = (batch or 32) * (height or 32) * (width or 32)
    count = max(1, rows // _CHUNK_ROWS, min(2, rows // 1024))
    if batch is None:
        return count
    return next((n for n in range(count, 2 * count) if batch % n == 0), min(count, batch))
