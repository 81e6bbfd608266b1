"""Residual networks for CIFAR."""

from keras_sd.applications.factory import Model, factory, register
from keras_sd.specs import ResNetSpec

_HE = "[He et al., 2016](https://arxiv.org/abs/1512.03385)"


def _cifar_spec(depth=None, blocks=None, filters=(16, 32, 64), **arguments):
    if (depth is None) == (blocks is None):
        raise ValueError(f"One of `depth` and `blocks` must be given. Received: depth={depth!r}, blocks={blocks!r}")
    blocks = ResNetSpec.cifar_depth(depth) if blocks is None else blocks
    return ResNetSpec(blocks=blocks, filters=filters, **arguments)


def _cifar(depth, parameters):
    return Model(f"ResNet{depth}", _cifar_spec(depth), parameters, f"{_HE}, section 4.2 and table 6")


ResNet20, ResNet32, ResNet44, ResNet56, ResNet110, ResNet1202 = register(
    _cifar(20, 269_722),
    _cifar(32, 464_154),
    _cifar(44, 658_586),
    _cifar(56, 853_018),
    _cifar(110, 1_727_962),
    _cifar(1202, 19_421_274),
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
