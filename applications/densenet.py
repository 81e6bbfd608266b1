"""Densely connected networks, for CIFAR and for ImageNet."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from keras_sd.applications._registry import Model, PublishedError, register, register_constructor
from keras_sd.applications._specs import check_one_size
from keras_sd.models.specs import DenseNetSpec
from keras_sd.utils.checks import check_flag
from keras_sd.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from keras.applications.densenet import decode_predictions, preprocess_input
else:
    __getattr__ = lazy_exports(__name__)

__all__ = [
    "DenseNet",
    "DenseNet40",
    "DenseNet100",
    "DenseNet121",
    "DenseNet161",
    "DenseNet169",
    "DenseNet201",
    "DenseNet264",
    "DenseNetBC100",
    "DenseNetBC190",
    "DenseNetBC250",
    "decode_predictions",
    "preprocess_input",
]

_HUANG = "[Huang et al., 2017](https://arxiv.org/abs/1608.06993)"
_TORCHVISION = "[torchvision](https://docs.pytorch.org/vision/stable/models.html)"


def _spec(
    depth: int | None = None,
    growth_rate: int = 12,
    bottleneck: bool = True,
    blocks: Sequence[int] | None = None,
    **arguments,
) -> DenseNetSpec:
    check_one_size(depth, blocks)
    check_flag("bottleneck", bottleneck)
    if blocks is None:
        blocks = DenseNetSpec.cifar_depth(cast(int, depth), bottleneck)
    basic = {} if bottleneck else {"bottleneck_width": 0, "compression": 1.0, "stem_filters": 16}
    return DenseNetSpec(blocks=cast(tuple, blocks), growth_rate=growth_rate, **{**basic, **arguments})


def _cifar(name, depth, growth_rate, parameters, error):
    spec = _spec(depth, growth_rate, bottleneck="BC" in name)
    published = PublishedError(error, "CIFAR-10", f"{_HUANG}, table 2")
    return register(Model(name, "densenet", spec, parameters, f"{_HUANG}, section 3 and table 2", published))


def _imagenet(depth, blocks, parameters, error, growth_rate=32, source=f"{_HUANG}, table 3"):
    spec = DenseNetSpec(blocks=blocks, growth_rate=growth_rate, stem="imagenet", epsilon=1.001e-5, momentum=0.99)
    name, published = f"DenseNet{depth}", PublishedError(error, "ImageNet, 1 crop", source)
    return register(Model(name, "densenet", spec, parameters, f"{_HUANG}, table 1", published, (224, 224, 3), 1000))


DenseNet40 = _cifar("DenseNet40", 40, 12, 1_019_754, 5.24)
DenseNet100 = _cifar("DenseNet100", 100, 12, 6_979_674, 4.10)
DenseNetBC100 = _cifar("DenseNetBC100", 100, 12, 769_210, 4.51)
DenseNetBC250 = _cifar("DenseNetBC250", 250, 24, 15_324_502, 3.62)
DenseNetBC190 = _cifar("DenseNetBC190", 190, 40, 25_624_590, 3.46)

DenseNet121 = _imagenet(121, (6, 12, 24, 16), 7_978_856, 25.02)
DenseNet161 = _imagenet(161, (6, 12, 36, 24), 28_681_000, 22.86, 48, _TORCHVISION)
DenseNet169 = _imagenet(169, (6, 12, 32, 32), 14_149_480, 23.80)
DenseNet201 = _imagenet(201, (6, 12, 48, 32), 20_013_928, 22.58)
DenseNet264 = _imagenet(264, (6, 12, 64, 48), 33_337_704, 22.15)

DenseNet = register_constructor(
    "DenseNet",
    _spec,
    {"depth": 40},
    "A densely connected network of any depth and growth rate.",
    """depth: Number of layers: `6n + 4` with bottlenecks, `3n + 4` without, in three dense blocks of `n` layers.
        Alternatively, pass `blocks`.
    growth_rate: Features that each layer adds.
    bottleneck: Whether to build DenseNet-BC (bottlenecks, and transitions that halve the features) or the basic
        DenseNet.
    blocks: Number of layers of each dense block.""",
    _HUANG,
)
