"""Named models in the style of keras.applications."""

from keras_sd.applications.resnet import (  # isort: skip  (the order of the table of models)
    ResNet,
    ResNet20,
    ResNet32,
    ResNet44,
    ResNet56,
    ResNet110,
    ResNet1202,
)
from keras_sd.applications.densenet import (
    DenseNet,
    DenseNet40,
    DenseNet100,
    DenseNetBC100,
    DenseNetBC190,
    DenseNetBC250,
)
from keras_sd.applications.factory import MODELS, Model, find, get_model, list_models

__all__ = [
    "MODELS",
    "DenseNet",
    "DenseNet40",
    "DenseNet100",
    "DenseNetBC100",
    "DenseNetBC190",
    "DenseNetBC250",
    "Model",
    "ResNet",
    "ResNet20",
    "ResNet32",
    "ResNet44",
    "ResNet56",
    "ResNet110",
    "ResNet1202",
    "find",
    "get_model",
    "list_models",
]
