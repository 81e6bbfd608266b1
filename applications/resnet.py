"""Residual networks, for CIFAR and for ImageNet.

`preprocess_input` is that of keras.applications for `weights="imagenet"` of ResNet50, 101 and 152 (BGR, the mean
subtracted). ResNet18 and ResNet34 have the form of torchvision: weights for them, as all of timm's, take images
as `keras_sd.applications.densenet.preprocess_input` makes them (RGB, mean and standard deviation of ImageNet).
"""

from keras.applications.resnet import decode_predictions, preprocess_input

from keras_sd.applications._registry import Model, PublishedError, register, register_open
from keras_sd.applications.plainnet import cifar_spec
from keras_sd.models.specs import ResNetSpec

__all__ = ["decode_predictions", "preprocess_input"]

_HE = "[He et al., 2016](https://arxiv.org/abs/1512.03385)"


def imagenet_spec(blocks, **arguments):
    """The spec of a network for ImageNet: every block has a layer, named as in keras.applications."""
    return ResNetSpec(
        blocks=blocks,
        filters=(64, 128, 256, 512),
        stem="imagenet",
        stem_filters=64,
        shortcut="projection",
        stacked=False,
        **arguments,
    )


def _cifar(depth, parameters, error):
    published = PublishedError(error, "CIFAR-10", f"{_HE}, table 6")
    source = f"{_HE}, section 4.2 and table 6"
    return Model(f"ResNet{depth}", "resnet", cifar_spec(depth), parameters, source, published)


# Shapes, padding and constants of the networks whose weights are published: torchvision's and timm's, and Keras's own.
_TORCH = {"block": "basic"}
KERAS = {"block": "bottleneck", "use_bias": True, "epsilon": 1.001e-5, "momentum": 0.99}


def _imagenet(name, blocks, parameters, error, data, where, form):
    published = PublishedError(error, f"ImageNet, {data}", f"{_HE}, {where}")
    spec = imagenet_spec(blocks, **form)
    return Model(name, "resnet", spec, parameters, f"{_HE}, table 1", published, (224, 224, 3), 1000)


ResNet20, ResNet32, ResNet44, ResNet56, ResNet110, ResNet1202 = register(
    _cifar(20, 269_722, 8.75),
    _cifar(32, 464_154, 7.51),
    _cifar(44, 658_586, 7.17),
    _cifar(56, 853_018, 6.97),
    _cifar(110, 1_727_962, 6.43),
    _cifar(1202, 19_421_274, 7.93),
)

ResNet18, ResNet34, ResNet50, ResNet101, ResNet152 = register(
    _imagenet("ResNet18", (2, 2, 2, 2), 11_689_512, 27.88, "10 crops, option A", "table 2", _TORCH),
    _imagenet("ResNet34", (3, 4, 6, 3), 21_797_672, 24.52, "10 crops", "table 3", _TORCH),
    _imagenet("ResNet50", (3, 4, 6, 3), 25_583_592, 22.85, "10 crops", "table 3", KERAS),
    _imagenet("ResNet101", (3, 4, 23, 3), 44_601_832, 21.75, "10 crops", "table 3", KERAS),
    _imagenet("ResNet152", (3, 8, 36, 3), 60_268_520, 21.43, "10 crops", "table 3", KERAS),
)

ResNet = register_open(
    "ResNet",
    cifar_spec,
    {"depth": None, "blocks": None, "filters": (16, 32, 64)},
    "A residual network of any depth and width.",
    """depth: Number of layers, `6n + 2`: three stages of `n` basic blocks. Or else give `blocks`.
    blocks: Number of blocks of each stage.
    filters: Channels of the 3x3 convolutions of each stage.
    **spec_arguments: Further fields of `keras_sd.models.specs.ResNetSpec`.""",
    _HE,
)
