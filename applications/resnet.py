"""Residual networks, for CIFAR and for ImageNet.

`preprocess_input` is that of keras.applications for `weights="imagenet"` of ResNet50, 101 and 152 (BGR, mean
subtracted). ResNet18 and ResNet34 follow torchvision. Their weights, like all of timm's, need images preprocessed by
`keras_sd.applications.densenet.preprocess_input` (RGB, mean and standard deviation of ImageNet).
"""

from typing import TYPE_CHECKING

from keras_sd.applications._registry import Model, PublishedError, register, register_constructor
from keras_sd.applications._specs import KERAS, TORCH, cifar_resnet, imagenet_resnet
from keras_sd.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from keras.applications.resnet import decode_predictions, preprocess_input
else:
    __getattr__ = lazy_exports(__name__)

__all__ = [
    "ResNet",
    "ResNet18",
    "ResNet20",
    "ResNet32",
    "ResNet34",
    "ResNet44",
    "ResNet50",
    "ResNet56",
    "ResNet101",
    "ResNet110",
    "ResNet152",
    "ResNet1202",
    "decode_predictions",
    "preprocess_input",
]

_HE = "[He et al., 2016](https://arxiv.org/abs/1512.03385)"


def _cifar(depth, parameters, error):
    published = PublishedError(error, "CIFAR-10", f"{_HE}, table 6")
    source = f"{_HE}, section 4.2 and table 6"
    return register(Model(f"ResNet{depth}", "resnet", cifar_resnet(depth), parameters, source, published))


def _imagenet(depth, blocks, parameters, error, data, where, form):
    published = PublishedError(error, f"ImageNet, {data}", f"{_HE}, {where}")
    spec, source = imagenet_resnet(blocks, **form), f"{_HE}, table 1"
    return register(Model(f"ResNet{depth}", "resnet", spec, parameters, source, published, (224, 224, 3), 1000))


ResNet20 = _cifar(20, 269_722, 8.75)
ResNet32 = _cifar(32, 464_154, 7.51)
ResNet44 = _cifar(44, 658_586, 7.17)
ResNet56 = _cifar(56, 853_018, 6.97)
ResNet110 = _cifar(110, 1_727_962, 6.43)
ResNet1202 = _cifar(1202, 19_421_274, 7.93)

ResNet18 = _imagenet(18, (2, 2, 2, 2), 11_689_512, 27.88, "10 crops, option A", "table 2", TORCH)
ResNet34 = _imagenet(34, (3, 4, 6, 3), 21_797_672, 24.52, "10 crops", "table 3", TORCH)
ResNet50 = _imagenet(50, (3, 4, 6, 3), 25_583_592, 22.85, "10 crops", "table 3", KERAS)
ResNet101 = _imagenet(101, (3, 4, 23, 3), 44_601_832, 21.75, "10 crops", "table 3", KERAS)
ResNet152 = _imagenet(152, (3, 8, 36, 3), 60_268_520, 21.43, "10 crops", "table 3", KERAS)

ResNet = register_constructor(
    "ResNet",
    cifar_resnet,
    {"depth": 20},
    "A residual network of any depth and width.",
    """depth: Number of layers, `6n + 2`: three stages of `n` basic blocks. Alternatively, pass `blocks`.
    blocks: Number of blocks in each stage.
    filters: Channels of the 3x3 convolutions of each stage.""",
    _HE,
)
