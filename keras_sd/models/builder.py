"""Build Keras models from specs; this is the only module that connects layers."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

from keras_sd.layers import (
    Conv2D,
    DenseBlock,
    FusedBatchNormalization,
    IdentityShortcut,
    PlainBlock,
    StochasticDepthResidual,
    StochasticDepthStack,
    TransitionLayer,
)
from keras_sd.models.specs import DenseNetSpec, MLPSpec, ResNetSpec, Spec
from keras_sd.utils.aliases import Shape
from keras_sd.utils.checks import check_choice, check_flag, check_integer, refusal

POOLINGS = (None, "avg", "max")


def build(
    spec: Spec,
    *,
    include_top: bool = True,
    input_tensor: Any = None,
    input_shape: Any = (32, 32, 3),
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    rescale: Any = False,
    name: str | None = None,
) -> keras.Model:
    """Build the Keras model that a spec describes.

    Args:
        spec: A `ResNetSpec`, `DenseNetSpec` or `MLPSpec`.
        include_top: Whether to end with global average pooling and a classifier.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first if `keras.config` says so. Height and width may be
            `None`.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes.
        classifier_activation: Activation of the classifier, a function or a name (`"softmax"`,
            `"keras_sd>threshold"`); `None` for logits.
        rescale: Whether the model takes images with values from 0 to 255 and divides them by 255; or how it prepares
            them (`keras_sd.weights.Preprocessing`).
        name: Name of the model.

    Returns:
        A `keras.Model` whose layers are named by stage and block.

    Raises:
        ValueError: An argument is invalid; nothing is built then.
    """
    input_shape = check(
        spec,
        include_top=include_top,
        input_tensor=input_tensor,
        input_shape=input_shape,
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        rescale=rescale,
        name=name,
    )
    inputs, x = _input(input_tensor, input_shape)
    x = _BODIES[type(spec)](spec, _rescaled(x, rescale))
    if include_top:
        if len(x.shape) == 4:
            x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        # At least float32: a softmax, and the loss after it, are too imprecise in half precision.
        dtype = keras.backend.result_type(x.dtype, "float32")
        x = layers.Dense(classes, activation=_activation(classifier_activation), dtype=dtype, name="predictions")(x)
    elif pooling == "avg":
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    elif pooling == "max":
        x = layers.GlobalMaxPooling2D(name="max_pool")(x)
    return keras.Model(inputs, x, name=name)


def check(
    spec: Spec,
    *,
    include_top: bool,
    input_tensor: Any,
    input_shape: Any,
    pooling: str | None,
    classes: int,
    classifier_activation: str | Callable | None,
    rescale: Any,
    name: str | None,
) -> Shape:
    """Check the arguments of `build`; return the shape of the input."""
    check_flag("include_top", include_top)
    if not _is_preprocessing(rescale):
        check_flag("rescale", rescale)
    check_choice("pooling", pooling, (None,) if isinstance(spec, MLPSpec) else POOLINGS)
    if include_top:
        check_integer("classes", classes)
    try:
        _activation(classifier_activation)
    except (TypeError, ValueError) as error:
        allowed = "None, a name of `keras.activations` or of a registered function, or a function"
        raise refusal("classifier_activation", allowed, classifier_activation) from error
    if name is not None and (not isinstance(name, str) or not name or "/" in name):
        raise refusal("name", "None or a string without slashes", name)
    shape = _check_input_shape(input_shape, input_tensor, spec)
    channels = shape[-1 if channels_last() else 0]
    if _is_preprocessing(rescale) and channels != len(rescale.mean):
        prepared = f"these weights prepare images of {len(rescale.mean)} channels"
        raise refusal("rescale", f"False for images of {channels} channels: {prepared}", True)
    return shape


def _activation(value):
    """Return the activation with a name, which may be that of a registered function."""
    registered = keras.saving.get_registered_object(value) if isinstance(value, str) else None
    return keras.activations.get(registered or value)


def _is_preprocessing(rescale):
    return isinstance(getattr(rescale, "mean", None), tuple)  # NumPy scalars have a method `mean`


def channels_last() -> bool:
    """Return whether Keras's image data format is channels-last."""
    return keras.config.image_data_format() == "channels_last"


def _channel_axis():
    return -1 if channels_last() else 1


def _check_input_shape(shape, tensor, spec):
    if tensor is not None:
        if not keras.utils.is_keras_tensor(tensor):
            raise refusal("input_tensor", "a Keras tensor, such as `keras.Input()`", tensor)
        shape = tensor.shape[1:]
    ok = isinstance(shape, list | tuple) and len(shape) == 3
    ok = ok and all(s is None or (isinstance(s, int) and s > 0) for s in shape)
    if not ok:
        raise refusal("input_shape", "three positive integers", shape)
    *size, channels = shape if channels_last() else (*shape[1:], shape[0])
    if channels is None:
        raise refusal("input_shape", "a shape with a number of channels", tuple(shape))
    if isinstance(spec, MLPSpec) and None in size:
        raise refusal("input_shape", "three positive integers", tuple(shape))
    if any(s is not None and s < spec.min_size for s in size):
        allowed = f"at least {spec.min_size}x{spec.min_size}: this network divides height and width by {spec.min_size}"
        raise refusal("input_shape", allowed, tuple(shape))
    return tuple(shape)


def _input(tensor, shape):
    if tensor is None:
        inputs = layers.Input(shape)
        return inputs, inputs
    sources = keras.utils.get_source_inputs(tensor)
    # A single source without a list: otherwise the model would take, and export, a list of one batch.
    return sources[0] if len(sources) == 1 else sources, tensor


def _rescaled(x, rescale):
    """Prepare images with values from 0 to 255: divide by 255, or do what published weights expect."""
    if not rescale:
        return x
    if rescale is True:
        return layers.Rescaling(1 / 255, name="rescale")(x)
    if rescale.channels == "BGR":
        x = ops.flip(x, _channel_axis())
    scale = [rescale.scale / std for std in rescale.std]
    offset = [-mean / std for mean, std in zip(rescale.mean, rescale.std)]
    if not channels_last():  # the layer reshapes its scale for broadcasting, but not its offset
        offset = [[[o]] for o in offset]
    return layers.Rescaling(scale, offset, name="rescale")(x)


# ---------------------------------------------------------------------------------------------------- pieces


def _conv(filters, size, name, stride=1, dilation=1, bias=False):
    """Return a convolution that keeps the size, or divides it by the stride, padded with zeros on both sides."""
    conv = Conv2D(
        filters,
        size,
        strides=stride,
        dilation_rate=dilation,
        padding="same" if stride == 1 else "valid",
        use_bias=bias,
        kernel_initializer="he_normal",
        name=name,
    )
    if stride == 1 or size == 1:
        return [conv]
    # "same" would pad images of even size on the right only, unlike all published networks.
    return [layers.ZeroPadding2D(size // 2, name=f"{name.removesuffix('_conv')}_pad"), conv]


def _norm(spec, name):
    return FusedBatchNormalization(axis=_channel_axis(), epsilon=spec.epsilon, momentum=spec.momentum, name=name)


def _chain(x, chain):
    for layer in chain:
        x = layer(x)
    return x


@dataclass(frozen=True)
class _Names:
    """Names of layers, which checkpoints and feature extraction rely on.

    In the patterns `stage` counts from 1, `conv` from 2 (1 is the stem in keras.applications), and `block` from 1.

    Attributes:
        stem, end: Names of the first and the last convolution, normalization and ReLU, as far as a network has them.
        block, dense_block, transition: Patterns.
        pool: Pattern of the pooling after a transition; `None` if the transition itself pools.
    """

    stem: tuple[str, str, str]
    end: tuple[str, str]
    block: str
    dense_block: str
    transition: str
    pool: str | None = None


_NAMES = {
    "cifar": _Names(
        ("stem_conv", "stem_norm", "stem_relu"),
        ("final_norm", "final_relu"),
        block="stage{stage}_block{block}",
        dense_block="stage{stage}_block",
        transition="transition{stage}",
    ),
    "imagenet": _Names(
        ("conv1_conv", "conv1_bn", "conv1_relu"),
        ("bn", "relu"),
        block="conv{conv}_block{block}_out",
        dense_block="conv{conv}_block{block}_concat",
        transition="pool{conv}_conv",
        pool="pool{conv}_pool",
    ),
}


def _name(pattern, stage, block=0):
    return pattern.format(stage=stage + 1, conv=stage + 2, block=block + 1)


def _stem(spec, x, filters, normalize=True, bias=False):
    """Add the first convolution; for ImageNet also the first pooling, named as in keras.applications."""
    conv, norm, relu = _NAMES[spec.stem].stem
    size, stride = (3, 1) if spec.stem_stride == 1 else (7, 2)
    tail = [_norm(spec, norm), layers.ReLU(name=relu)] if normalize else []
    x = _chain(x, [*_conv(filters, size, conv, stride, bias=bias), *tail])
    if spec.stem_stride == 1:
        return x
    pool1 = "pool1" if isinstance(spec, DenseNetSpec) else "pool1_pool"
    return _chain(x, [layers.ZeroPadding2D(1, name="pool1_pad"), layers.MaxPooling2D(3, strides=2, name=pool1)])


# --------------------------------------------------------------------------------------------------- ResNets


@dataclass(frozen=True)
class _Block:
    """One residual block: its name, sizes and survival probability."""

    name: str
    filters: int
    channels: int
    width: int
    stride: int
    dilation_before: int
    dilation: int
    survival_probability: float

    @property
    def keeps_shape(self):
        return self.stride == 1 and self.channels == self.width

    def form(self):
        """Return what all blocks of one stack have in common."""
        return self.filters, self.channels, self.width, self.stride, self.dilation_before, self.dilation


def _blocks(spec, channels):
    """Yield the residual blocks of a network, in order."""
    probabilities = iter(spec.survival_probabilities)
    strides, strided_last = spec.stage_strides, spec.kind.strided_last
    if strided_last:
        strides = (*strides[1:], (1, *strides[-1][2:] * 2))
    for stage, (count, filters, width) in enumerate(zip(spec.blocks, spec.filters, spec.widths)):
        stride, before, dilation = strides[stage]
        at = count - 1 if strided_last else 0
        for i in range(count):
            rates = (stride, before, dilation) if i == at else (1, *(before if i < at else dilation,) * 2)
            name = _name(_NAMES[spec.stem].block, stage, i)
            yield _Block(name, filters, channels, width, *rates, next(probabilities))
            channels = width


def _branch(spec, block):
    """Return the layers of a block's branch."""
    kind = spec.kind
    at, last = kind.strided(spec.stride_in), len(kind.convolutions)
    branch = []
    for i, (size, widening) in enumerate(kind.convolutions):
        stride = block.stride if i == at else 1
        dilation = 1 if size == 1 else block.dilation_before if i == at else block.dilation
        # In the pre-activation blocks of keras.applications only the last convolution has a bias.
        bias = spec.use_bias and (not kind.preactivated or i + 1 == last)
        branch += _conv(widening * block.filters, size, f"conv{i + 1}", stride, dilation, bias)
        if i + 1 < last:
            branch += [_norm(spec, f"norm{i + 1}"), layers.ReLU(name=f"relu{i + 1}")]
    return branch if kind.preactivated else [*branch, _norm(spec, f"norm{last}")]


def _shortcut(spec, block):
    """Return the shortcut of a block; `None` is the identity."""
    if block.keeps_shape:
        return None
    if spec.shortcut in ("average", "slice"):
        return IdentityShortcut(block.width, block.stride, spec.shortcut, name="shortcut")
    if not spec.kind.preactivated:
        conv = _conv(block.width, 1, "conv", block.stride, bias=spec.use_bias)
        return keras.Sequential([*conv, _norm(spec, "norm")], name="shortcut")
    if block.channels == block.width:
        return layers.MaxPooling2D(1, strides=block.stride, name="shortcut")
    return keras.Sequential(_conv(block.width, 1, "conv", block.stride, bias=spec.use_bias), name="shortcut")


def _residual(spec, x, blocks):
    """Add one residual block, or several equal ones as a stack."""
    block = blocks[0]
    branch, shortcut = _branch(spec, block), _shortcut(spec, block)
    if spec.kind.preactivated:
        preactivation = [_norm(spec, "preact_norm"), layers.ReLU(name="preact_relu")]
        if isinstance(shortcut, keras.Sequential):  # a projection reads the pre-activated input, as the branch does
            x = keras.Sequential(preactivation, name=f"{block.name.removesuffix('_out')}_preact")(x)
        else:
            branch = preactivation + branch
    branch = keras.Sequential(branch, name="branch")
    common = {
        "activation": None if spec.kind.preactivated else "relu",
        "granularity": spec.granularity,
        "scaling": spec.scaling,
        "seed": spec.seed,
    }
    # A block between two dilation rates is not stacked: its stack would have the same name as that of the next blocks.
    alone = len(blocks) == 1 and block.dilation_before != block.dilation
    if not spec.stacked or not block.keeps_shape or alone:
        return StochasticDepthResidual(branch, shortcut, block.survival_probability, name=block.name, **common)(x)
    return StochasticDepthStack(
        branch,
        len(blocks),
        [b.survival_probability for b in blocks],
        gates=spec.gates,
        memory_efficient=spec.memory_efficient,
        name=f"{block.name.rsplit('_', 1)[0]}_blocks",
        **common,
    )(x)


def _resnet(spec, x):
    preactivated = spec.kind.preactivated
    x = _stem(spec, x, spec.stem_filters, normalize=not preactivated, bias=spec.use_bias)
    blocks = _blocks(spec, spec.stem_filters)
    if spec.shortcut == "none":
        for block in blocks:
            x = PlainBlock(keras.Sequential(_branch(spec, block), name="branch"), name=block.name)(x)
    else:
        for _, group in itertools.groupby(blocks, _Block.form if spec.stacked else lambda b: b.name):
            x = _residual(spec, x, list(group))
    if preactivated:
        x = _chain(x, [_norm(spec, "post_bn"), layers.ReLU(name="post_relu")])
    return x


# ------------------------------------------------------------------------------------------------- DenseNets


def _densenet(spec, x):
    x = _stem(spec, x, spec.stem_filters or 2 * spec.growth_rate)
    common = {"epsilon": spec.epsilon, "momentum": spec.momentum}
    probabilities = spec.survival_probabilities
    strides, names = spec.stage_strides, _NAMES[spec.stem]
    for stage, count in enumerate(spec.blocks):
        survival, probabilities = probabilities[:count], probabilities[count:]
        x = DenseBlock(
            count,
            spec.growth_rate,
            bottleneck_width=spec.bottleneck_width,
            dropout_rate=spec.dropout_rate,
            memory_efficient=spec.memory_efficient,
            survival_probabilities=survival,
            granularity=spec.granularity,
            scaling=spec.scaling,
            dilation_rate=strides[stage][2],
            seed=spec.seed,
            name=_name(names.dense_block, stage, count - 1),
            **common,
        )(x)
        if stage < len(spec.blocks) - 1:
            pool = strides[stage + 1][0]
            x = _transition(spec, x, stage, pool, common)
    norm, relu = names.end
    return _chain(x, [_norm(spec, norm), layers.ReLU(name=relu)])


def _transition(spec, x, stage, pool, common):
    names = _NAMES[spec.stem]
    name = _name(names.transition, stage)
    if names.pool is None:
        return TransitionLayer(spec.compression, pool, name=name, **common)(x)
    # keras.applications names the features before pooling, so pooling is a separate layer.
    x = TransitionLayer(spec.compression, 1, name=name, **common)(x)
    return x if pool == 1 else layers.AveragePooling2D(pool, name=_name(names.pool, stage))(x)


# ------------------------------------------------------------------------------------------------ perceptrons


def _mlp(spec, x):
    x = layers.Flatten(name="flatten")(x)
    for i, width in enumerate(spec.widths, 1):
        x = layers.Dense(width, "relu", kernel_initializer="he_normal", name=f"hidden{i}")(x)
        if spec.dropout_rate:
            # With a shape: without one, Keras on PyTorch draws from the global generator, which no checkpoint saves.
            x = layers.Dropout(spec.dropout_rate, noise_shape=(None, width), name=f"dropout{i}")(x)
    return x


_BODIES = {MLPSpec: _mlp, ResNetSpec: _resnet, DenseNetSpec: _densenet}
