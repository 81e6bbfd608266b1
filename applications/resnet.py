"""Residual networks, for CIFAR and for ImageNet, and the plain networks that they are compared with."""

from keras_sd.applications.registry import Model, factory, register
from keras_sd.specs import ResNetSpec

_HE = "[He et al., 2016](https://arxiv.org/abs/1512.03385)"


def _cifar_spec(depth=None, blocks=None, filters=(16, 32, 64), **arguments):
    if (depth is None) == (blocks is None):
        raise ValueError(f"One of `depth` and `blocks` must be given. Received: depth={depth!r}, blocks={blocks!r}")
    blocks = ResNetSpec.cifar_depth(depth) if blocks is None else blocks
    return ResNetSpec(blocks=blocks, filters=filters, **arguments)


def _cifar(depth, parameters):
    return Model(f"ResNet{depth}", _cifar_spec(depth), parameters, f"{_HE}, section 4.2 and table 6")


def _plain(depth, parameters):
    spec = _cifar_spec(depth, shortcut="none")
    return Model(f"PlainNet{depth}", spec, parameters, f"{_HE}, section 4.2")


# Shapes, padding and constants of the networks whose weights are published: torchvision's and timm's, and Keras's own.
_TORCH = {"block": "basic"}
_KERAS = {"block": "bottleneck", "use_bias": True, "epsilon": 1.001e-5, "momentum": 0.99}
_KERAS_V2 = {**_KERAS, "block": "preactivation", "stride_in": "middle"}


def _imagenet(name, blocks, parameters, **arguments):
    spec = ResNetSpec(
        blocks=blocks,
        filters=(64, 128, 256, 512),
        stem="imagenet",
        stem_filters=64,
        shortcut="projection",
        stacked=False,  # every block has a layer, named as in keras.applications
        **arguments,
    )
    paper = f"{_HE}, table 1" if "V2" not in name else "[He et al., 2016](https://arxiv.org/abs/1603.05027)"
    return Model(name, spec, parameters, paper, input_shape=(224, 224, 3), classes=1000)


ResNet20, ResNet32, ResNet44, ResNet56, ResNet110, ResNet1202 = register(
    _cifar(20, 269_722),
    _cifar(32, 464_154),
    _cifar(44, 658_586),
    _cifar(56, 853_018),
    _cifar(110, 1_727_962),
    _cifar(1202, 19_421_274),
)

PlainNet20, PlainNet32, PlainNet44, PlainNet56, PlainNet110 = register(
    _plain(20, 269_722), _plain(32, 464_154), _plain(44, 658_586), _plain(56, 853_018), _plain(110, 1_727_962)
)

ResNet18, ResNet34, ResNet50, ResNet101, ResNet152 = register(
    _imagenet("ResNet18", (2, 2, 2, 2), 11_689_512, **_TORCH),
    _imagenet("ResNet34", (3, 4, 6, 3), 21_797_672, **_TORCH),
    _imagenet("ResNet50", (3, 4, 6, 3), 25_583_592, **_KERAS),
    _imagenet("ResNet101", (3, 4, 23, 3), 44_601_832, **_KERAS),
    _imagenet("ResNet152", (3, 8, 36, 3), 60_268_520, **_KERAS),
)

ResNet50V2, ResNet101V2, ResNet152V2 = register(
    _imagenet("ResNet50V2", (3, 4, 6, 3), 25_568_360, **_KERAS_V2),
    _imagenet("ResNet101V2", (3, 4, 23, 3), 44_577_896, **_KERAS_V2),
    _imagenet("ResNet152V2", (3, 8, 36, 3), 60_236_904, **_KERAS_V2),
)

ResNet = factory(
    "ResNet",
    _cifar_spec,
    {"depth": None, "blocks": None, "filters": (16, 32, 64)},
    "A residual network of any depth and width.",
    """depth: Number of layers, `6n + 2`: three stages of `n` basic blocks. Or else give `blocks`.
    blocks: Number of blocks of each stage.
    filters: Channels of the 3x3 convolutions of each stage.
    **spec_arguments: Further fields of `keras_sd.specs.ResNetSpec`.""",
    _HE,
)

PlainNet = factory(
    "PlainNet",
    lambda **arguments: _cifar_spec(shortcut="none", **arguments),
    {"depth": None, "blocks": None, "filters": (16, 32, 64)},
    "A very deep network without shortcuts: what residual networks are compared with.",
    """depth: Number of layers, `6n + 2`: three stages of `n` pairs of convolutions. Or else give `blocks`.
    blocks: Number of pairs of convolutions of each stage.
    filters: Channels of each stage.
    **spec_arguments: Further fields of `keras_sd.specs.ResNetSpec`.""",
    _HE,
)
