"""The training step of a dense block on TensorFlow as one custom gradient: exact, fast, small in memory.

Four ideas, all of which leave outputs and gradients what they are:

- The statistics of a feature are the same for each layer that reads it: they are computed once.
- The gradient of batch normalization is linear in what comes from above, and all readers of a feature share its
  normalized values: with g_l behind the ReLU of reader l, G = sum_l gamma_l g_l, and 1/s the deviation's inverse,
      dx = dx_out + (G - mean(G) - xhat mean(G xhat)) / s,
  so that readers add to G, and a feature is finished when the turn of the layer that made it comes.
- The normalized and rectified concatenations, of quadratic size together, are computed again in the backward pass.
- The batch is worked in chunks (with the statistics of the whole), so that wide temporaries stay in the cache.

Elementwise work is done by small XLA-compiled kernels, products by oneDNN. A kernel is compiled for each width
that it meets. So that widths are few, features are kept in two parts: `base`, which grows once in `_bucket`
layers, and `recent`, those since then, with zeros up to a fixed width.
"""

import math

import tensorflow as tf

from keras_sd.backend.tensorflow_kernels import (
    HALF,
    activate,
    finish,
    moments,
    normalization,
    reader,
    run,
    sums,
    wide,
)

# Rows (pixels times examples) to a chunk: 8192 rows of 100 float32 features are 3 MB.
_CHUNK_ROWS = 8192


def dense_block(x, layers, growth_rate, epsilon):
    """A dense block in training, with the statistics of the batch.

    Args:
        x: Tensor of shape (batch, height, width, channels), floating.
        layers: For each layer a tuple of tensors: scale, offset, kernel, and the same again if it has a bottleneck.
            Kernels are height x width x in x out; scales and offsets are float32 (float64 if `x` is).
        growth_rate: Features that a layer adds.
        epsilon: Added to variances.

    Returns:
        The concatenation of `x` and the layers' features; mean and variance (biased) of its features; and a list with
        mean and variance of each bottleneck's features.
    """
    block = _Block(x, layers, growth_rate, epsilon)

    @tf.custom_gradient
    def block_step(x, *flat):
        forward = _Forward(block, x, _unflatten(flat, layers))

        def gradient(upstream, *_):
            dx, gradients = _Backward(forward, upstream).run()
            return dx, *(g for layer in gradients for g in layer)

        return (forward.output, *forward.mean_variance, *tf.nest.flatten(forward.bottlenecks)), gradient

    output, *statistics = block_step(x, *(t for layer in layers for t in layer))
    mean, variance, *bottlenecks = [tf.stop_gradient(t) for t in statistics]
    return output, mean, variance, list(zip(bottlenecks[::2], bottlenecks[1::2]))


def _unflatten(flat, layers):
    flat = iter(flat)
    return [tuple(next(flat) for _ in layer) for layer in layers]


class _Block:
    """Shapes and chunks of a dense block; its forward and its backward pass."""

    def __init__(self, x, layers, growth_rate, epsilon):
        self.k, self.epsilon = growth_rate, epsilon
        self.channels, self.depth = x.shape[-1], len(layers)
        self.bucket = max(2, round(math.sqrt(self.depth)))
        self.height, self.width = (x.shape[i] or tf.shape(x)[i] for i in (1, 2))
        batch = x.shape[0] or tf.shape(x)[0]
        count = _chunk_count(*x.shape[:3])
        self.sizes = [batch // count + (batch % count > i) for i in range(count)] if x.shape[0] else None
        if self.sizes is None:
            self.sizes = batch // count + tf.cast(tf.range(count) < batch % count, tf.int32)
        self.count, self.dtype = count, x.dtype
        dtype = tf.float32 if x.dtype in HALF else x.dtype
        pixels = tf.cast(self.height * self.width, dtype)
        self.rows = [
            tf.cast(size, dtype) * pixels for size in (tf.unstack(self.sizes) if x.shape[0] is None else self.sizes)
        ]
        self.total_rows = tf.add_n(self.rows)

    def split(self, x):
        """Chunks of images as matrices of pixels x features."""
        return [self.matrix(t) for t in tf.split(x, self.sizes, 0, num=self.count)]

    def matrix(self, t):
        return tf.reshape(t, (-1, t.shape[-1]))

    def images(self, t):
        return tf.reshape(t, (-1, self.height, self.width, t.shape[-1]))

    def each(self, function):
        """Results of `function` for each chunk, transposed. No more than two chunks are worked at a time: the cache."""
        results = []
        for c in range(self.count):
            with tf.control_dependencies(tf.nest.flatten(results[c - 2]) if c > 1 else []):
                results.append(function(c))
        return [list(column) for column in zip(*results)]

    def merge(self, means, squares):
        """Mean and variance of the batch from those of chunks."""
        mean = tf.add_n([m * r for m, r in zip(means, self.rows)]) / self.total_rows
        spread = [s + r * tf.square(m - mean) for m, s, r in zip(means, squares, self.rows)]
        return mean, tf.add_n(spread) / self.total_rows

    def convolve(self, z, kernel):
        if kernel.shape[0] == 1:
            return tf.matmul(z, kernel[0, 0])
        return self.matrix(tf.nn.conv2d(self.images(z), kernel, 1, "SAME"))

    def input_gradient(self, d, kernel):
        if kernel.shape[0] == 1:
            return tf.matmul(d, kernel[0, 0], transpose_b=True)
        shape = tf.stack([tf.shape(d)[0] // (self.height * self.width), self.height, self.width, kernel.shape[2]])
        return self.matrix(tf.raw_ops.Conv2DBackpropInput(input_sizes=shape, filter=kernel, **self.conv(d)))

    def kernel_gradient(self, z, d, kernel):
        if kernel.shape[0] == 1:
            gradient = tf.matmul(z, d, transpose_a=True)[None, None]
        else:
            gradient = tf.raw_ops.Conv2DBackpropFilter(input=self.images(z), filter_sizes=kernel.shape, **self.conv(d))
        return wide(gradient)

    def conv(self, d):
        return {"out_backprop": self.images(d), "strides": [1] * 4, "padding": "SAME"}

    def pad(self, t, axis=-1):
        """Recent features, or what belongs to them, with zeros up to the width that is the same for all layers."""
        missing = (self.bucket - 1) * self.k - t.shape[axis]
        paddings = [[0, missing if i == axis % len(t.shape) else 0] for i in range(len(t.shape))]
        return tf.pad(t, paddings) if missing else t

    def parts(self, t, j, axis=0):
        """What belongs to `base` and to the recent features that layer j reads (perhaps none), padded."""
        base = self.channels + j // self.bucket * self.bucket * self.k
        if t.shape[axis] == base:
            return [t]
        old, recent = tf.split(t, [base, t.shape[axis] - base], axis)
        return [old, self.pad(recent, axis)]

    def fold(self, gamma, beta, mean, variance):
        """Batch normalization as a*x + b."""
        a = gamma * tf.math.rsqrt(variance + self.epsilon)
        return a, beta - mean * a

    def backward_coefficients(self, sum_g, sum_gx, mean, inverse):
        """p, q, r such that p*g + q*x + r is the gradient of (x - mean) * inverse, given sums of g and g*(x - mean)."""
        q = -(inverse**3) * sum_gx / self.total_rows
        return inverse, q, -inverse * sum_g / self.total_rows - q * mean


class _Forward:
    """The forward pass, and what the backward pass needs of it: output, bottlenecks, statistics."""

    def __init__(self, block, x, layers):
        self.block, self.layers = block, layers
        self.bottlenecks, self.narrow = [], []
        self.base, self.recent = block.split(x), [[] for _ in range(block.count)]
        mean, variance = block.merge(*block.each(lambda c: run(moments, self.base[c])))
        self.means, self.variances = [mean], [variance]
        for j in range(block.depth):
            if j and j % block.bucket == 0:
                self.base = [tf.concat([b, *r], 1) for b, r in zip(self.base, self.recent)]
                self.recent = [[] for _ in range(block.count)]
            self.layer(j, *layers[j])
        whole = [block.images(tf.concat([b, *r], 1)) for b, r in zip(self.base, self.recent)]
        self.output = tf.concat(whole, 0)
        self.mean_variance = tf.concat(self.means, 0), tf.concat(self.variances, 0)

    def layer(self, j, gamma, beta, kernel, *second):
        block = self.block
        a, b = block.fold(gamma, beta, tf.concat(self.means, 0), tf.concat(self.variances, 0))
        a, b = block.parts(a, j), block.parts(b, j)
        kernels = block.parts(tf.cast(kernel, block.dtype), j, 2)

        def first(c):
            parts = [self.base[c]]
            if self.recent[c]:
                parts.append(block.pad(tf.concat(self.recent[c], 1)))
            y = [block.convolve(run(activate, *p), w) for *p, w in zip(parts, a, b, kernels)]
            y = y[0] if len(y) == 1 else tf.add_n(y)
            return y, *run(moments, y)

        y, *statistics = block.each(first)
        mean, variance = block.merge(*statistics)
        if second:
            self.narrow.append(y)
            self.bottlenecks.append((mean, variance))
            a2, b2 = block.fold(*second[:2], mean, variance)
            w2 = tf.cast(second[2], block.dtype)

            def last(c):
                y_ = block.convolve(run(activate, y[c], a2, b2), w2)
                return y_, *run(moments, y_)

            y, *statistics = block.each(last)
            mean, variance = block.merge(*statistics)
        self.means.append(mean)
        self.variances.append(variance)
        for recent, feature in zip(self.recent, y):
            recent.append(feature)


class _Backward:
    """The backward pass, layer by layer from the last."""

    def __init__(self, forward, upstream):
        self.forward, self.block = forward, forward.block
        self.mean, variance = forward.mean_variance
        self.inverse = tf.math.rsqrt(variance + self.block.epsilon)
        self.outputs, self.upstream = self.block.split(forward.output), self.block.split(upstream)
        # Sums over the rows of G and of G * (x - mean), for every feature.
        self.sum_g = self.sum_gx = tf.zeros_like(self.mean)
        self.total = None

    def run(self):
        """Gradients of the input and of the layers' tensors."""
        block, gradients = self.block, []
        for first in reversed(range(0, block.depth, block.bucket)):
            last = min(first + block.bucket, block.depth)
            self.enter_bucket(first, last)
            for j in reversed(range(first, last)):
                gradients.insert(0, self.layer(j, j - first))
        channels = slice(0, block.channels)
        upstream = [t[:, channels] for t in self.upstream]
        dx = self.finished(channels, upstream, self.total, self.base)
        return tf.concat([block.images(t) for t in dx], 0), gradients

    def enter_bucket(self, first, last):
        """Takes apart what belongs to the layers first ... last - 1: their features, gradients from above, and G."""
        block, k = self.block, self.block.k
        base = block.channels + first * k
        sizes = [base] + [k] * (last - first) + [k * (block.depth - last)]
        recent = (block.bucket - 1) * k

        def pieces(c):
            # In its turn, not before: TensorFlow would keep what it could compute in the forward pass.
            with tf.control_dependencies([self.total[c] if self.total else self.upstream[c]]):
                x = tf.split(self.outputs[c], sizes, 1)
            if self.total is None:
                rows = tf.shape(x[0])[0]
                total = [tf.zeros((rows, width), block.dtype) for width in (base, recent, k)]
            else:
                total = tf.split(self.total[c], [base, recent, k], 1)
            features = x[1:-1]
            readable = block.pad(tf.concat(features[: block.bucket - 1], 1))
            return x[0], readable, features, tf.split(self.upstream[c], sizes, 1)[1:-1], *total

        columns = block.each(pieces)
        (
            self.base,
            self.recent,
            self.features,
            self.features_upstream,
            self.total,
            self.total_recent,
            self.total_last,
        ) = columns

    def layer(self, j, place):
        block = self.block
        gamma, beta, kernel, *second = self.forward.layers[j]
        channels = block.channels + j * block.k
        if place == block.bucket - 1:
            total = self.total_last
        else:
            total = [t[:, place * block.k : (place + 1) * block.k] for t in self.total_recent]
        x, upstream = [f[place] for f in self.features], [f[place] for f in self.features_upstream]
        d = self.finished(slice(channels, channels + block.k), upstream, total, x)
        gradients = []
        if second:
            d, gradients = self.bottleneck(j, d, *second)
        inputs = self.read(j, d, gamma, beta, kernel)
        return [*inputs, *gradients]

    def finished(self, features, upstream, total, x):
        """Gradients of features all of whose readers are done."""
        sums_ = self.sum_g[features], self.sum_gx[features]
        p, q, r = self.block.backward_coefficients(*sums_, self.mean[features], self.inverse[features])
        return self.block.each(lambda c: [run(finish, upstream[c], total[c], x[c], p, q, r)])[0]

    def bottleneck(self, j, d, gamma, beta, kernel):
        """Back through the 3x3 convolution and the normalization before it."""
        block, y = self.block, self.forward.narrow[j]
        mean, variance = self.forward.bottlenecks[j]
        inverse = tf.math.rsqrt(variance + block.epsilon)
        a, b = block.fold(gamma, beta, mean, variance)
        w = tf.cast(kernel, block.dtype)

        def through_convolution(c):
            with tf.control_dependencies([d[c]]):
                u = run(activate, y[c], a, b)
            du = block.input_gradient(d[c], w)
            return block.kernel_gradient(u, d[c], w), du, *run(sums, du, y[c], a, b, mean)

        dw, du, sum_g, sum_gx = block.each(through_convolution)
        sum_g, sum_gx = tf.add_n(sum_g), tf.add_n(sum_gx)
        p, q, r = (gamma * t for t in block.backward_coefficients(sum_g, sum_gx, mean, inverse))
        dy = block.each(lambda c: [run(normalization, du[c], y[c], a, b, p, q, r)])[0]
        return dy, [sum_gx * inverse, sum_g, tf.add_n(dw)]

    def read(self, j, d, gamma, beta, kernel):
        """Back through the first convolution and the normalization of the features that it reads."""
        block = self.block
        channels = block.channels + j * block.k
        mean, inverse = self.mean[:channels], self.inverse[:channels]
        a = gamma * inverse
        vectors = list(zip(*(block.parts(v, j) for v in (a, beta - mean * a, gamma, mean))))
        kernels = block.parts(tf.cast(kernel, block.dtype), j, 2)

        def one(c):
            results = []
            for part, (w, v) in enumerate(zip(kernels, vectors)):
                x, total = (self.base, self.total) if part == 0 else (self.recent, self.total_recent)
                z, *rest = run(reader, block.input_gradient(d[c], w), x[c], total[c], *v)
                results += [block.kernel_gradient(z, d[c], w), *rest]
            return results

        columns = block.each(one)
        self.total = columns[1]
        if len(columns) > 4:
            self.total_recent = columns[5]
        joined = [columns[i : i + 1] + columns[i + 4 : i + 5] for i in (0, 2, 3)]
        dw = tf.concat([tf.add_n(part) for part in joined[0]], 2)[:, :, :channels]
        sum_g, sum_gx = (tf.concat([tf.add_n(part) for part in parts], 0)[:channels] for parts in joined[1:])
        behind = [[0, self.mean.shape[0] - channels]]
        self.sum_g += tf.pad(gamma * sum_g, behind)
        self.sum_gx += tf.pad(gamma * sum_gx, behind)
        return sum_gx * inverse, sum_g, dw


def _chunk_count(batch, height, width):
    """In how many chunks to work a batch: enough for the cache, two if there is work for two, even ones if possible."""
    if tf.config.list_logical_devices("GPU"):
        return 1
    # Of a dynamic shape the usual is assumed.
    rows = (batch or 32) * (height or 32) * (width or 32)
    count = max(1, rows // _CHUNK_ROWS, min(2, rows // 1024))
    if batch is None:
        return count
    return next((n for n in range(count, 2 * count) if batch % n == 0), min(count, batch))
