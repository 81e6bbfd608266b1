"""Networks with stochastic depth and dense connectivity for Keras 3.

Importing this package registers its layers, losses and optimizer: `keras.saving.load_model` then reads files that
hold them.
"""

from keras_sd import inference, layers, perceptron, schedules, training
from keras_sd._version import __version__
from keras_sd.features import feature_pyramid, freeze, replace_head, unfreeze

__all__ = [
    "__version__",
    "feature_pyramid",
    "freeze",
    "inference",
    "layers",
    "perceptron",
    "replace_head",
    "schedules",
    "training",
    "unfreeze",
]
