"""Very deep networks without shortcuts: what residual networks are compared with."""

from keras_sd.applications._registry import Model, register, register_open
from keras_sd.models.specs import ResNetSpec

_HE = "[He et al., 2016](https://arxiv.org/abs/1512.03385)"


def cifar_spec(depth=None, blocks=None, filters=(16, 32, 64), **arguments):
    """The spec of a network for CIFAR, residual or plain, by its depth or by the blocks of each stage."""
    if (depth is None) == (blocks is None):
        raise ValueError(f"One of `depth` and `blocks` must be given. Received: depth={depth!r}, blocks={blocks!r}")
    blocks = ResNetSpec.cifar_depth(depth, arguments.get("block", "basic")) if blocks is None else blocks
    return ResNetSpec(blocks=blocks, filters=filters, **arguments)


def _plain_spec(**arguments):
    return cifar_spec(**{"shortcut": "none", **arguments})


def _plain(depth, parameters):
    return Model(f"PlainNet{depth}", "plainnet", _plain_spec(depth=depth), parameters, f"{_HE}, section 4.2")


PlainNet20, PlainNet32, PlainNet44, PlainNet56, PlainNet110 = register(
    _plain(20, 269_722), _plain(32, 464_154), _plain(44, 658_586), _plain(56, 853_018), _plain(110, 1_727_962)
)

PlainNet = register_open(
    "PlainNet",
    _plain_spec,
    {"depth": None, "blocks": None, "filters": (16, 32, 64)},
    "A very deep network without shortcuts, of any depth and width.",
    """depth: Number of layers, `6n + 2`: three stages of `n` pairs of convolutions. Or else give `blocks`.
    blocks: Number of pairs of convolutions of each stage.
    filters: Channels of each stage.
    **spec_arguments: Further fields of `keras_sd.models.specs.ResNetSpec`.""",
    _HE,
)
