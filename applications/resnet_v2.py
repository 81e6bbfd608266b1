"""Residual networks with pre-activation, for ImageNet."""

from keras.applications.resnet_v2 import decode_predictions, preprocess_input

from keras_sd.applications._registry import Model, PublishedError, register
from keras_sd.applications.resnet import KERAS, imagenet_spec

__all__ = ["decode_predictions", "preprocess_input"]

_HE = "[He et al., 2016](https://arxiv.org/abs/1603.05027)"
_KERAS_DOCS = "[Keras](https://keras.io/api/applications)"


def _imagenet(name, blocks, parameters, error):
    spec = imagenet_spec(blocks, **{**KERAS, "block": "preactivation", "stride_in": "middle"})
    published = PublishedError(error, "ImageNet, 1 crop", _KERAS_DOCS)
    return Model(name, "resnet_v2", spec, parameters, _HE, published, (224, 224, 3), 1000)


ResNet50V2, ResNet101V2, ResNet152V2 = register(
    _imagenet("ResNet50V2", (3, 4, 6, 3), 25_568_360, 24.0),
    _imagenet("ResNet101V2", (3, 4, 23, 3), 44_577_896, 22.8),
    _imagenet("ResNet152V2", (3, 8, 36, 3), 60_236_904, 22.0),
)
