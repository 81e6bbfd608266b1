"""Models for inference only: batch normalization folded into convolutions, survival probabilities into branches."""

import keras
import numpy as np
from keras import layers, ops

from keras_sd import backend
from keras_sd.layers import DenseBlock, StochasticDepthResidual, StochasticDepthStack

_CONVOLUTIONS = (layers.Conv2D, layers.Dense)
# Blocks of a stack that are unrolled. Of more the graph would take long to build.
_UNROLLED = 64


def fold(model, depth=None):
    """A copy of a model for inference, with fewer operations and the same outputs.

    A batch normalization behind a convolution (or a dense layer) is folded into it, and so is the survival
    probability of a residual branch or a dense layer. What cannot be folded is copied. The copy is not meant to
    be trained: it has no statistics to move and no gates to draw.

    Args:
        model: A functional or sequential model, of the factories of `keras_sd.applications` or with their layers.
        depth: Number of residual blocks to keep, for an answer at less cost; `None` keeps all. Blocks that
            change the shape stay. The others are left out evenly over the stages, from each stage's end: with a
            linear schedule these were dropped most often in training.

    Returns:
        A new `keras.Model`.

    Raises:
        ValueError: `depth` below the number of blocks that must stay, or above the number of blocks.
    """
    kept = _kept_blocks(model, depth)
    followers = _normalized_convolutions(model.layers)
    absorbed = {norm.name for norm in followers.values()}
    assignments = []

    def replace(layer):
        if layer.name in absorbed or kept.get(layer.name) == 0:
            return _Nothing
        new, assign = _fold_layer(layer, followers.get(layer.name), kept.get(layer.name))
        assignments.append((new, assign))
        return new

    def call(layer, *args, **kwargs):
        if layer is _Nothing:
            return args[0]
        return layer(*args, **{name: value for name, value in kwargs.items() if value is not None})

    folded = keras.models.clone_model(model, clone_function=replace, call_function=call)
    for layer, assign in assignments:
        assign(layer)
    return folded


class _Nothing:
    """Stands for a layer that is left out."""


def _fold_layer(layer, norm, kept):
    """A layer's replacement, and a function that gives it its weights once it is built."""
    if norm is not None:
        new, weights = _fold_chain([layer, norm], _weights([layer, norm]))
        return new[0], lambda built: _assign([built], weights)
    if isinstance(layer, keras.Sequential):
        return _fold_branch(layer)
    if isinstance(layer, StochasticDepthResidual):
        return _fold_residual(layer)
    if isinstance(layer, StochasticDepthStack):
        return _fold_stack(layer, layer.depth if kept is None else kept)
    if isinstance(layer, DenseBlock):
        return _fold_dense_block(layer)
    return _copy(layer)


def _copy(layer):
    values = layer.get_weights()
    return type(layer).from_config(layer.get_config()), lambda built: built.set_weights(values)


# -------------------------------------------------------------------------------------------------- chains


def _normalized_convolutions(chain):
    """Batch normalizations by the name of the convolution whose output they alone read."""
    readers = {}
    for layer in chain:
        for tensor in keras.tree.flatten(layer.input):
            readers.setdefault(id(tensor), []).append(layer)
    return {
        conv.name: readers[id(conv.output)][0]
        for conv in chain
        if _is_convolution(conv) and [*map(_is_normalization, readers.get(id(conv.output), []))] == [True]
    }


def _is_convolution(layer):
    return isinstance(layer, _CONVOLUTIONS) and layer.activation is keras.activations.linear


def _is_normalization(layer):
    return isinstance(layer, layers.BatchNormalization)


def _weights(chain):
    """Arrays by names such as `"conv1/kernel"`."""
    return {f"{layer.name}/{w.name}": ops.convert_to_numpy(w) for layer in chain for w in layer.weights}


def _assign(chain, weights):
    for layer in chain:
        layer.set_weights([weights[f"{layer.name}/{w.name}"] for w in layer.weights])


def _fold_chain(chain, weights, factor=1.0):
    """Layers that compute `factor` times what a chain computes, without its foldable normalizations.

    Args:
        chain: Layers, each the next one's input.
        weights: Their weights by name; may have leading axes, for many chains at once.
        factor: Number, or array of the leading axes' shape. Taken by the last layer.

    Returns:
        New layers, and their weights by name. `None` in place of both where the last layer takes no factor.
    """
    weights, folded = dict(weights), []
    last = chain[-1].name
    if np.any(np.asarray(factor) != 1):
        if not (_is_convolution(chain[-1]) or _is_normalization(chain[-1])):
            return None
        for part in ("kernel", "bias", "gamma", "beta"):
            if f"{last}/{part}" in weights:
                weights[f"{last}/{part}"] = _outer(weights[f"{last}/{part}"], factor)
    for layer in chain:
        if _is_normalization(layer) and folded and _is_convolution(folded[-1]):
            conv = folded[-1].name
            scale, offset = _affine(layer, weights)
            kernel = weights[f"{conv}/kernel"]
            bias = weights.pop(f"{conv}/bias", 0.0)
            weights[f"{conv}/kernel"] = kernel * np.expand_dims(scale, tuple(range(scale.ndim - 1, kernel.ndim - 1)))
            weights[f"{conv}/bias"] = bias * scale + offset
            folded[-1] = type(folded[-1]).from_config({**folded[-1].get_config(), "use_bias": True})
        else:
            folded.append(type(layer).from_config(layer.get_config()))
    return folded, weights


def _outer(array, factor):
    factor = np.asarray(factor, array.dtype)
    return array * factor.reshape(factor.shape + (1,) * (array.ndim - factor.ndim))


def _affine(norm, weights):
    """Scale and offset of a normalization by its moving statistics."""
    mean, variance = (weights[f"{norm.name}/moving_{part}"].astype("float64") for part in ("mean", "variance"))
    scale = weights.get(f"{norm.name}/gamma", 1.0) / np.sqrt(variance + norm.epsilon)
    return scale, weights.get(f"{norm.name}/beta", 0.0) - mean * scale


# -------------------------------------------------------------------------------------------------- blocks


def _fold_branch(branch, factor=1.0):
    """A branch times a factor; `None` if that cannot be folded."""
    if not isinstance(branch, keras.Sequential):
        return None if factor != 1 else _copy(branch)
    result = _fold_chain(branch.layers, _weights(branch.layers), factor)
    if result is None:
        return None
    chain, weights = result
    return keras.Sequential(chain, name=branch.name), lambda built: _assign(built.layers, weights)


def _fold_residual(layer):
    p = layer.survival_probability if layer.scaling == "inference" else 1.0
    folded = _fold_branch(layer.branch, p)
    kept_p = 1.0 if folded else p
    branch, assign_branch = folded or _fold_branch(layer.branch)
    shortcut, assign_shortcut = (None, None) if layer.shortcut is None else _fold_layer(layer.shortcut, None, None)
    new = StochasticDepthResidual(branch, shortcut, kept_p, layer.activation, name=layer.name)

    def assign(built):
        assign_branch(built.branch)
        if shortcut is not None:
            assign_shortcut(built.shortcut)

    return new, assign


def _fold_stack(layer, kept):
    p = np.array(layer.survival_probabilities[:kept]) if layer.scaling == "inference" else np.ones(kept)
    template = layer.branch
    blocks = layer.unstacked_weights()[:kept]
    stacked = {name: np.stack([block[name] for block in blocks]) for name in blocks[0]}
    result = _fold_chain(template.layers, stacked, p) if isinstance(template, keras.Sequential) else None
    if result is not None:
        chain, stacked = result
        template, p = keras.Sequential(chain, name=template.name), np.ones(kept)
    new = StochasticDepthStack(template, kept, p, layer.activation, unroll=kept <= _UNROLLED, name=layer.name)

    def assign(built):
        names = built.unstacked_weights()[0]
        for i in range(kept):
            built.assign_block(i, {name: stacked[name][i] for name in names})

    return new, assign


def _fold_dense_block(layer):
    p = layer.survival_probabilities if layer.scaling == "inference" else None
    values = []
    for i, factor in enumerate(p or (1.0,) * layer.num_layers):
        parts = {name: ops.convert_to_numpy(w) for name, w in layer.layer_weights(i).items()}
        values += _fold_dense_layer(parts, layer.epsilon, factor)
    new = FoldedDenseBlock(
        layer.num_layers,
        layer.growth_rate,
        layer.bottleneck_width,
        layer.dilation_rate,
        layer.data_format,
        name=layer.name,
        dtype=layer.dtype_policy,
    )
    return new, lambda built: built.set_weights(values)


def _fold_dense_layer(parts, epsilon, factor):
    def affine(name):
        scale = parts[f"{name}/gamma"] / np.sqrt(parts[f"{name}/moving_variance"] + epsilon)
        return scale, parts[f"{name}/beta"] - parts[f"{name}/moving_mean"] * scale

    if "conv2/kernel" not in parts:
        return [*affine("norm1"), parts["conv1/kernel"] * factor]
    scale, offset = affine("norm2")
    return [*affine("norm1"), parts["conv1/kernel"][0, 0] * scale, offset, parts["conv2/kernel"] * factor]


@keras.saving.register_keras_serializable(package="keras_sd")
class FoldedDenseBlock(layers.Layer):
    """A `DenseBlock` for inference: per layer an affine map and ReLU, a convolution with bias and ReLU, a convolution.

    Args:
        num_layers, growth_rate, bottleneck_width, dilation_rate, data_format: As in `DenseBlock`.
    """

    def __init__(
        self, num_layers, growth_rate, bottleneck_width=4, dilation_rate=1, data_format="channels_last", **kwargs
    ):
        super().__init__(**kwargs)
        self.num_layers = num_layers
        self.growth_rate = growth_rate
        self.bottleneck_width = bottleneck_width
        self.dilation_rate = dilation_rate
        self.data_format = data_format
        self._channel_axis = 3 if data_format == "channels_last" else 1

    def build(self, input_shape):
        channels, k = input_shape[self._channel_axis], self.growth_rate
        width = round((self.bottleneck_width or 0) * k)
        self._weights_by_layer = []
        for i in range(self.num_layers):
            shapes = [(channels,), (channels,)]
            shapes += [(channels, width), (width,), (3, 3, width, k)] if width else [(3, 3, channels, k)]
            weights = [
                self.add_weight(shape=shape, name=f"layer{i + 1}_{j}", trainable=False, autocast=False)
                for j, shape in enumerate(shapes)
            ]
            self._weights_by_layer.append(weights)
            channels += k

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        shape[self._channel_axis] += self.num_layers * self.growth_rate
        return tuple(shape)

    def call(self, inputs):
        x = inputs if self.data_format == "channels_last" else ops.transpose(inputs, (0, 2, 3, 1))
        x = backend.map_chunks(self._run, x, x.shape[-1] + self.num_layers * self.growth_rate)
        return x if self.data_format == "channels_last" else ops.transpose(x, (0, 3, 1, 2))

    def _run(self, images):
        """The block on images (batch, height, width, channels), worked as a matrix of pixels x channels."""
        _, height, width, channels = ops.shape(images)
        wide = keras.backend.result_type(images.dtype, "float32")
        x = ops.reshape(images, (-1, channels))
        for scale, offset, *kernels in self._weights_by_layer:
            y = ops.cast(ops.relu(ops.cast(x, wide) * scale + offset), x.dtype)
            if len(kernels) > 1:
                kernel, bias, *kernels = kernels
                y = ops.relu(ops.matmul(y, ops.cast(kernel, y.dtype)) + ops.cast(bias, y.dtype))
            kernel = ops.cast(kernels[0], y.dtype)
            y = ops.reshape(y, (-1, height, width, y.shape[-1]))
            y = ops.conv(y, kernel, padding="same", data_format="channels_last", dilation_rate=self.dilation_rate)
            x = ops.concatenate([x, ops.reshape(y, (-1, self.growth_rate))], axis=-1)
        return ops.reshape(x, (-1, height, width, x.shape[-1]))

    def get_config(self):
        names = ("num_layers", "growth_rate", "bottleneck_width", "dilation_rate", "data_format")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


# --------------------------------------------------------------------------------------------------- depth


def _kept_blocks(model, depth):
    """How many blocks stay in each layer with residual blocks, by its name; nothing where all stay."""
    if depth is None:
        return {}
    stages = [[]]  # blocks that could go, by stage: each a layer's name
    fixed = 0
    for layer in model.layers:
        if isinstance(layer, StochasticDepthStack):
            stages[-1] += [layer.name] * layer.depth
        elif isinstance(layer, StochasticDepthResidual) and layer.shortcut is not None:
            fixed += 1
            stages.append([])
        elif isinstance(layer, StochasticDepthResidual):
            stages[-1].append(layer.name)
    total = fixed + sum(map(len, stages))
    if isinstance(depth, bool) or not isinstance(depth, int) or not fixed <= depth <= total:
        raise ValueError(
            f"`depth` must be an integer from {fixed} (the blocks that change the shape) to {total} (all blocks). "
            f"Received: depth={depth!r}"
        )
    kept = {}
    share = (depth - fixed) / max(1, total - fixed)
    counts = _apportion([len(stage) for stage in stages], share, depth - fixed)
    for stage, count in zip(stages, counts):
        for i, name in enumerate(stage):
            kept[name] = kept.get(name, 0) + (i < count)
    return kept


def _apportion(sizes, share, total):
    """Whole numbers near `share * sizes` with the given total: largest remainders first."""
    exact = [share * size for size in sizes]
    counts = [int(e) for e in exact]
    order = sorted(range(len(sizes)), key=lambda i: counts[i] - exact[i])
    for i in order[: total - sum(counts)]:
        counts[i] += 1
    return counts
