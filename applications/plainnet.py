"""Very deep networks without shortcuts, for comparison with residual networks."""

from collections.abc import Sequence

from keras_sd.applications._registry import Model, register, register_constructor
from keras_sd.applications._specs import cifar_resnet
from keras_sd.models.specs import ResNetSpec

__all__ = ["PlainNet", "PlainNet20", "PlainNet32", "PlainNet44", "PlainNet56", "PlainNet110"]

_HE = "[He et al., 2016](https://arxiv.org/abs/1512.03385)"


def _spec(
    depth: int | None = None,
    blocks: Sequence[int] | None = None,
    filters: Sequence[int] = (16, 32, 64),
    **arguments,
) -> ResNetSpec:
    return cifar_resnet(depth, blocks, filters, **{"shortcut": "none", **arguments})


def _cifar(depth, parameters):
    return register(Model(f"PlainNet{depth}", "plainnet", _spec(depth), parameters, f"{_HE}, section 4.2"))


PlainNet20 = _cifar(20, 269_722)
PlainNet32 = _cifar(32, 464_154)
PlainNet44 = _cifar(44, 658_586)
PlainNet56 = _cifar(56, 853_018)
PlainNet110 = _cifar(110, 1_727_962)

PlainNet = register_constructor(
    "PlainNet",
    _spec,
    {"depth": 20},
    "A very deep network without shortcuts, of any depth and width.",
    """depth: Number of layers, `6n + 2`: three stages of `n` pairs of convolutions. Alternatively, pass `blocks`.
    blocks: Number of pairs of convolutions in each stage.
    filters: Channels of each stage.""",
    _HE,
)
