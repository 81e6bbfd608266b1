"""Models for inference only: batch normalization folded into convolutions, survival probabilities into branches."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops
from keras.src.models.functional import Functional  # the class of `keras.Model(inputs, outputs)`

from keras_sd import backend
from keras_sd.layers import (
    Conv2D,
    DenseBlock,
    FusedBatchNormalization,
    PlainBlock,
    StochasticDepthResidual,
    StochasticDepthStack,
)
from keras_sd.layers.blocks import GatedBlocks
from keras_sd.layers.template import parts
from keras_sd.utils.aliases import Shape, Tensor
from keras_sd.utils.checks import check_type, refusal

# Classes are compared exactly: a subclass may compute something else.
_CONVOLUTIONS = (Conv2D, layers.Conv2D, layers.Dense)
_NORMALIZATIONS = (layers.BatchNormalization, FusedBatchNormalization)
# Longest stack that is unrolled; for longer ones the graph would take long to build.
_UNROLLED = 64


def fold(model: keras.Model, depth: int | None = None) -> keras.Model:
    """Return a copy of a model for inference, with fewer operations and the same outputs.

    A batch normalization that follows a convolution or a dense layer is folded into it, and so is the survival
    probability of a residual branch or a layer of a dense block, also inside nested models. Whatever cannot be folded
    safely is copied unchanged: layers of other classes, a convolution whose output has other readers, a normalization
    over another axis or with another dtype policy, and layers called with `training=True` or with gates. The copy is
    not meant for training: it has no statistics to update and no gates to draw.

    Args:
        model: A functional or sequential model that is built, from `keras_sd.applications` or with any layers.
        depth: Number of residual blocks to keep, for faster inference; `None` keeps all. Blocks that change the shape
            are always kept. The others are removed evenly over the stages, from the end of each stage: with a linear
            schedule these were dropped most often in training. With all blocks, inference weights branches by their
            survival probabilities. With fewer, the weights of the blocks that a stage keeps are raised until they add
            up to those of all its blocks, each at most to that of a survivor in training (at most to 1 where a branch
            ends in a layer that cannot be folded).

    Returns:
        A new model, functional or sequential like the given one.

    Raises:
        TypeError: `model` is not a functional or sequential model.
        ValueError: The model is not built, or `depth` is less than the number of blocks that must be kept or greater
            than the number of blocks.
    """
    check_graph(model)
    folder = _Folder(_kept_blocks(model, depth))
    # Classes that are not registered can only be found in a custom object scope.
    with keras.saving.custom_object_scope({type(part).__name__: type(part) for part in parts(model)}):
        folded = folder.fold_model(model)
    for assign in folder.assignments:
        assign()
    finalize(folded)
    return folded


def check_graph(model: keras.Model) -> None:
    """Raise an error unless a model is functional or sequential, and built."""
    if not _is_graph(check_type("model", model, keras.Model, "a Keras model")):
        raise refusal("model", "a functional or sequential model that does not override `call`", model, TypeError)
    if not model.built:
        raise refusal("model", "built: its input shape must be known", model)


def finalize(model: keras.Model) -> None:
    """Update the values that layers derive from their weights, after an assignment."""
    for part in parts(model):
        if isinstance(part, layers.Normalization):
            part.finalize_state()


def _is_graph(layer):
    """Return whether a layer is a functional or sequential model with an unchanged `call`."""
    return isinstance(layer, Functional | keras.Sequential) and type(layer).call in (
        Functional.call,
        keras.Sequential.call,
    )


class _Folder:
    """Folds the layers of one model.

    Args:
        kept: Gates of the residual blocks to keep in a layer, by its `id`; layers without an entry keep all.

    Attributes:
        assignments: Functions that set the weights of the new layers; call them when all layers are built.
    """

    def __init__(self, kept):
        self.kept = kept
        self.assignments = []

    def fold_model(self, model):
        """Fold a functional or sequential model."""
        if isinstance(model, Functional):
            return self._fold_functional(model)
        folded = self._fold_sequential(model)
        folded.build(model.input_shape)
        return folded

    def _fold_functional(self, model):
        nodes = _nodes(model)
        norms = _norms_of_convolutions(model, nodes)
        absorbed = {id(norm) for norm in norms.values()}
        as_is = {id(node.operation) for node in nodes if not _is_plain(node)}

        def replace(layer):
            if id(layer) in absorbed or self._is_removed(layer):
                return _Nothing
            if id(layer) in as_is:
                return self._copied(layer)
            return self._fold_layer(layer, norms.get(id(layer)))

        def call(layer, *args, **kwargs):
            if layer is _Nothing:
                return args[0]
            return layer(*args, **{name: value for name, value in kwargs.items() if value is not None})

        return keras.models.clone_model(model, clone_function=replace, call_function=call)

    def _is_removed(self, layer):
        return self.kept.get(id(layer)) == []

    def _fold_layer(self, layer, norm=None):
        """Return the replacement of a layer, and of the normalization after it if there is one."""
        if norm is not None:
            return self._fold_chain([layer, norm])[0]
        if _is_graph(layer):
            return self._fold_functional(layer) if isinstance(layer, Functional) else self._fold_sequential(layer)
        fold_blocks = _FOLDERS.get(type(layer), _Folder._copied)
        return fold_blocks(self, layer)

    def _copied(self, layer):
        new = _copy(layer)
        if isinstance(layer, layers.Layer):  # not a bare operation
            self._assign(new, layer.get_weights())
        return new

    def _assign(self, layer, values):
        self.assignments.append(lambda: layer.set_weights(values))

    # ------------------------------------------------------------------------------------------- composite layers

    def _fold_sequential(self, model, factor=1.0):
        """Fold a sequential model, and a factor into its last layer."""
        chain = [layer for layer in model.layers if not self._is_removed(layer)]
        return keras.Sequential(self._fold_chain(chain, factor) or [layers.Identity()], name=model.name)

    def _fold_chain(self, chain, factor=1.0):
        values = [_values(layer) if _is_foldable(layer) else None for layer in chain]
        pairs = _fold_chain(chain, values, factor, self._fold_layer)
        for layer, arrays in pairs:
            if arrays is not None:
                self._assign(layer, arrays)
        return [layer for layer, _ in pairs]

    def _fold_plain(self, layer):
        return PlainBlock(**{**layer.get_config(), "branch": self._fold_layer(layer.branch)})

    def _fold_residual(self, layer):
        branch, (p,) = layer.branch, self.kept.get(id(layer), layer.inference_gates())
        config = {**layer.get_config(), "activation": layer.activation, "survival_probability": min(p, 1.0)}
        if _is_chain(branch) and _is_foldable(branch.layers[-1]):
            config |= {"branch": self._fold_sequential(branch, p), "survival_probability": 1.0}
        else:
            config["branch"] = self._fold_layer(branch)
        config["shortcut"] = None if layer.shortcut is None else self._fold_layer(layer.shortcut)
        return StochasticDepthResidual(**config)

    def _fold_stack(self, layer):
        p = np.array(self.kept.get(id(layer), layer.inference_gates()))
        kept = len(p)
        branch, weights_of = layer._template.layer, layer._weights_of
        names = {id(variable): name for name, variable in layer._template.variables.items()}
        stacked = {name: ops.convert_to_numpy(weight)[:kept] for name, weight in weights_of.items()}
        chain = branch.layers if _is_chain(branch) else [branch]
        values = [[stacked[names[id(weight)]] for weight in part.weights] for part in chain]
        takes = _is_foldable(chain[-1])
        pairs = _fold_chain(chain, values, p if takes else 1.0)
        template = keras.Sequential([part for part, _ in pairs], name=branch.name) if _is_chain(branch) else pairs[0][0]
        config = {**layer.get_config(), "branch": template, "depth": kept, "activation": layer.activation}
        config |= {
            "survival_probabilities": np.ones(kept) if takes else np.minimum(p, 1.0),
            "unroll": kept <= _UNROLLED,
        }
        new = StochasticDepthStack(**config)

        def assign():
            # Weights are matched by order in the template: names may be counters, and those of nested layers collide.
            new_names = {id(variable): name for name, variable in new._template.variables.items()}
            arrays = [array for _, part in pairs for array in part]
            for weight, array in zip(new._template.layer.weights, arrays, strict=True):
                new._weights_of[new_names[id(weight)]].assign(array)

        self.assignments.append(assign)
        return new

    def _fold_dense_block(self, layer):
        values = []
        for i, factor in enumerate(layer.inference_gates()):
            parts = {name: weight.value() for name, weight in layer.block_weights(i).items()}
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
        self._assign(new, values)
        return new


# Classes are compared exactly here, too.
_FOLDERS = {
    PlainBlock: _Folder._fold_plain,
    StochasticDepthResidual: _Folder._fold_residual,
    StochasticDepthStack: _Folder._fold_stack,
    DenseBlock: _Folder._fold_dense_block,
}


class _Nothing:
    """Placeholder for a layer that is removed."""


def _copy(layer):
    """Return an unbuilt copy of a layer or of an operation in a functional model."""
    config = keras.saving.serialize_keras_object(layer)
    config.pop("build_config", None)
    # Safe mode is not needed, since the configuration is that of an existing model.
    return keras.saving.deserialize_keras_object(config, safe_mode=False)


# -------------------------------------------------------------------------------------------------- graphs


def _nodes(model):
    """Return the calls in a functional model."""
    return [node for nodes in model._nodes_by_depth.values() for node in nodes if not node.is_input]


def _is_plain(node):
    """Return whether a call has one tensor as its only argument, so that it is inference in inference."""
    others = {name: value for name, value in node.arguments.kwargs.items() if value is not None}
    return len(node.arguments.args) == 1 and others in ({}, {"training": False})


def _norms_of_convolutions(model, nodes):
    """Return batch normalizations by the `id` of the convolution before them, if its output has no other reader."""
    readers = {}
    for node in nodes:
        for tensor in node.input_tensors:
            readers.setdefault(id(tensor), []).append(node)
    outputs = {id(tensor) for tensor in model.outputs}
    calls = [id(node.operation) for node in nodes]
    norms = {}
    for node in nodes:
        conv, following = node.operation, readers.get(id(node.outputs[0]), [])
        pair = [node, *following]
        if len(pair) != 2 or id(node.outputs[0]) in outputs:
            continue
        once = all(_is_plain(call) and calls.count(id(call.operation)) == 1 for call in pair)
        if once and _absorbs(conv, following[0].operation):
            norms[id(conv)] = following[0].operation
    return norms


# -------------------------------------------------------------------------------------------------- chains


def _is_chain(layer):
    return isinstance(layer, keras.Sequential) and _is_graph(layer)


def _is_convolution(layer):
    """Return whether a layer is a convolution or dense layer with only kernel and bias, no quantization or LoRA."""
    return (
        type(layer) in _CONVOLUTIONS
        and layer.activation is keras.activations.linear
        and {weight.name for weight in layer.weights} in ({"kernel"}, {"kernel", "bias"})
    )


def _is_normalization(layer):
    return type(layer) in _NORMALIZATIONS and not getattr(layer, "renorm", False)


def _is_foldable(layer):
    return _is_convolution(layer) or _is_normalization(layer)


def _absorbs(conv, norm):
    """Return whether a normalization can be folded into the kernel and bias of the convolution before it."""
    if not (_is_convolution(conv) and _is_normalization(norm)) or conv.dtype_policy != norm.dtype_policy:
        return False
    channels = 1 if getattr(conv, "data_format", None) == "channels_first" else -1
    rank = norm.input_spec.ndim
    return norm.axis % rank == channels % rank


def _values(layer):
    return [ops.convert_to_numpy(weight) for weight in layer.weights]


def _fold_chain(chain, values, factor, replace=_copy):
    """Fold a chain of layers, each of which feeds the next.

    Args:
        chain: Built layers.
        values: For each layer its weights as arrays, in order; a leading axis folds many chains at once.
        factor: Number by which the outputs are multiplied, or an array with one for each chain. It is folded into the
            last layer, which must be a convolution or a normalization unless the factor is 1.
        replace: Function that returns the new layer for a layer of another kind.

    Returns:
        List of pairs: a new layer, and its weights in order.
    """
    folded, conv = [], None
    for layer, arrays in zip(chain, values):
        if conv is not None and _absorbs(conv, layer):
            folded[-1] = (_with_config(conv, use_bias=True), _absorbed(folded[-1][1], layer, arrays))
        else:
            folded.append((_copy(layer) if _is_foldable(layer) else replace(layer), arrays))
            conv = layer if _is_convolution(layer) else None
    if np.any(np.asarray(factor) != 1):
        folded[-1] = _scaled(chain[-1], *folded[-1], factor)
    return folded


def _with_config(layer, **changes):
    return type(layer).from_config({**layer.get_config(), **changes})


def _absorbed(conv_arrays, norm, norm_arrays):
    """Return kernel and bias of a convolution that includes the normalization after it."""
    kernel, bias = (*conv_arrays, 0.0)[:2]
    gamma, beta, mean, variance = _statistics(norm, norm_arrays)
    scale = gamma / np.sqrt(variance.astype("float64") + norm.epsilon)
    # The last axis of a kernel is the output axis; the first may be that of the chains.
    by_kernel = np.expand_dims(scale, tuple(range(scale.ndim - 1, kernel.ndim - 1)))
    return [kernel * by_kernel, (bias - mean) * scale + beta]


def _statistics(norm, arrays):
    weights = dict(zip((weight.name for weight in norm.weights), arrays, strict=True))
    mean, variance = weights["moving_mean"], weights["moving_variance"]
    return weights.get("gamma", np.ones_like(mean)), weights.get("beta", np.zeros_like(mean)), mean, variance


def _scaled(source, layer, arrays, factor):
    """Return a convolution or a normalization with its outputs multiplied by a factor, and its weights."""
    if _is_normalization(source) and _is_normalization(layer):
        gamma, beta, mean, variance = _statistics(source, arrays)
        layer = _with_config(source, scale=True, center=True)
        return layer, [_outer(gamma, factor), _outer(beta, factor), mean, variance]
    return layer, [_outer(array, factor) for array in arrays]


def _outer(array, factor):
    factor = np.asarray(factor)
    return array * factor.reshape(factor.shape + (1,) * (array.ndim - factor.ndim))


# ------------------------------------------------------------------------------------------- dense blocks


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
        self,
        num_layers: int,
        growth_rate: int,
        bottleneck_width: float | None = 4,
        dilation_rate: int = 1,
        data_format: str = "channels_last",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_layers = num_layers
        self.growth_rate = growth_rate
        self.bottleneck_width = bottleneck_width
        self.dilation_rate = dilation_rate
        self.data_format = data_format
        self._channel_axis = 3 if data_format == "channels_last" else 1

    def build(self, input_shape: Shape) -> None:
        channels: Any = input_shape[self._channel_axis]
        k = self.growth_rate
        width = round((self.bottleneck_width or 0) * k)
        self._weights_by_layer = []
        for i in range(self.num_layers):
            shapes: list[tuple] = [(channels,), (channels,)]
            shapes += [(channels, width), (width,), (3, 3, width, k)] if width else [(3, 3, channels, k)]
            weights = [
                self.add_weight(shape=shape, name=f"layer{i + 1}_{j}", trainable=False, autocast=False)
                for j, shape in enumerate(shapes)
            ]
            self._weights_by_layer.append(weights)
            channels += k

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape: list[Any] = list(input_shape)
        shape[self._channel_axis] += self.num_layers * self.growth_rate
        return tuple(shape)

    def call(self, inputs: Tensor) -> Tensor:
        x = inputs if self.data_format == "channels_last" else ops.transpose(inputs, (0, 2, 3, 1))
        x = backend.map_chunks(self._run, x, x.shape[-1] + self.num_layers * self.growth_rate)
        return x if self.data_format == "channels_last" else ops.transpose(x, (0, 3, 1, 2))

    def _run(self, images):
        """Run the block on images (batch, height, width, channels), as a matrix of pixels x channels."""
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
            y = backend.conv2d(y, kernel, padding="same", data_format="channels_last", dilation_rate=self.dilation_rate)
            x = ops.concatenate([x, ops.reshape(y, (-1, self.growth_rate))], axis=-1)
        return ops.reshape(x, (-1, height, width, x.shape[-1]))

    def get_config(self) -> dict[str, Any]:
        names = ("num_layers", "growth_rate", "bottleneck_width", "dilation_rate", "data_format")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


# --------------------------------------------------------------------------------------------------- depth


def _kept_blocks(model, depth):
    """Return the gates of the blocks to keep in each layer with residual blocks, by its `id`; empty to keep all."""
    if depth is None:
        return {}
    stages = [[]]  # removable blocks by stage, each as the `id` of its layer, its gate, and its gate as a survivor
    fixed = 0
    for layer in _leaves(model):
        if not isinstance(layer, GatedBlocks) or layer.kind != "residual":
            continue
        if layer.keeps_shape:
            gates = zip(layer.inference_gates(), layer.survivor_gates())
            stages[-1] += [(id(layer), gate, survivor) for gate, survivor in gates]
        else:
            fixed += layer.num_blocks
            stages.append([])
    total = fixed + sum(map(len, stages))
    if isinstance(depth, bool) or not isinstance(depth, int) or not fixed <= depth <= total:
        allowed = f"an integer from {fixed} (the blocks that change the shape) to {total} (all blocks)"
        raise refusal("depth", allowed, depth)
    kept = {key: [] for stage in stages for key, _, _ in stage}
    fraction = (depth - fixed) / max(1, total - fixed)
    counts = _apportion([len(stage) for stage in stages], fraction, depth - fixed)
    for stage, count in zip(stages, counts):
        first = stage[:count]
        factor = sum(gate for _, gate, _ in stage) / sum(gate for _, gate, _ in first) if first else 1.0
        for key, gate, survivor in first:
            kept[key].append(min(factor * gate, survivor))
    return kept


def _leaves(model):
    """Yield the layers of a model and its nested models, in order."""
    for layer in model.layers:
        if _is_graph(layer):
            yield from _leaves(layer)
        else:
            yield layer


def _apportion(sizes, fraction, total):
    """Round `fraction * sizes` to whole numbers with the given total, by the largest remainder method."""
    exact = [fraction * size for size in sizes]
    counts = [int(e) for e in exact]
    order = sorted(range(len(sizes)), key=lambda i: counts[i] - exact[i])
    for i in order[: total - sum(counts)]:
        counts[i] += 1
    return counts
