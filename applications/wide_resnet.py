"""Wide residual networks: fewer layers with more channels than the residual networks for CIFAR."""

from keras_sd.applications._registry import Model, PublishedError, register, register_constructor
from keras_sd.models.specs import ResNetSpec
from keras_sd.utils.checks import check_integer

__all__ = ["WideResNet", "WideResNet28_10", "WideResNet40_4"]

_WIDE = "[Zagoruyko and Komodakis, 2016](https://arxiv.org/abs/1605.07146)"
_HUANG = "[Huang et al., 2017](https://arxiv.org/abs/1608.06993)"


def _spec(depth: int = 28, widen_factor: int = 10, **arguments) -> ResNetSpec:
    check_integer("widen_factor", widen_factor, maximum=1000)
    filters = tuple(widen_factor * filters for filters in (16, 32, 64))
    form = {"block": "preactivation_basic", "shortcut": "projection"}
    return ResNetSpec(**{"blocks": ResNetSpec.wide_depth(depth), "filters": filters, **form, **arguments})


def _cifar(depth, widen_factor, parameters, published=None):
    name, source = f"WideResNet{depth}_{widen_factor}", f"{_WIDE}, section 2 and table 1"
    return register(Model(name, "wide_resnet", _spec(depth, widen_factor), parameters, source, published))


WideResNet28_10 = _cifar(28, 10, 36_479_194, PublishedError(4.17, "CIFAR-10", f"{_HUANG}, table 2"))
WideResNet40_4 = _cifar(40, 4, 8_949_210)

WideResNet = register_constructor(
    "WideResNet",
    _spec,
    {},
    "A wide residual network of any depth and width.",
    """depth: Number of layers, `6n + 4`, as the paper counts them: three stages of `n` blocks of two convolutions,
        the stem, and three projections.
    widen_factor: Channels of the stages, as a multiple of 16, 32 and 64.""",
    _WIDE,
)
