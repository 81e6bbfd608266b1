"""Densely connected networks, for CIFAR and for ImageNet."""

from keras_sd.applications.registry import Model, factory, register
from keras_sd.specs import DenseNetSpec

_HUANG = "[Huang et al., 2017](https://arxiv.org/abs/1608.06993)"


def _cifar_spec(depth=None, growth_rate=12, bottleneck=True, blocks=None, **arguments):
    if (depth is None) == (blocks is None):
        raise ValueError(f"One of `depth` and `blocks` must be given. Received: depth={depth!r}, blocks={blocks!r}")
    blocks = DenseNetSpec.cifar_depth(depth, bottleneck) if blocks is None else blocks
    basic = {} if bottleneck else {"bottleneck_width": 0, "compression": 1.0, "stem_filters": 16}
    return DenseNetSpec(blocks=blocks, growth_rate=growth_rate, **{**basic, **arguments})


def _cifar(name, depth, growth_rate, parameters):
    spec = _cifar_spec(depth, growth_rate, bottleneck="BC" in name)
    return Model(name, spec, parameters, f"{_HUANG}, section 3 and table 2")


DenseNet40, DenseNet100, DenseNetBC100, DenseNetBC250, DenseNetBC190 = register(
    _cifar("DenseNet40", 40, 12, 1_019_754),
    _cifar("DenseNet100", 100, 12, 6_979_674),
    _cifar("DenseNetBC100", 100, 12, 769_210),
    _cifar("DenseNetBC250", 250, 24, 15_324_502),
    _cifar("DenseNetBC190", 190, 40, 25_624_590),
)


def _imagenet(name, blocks, parameters, growth_rate=32):
    spec = DenseNetSpec(blocks=blocks, growth_rate=growth_rate, stem="imagenet", epsilon=1.001e-5, momentum=0.99)
    return Model(name, spec, parameters, f"{_HUANG}, table 1", input_shape=(224, 224, 3), classes=1000)


DenseNet121, DenseNet161, DenseNet169, DenseNet201, DenseNet264 = register(
    _imagenet("DenseNet121", (6, 12, 24, 16), 7_978_856),
    _imagenet("DenseNet161", (6, 12, 36, 24), 28_681_000, growth_rate=48),
    _imagenet("DenseNet169", (6, 12, 32, 32), 14_149_480),
    _imagenet("DenseNet201", (6, 12, 48, 32), 20_013_928),
    _imagenet("DenseNet264", (6, 12, 64, 48), 33_337_704),
)

DenseNet = factory(
    "DenseNet",
    _cifar_spec,
    {"depth": None, "growth_rate": 12, "bottleneck": True, "blocks": None},
    "A densely connected network of any depth and growth rate.",
    """depth: Number of layers: `6n + 4` with bottlenecks, `3n + 4` without, in three dense blocks of `n` layers.
        Or else give `blocks`.
    growth_rate: Features that each layer adds.
    bottleneck: The paper's DenseNet-BC (bottlenecks, and transitions that halve the features), or the basic
        DenseNet.
    blocks: Number of layers of each dense block.
    **spec_arguments: Further fields of `keras_sd.specs.DenseNetSpec`.""",
    _HUANG,
)
