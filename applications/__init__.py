"""Named models in the style of keras.applications."""

# isort: off  (historical order, as in the table of models)
from keras_sd.applications.perceptron import MLP, Perceptron
from keras_sd.applications.plainnet import (
    PlainNet,
    PlainNet20,
    PlainNet32,
    PlainNet44,
    PlainNet56,
    PlainNet110,
)
from keras_sd.applications.resnet import (
    ResNet,
    ResNet18,
    ResNet20,
    ResNet32,
    ResNet34,
    ResNet44,
    ResNet50,
    ResNet56,
    ResNet101,
    ResNet110,
    ResNet152,
    ResNet1202,
)
from keras_sd.applications.resnet_v2 import ResNet50V2, ResNet101V2, ResNet152V2, ResNet164, ResNet1001
from keras_sd.applications.wide_resnet import WideResNet, WideResNet28_10, WideResNet40_4
from keras_sd.applications.densenet import (
    DenseNet,
    DenseNet40,
    DenseNet100,
    DenseNet121,
    DenseNet161,
    DenseNet169,
    DenseNet201,
    DenseNet264,
    DenseNetBC100,
    DenseNetBC190,
    DenseNetBC250,
)

# isort: on
from keras_sd.applications._registry import MODELS, Model, find, get_model, list_models

__all__ = [
    "MODELS",
    "DenseNet",
    "Model",
    "PlainNet",
    "ResNet",
    "WideResNet",
    "find",
    "get_model",
    "list_models",
    "model_card",
    "models_table",
    *MODELS,
]


def __getattr__(name):
    # Imported on demand: cards and the table count the cost of models, which building them does not need.
    if name in ("model_card", "models_table"):
        from keras_sd.applications import _cards

        return getattr(_cards, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
