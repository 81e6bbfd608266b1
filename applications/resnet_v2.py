"""Residual networks with pre-activation, for CIFAR and for ImageNet."""

from typing import TYPE_CHECKING

from keras_sd.applications._registry import Model, PublishedError, register
from keras_sd.applications._specs import KERAS, cifar_resnet, imagenet_resnet
from keras_sd.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from keras.applications.resnet_v2 import decode_predictions, preprocess_input
else:
    __getattr__ = lazy_exports(__name__)

__all__ = [
    "ResNet50V2",
    "ResNet101V2",
    "ResNet152V2",
    "ResNet164",
    "ResNet1001",
    "decode_predictions",
    "preprocess_input",
]

_HE = "[He et al., 2016](https://arxiv.org/abs/1603.05027)"
_HUANG = "[Huang et al., 2017](https://arxiv.org/abs/1608.06993)"
_KERAS_DOCS = "[Keras](https://keras.io/api/applications)"


def _cifar(depth, parameters, error):
    spec = cifar_resnet(depth, block="preactivation_bottleneck", shortcut="projection")
    published = PublishedError(error, "CIFAR-10", f"{_HUANG}, table 2")
    return register(Model(f"ResNet{depth}", "resnet_v2", spec, parameters, f"{_HE}, section 4", published))


def _imagenet(depth, blocks, parameters, error):
    spec = imagenet_resnet(blocks, **{**KERAS, "block": "preactivation", "stride_in": "middle"})
    published = PublishedError(error, "ImageNet, 1 crop", _KERAS_DOCS)
    return register(Model(f"ResNet{depth}V2", "resnet_v2", spec, parameters, _HE, published, (224, 224, 3), 1000))


ResNet164 = _cifar(164, 1_703_258, 5.46)
ResNet1001 = _cifar(1001, 10_327_706, 4.62)

ResNet50V2 = _imagenet(50, (3, 4, 6, 3), 25_568_360, 24.0)
ResNet101V2 = _imagenet(101, (3, 4, 23, 3), 44_577_896, 22.8)
ResNet152V2 = _imagenet(152, (3, 8, 36, 3), 60_236_904, 22.0)
