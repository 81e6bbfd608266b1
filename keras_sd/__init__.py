"""Networks with stochastic depth and dense connectivity for Keras 3.

Importing this package registers its layers, losses and optimizer: `keras.saving.load_model` then reads files that
hold them.
"""

from keras_sd import layers, schedules, training
from keras_sd._version import __version__
from keras_sd.layers.freezing import freeze, unfreeze
from keras_sd.models.finetune import feature_pyramid, replace_head
from keras_sd.models.fold import fold
from keras_sd.models.runtimes import export_model

__all__ = [
    "__version__",
    "export_model",
    "feature_pyramid",
    "fold",
    "freeze",
    "layers",
    "replace_head",
    "schedules",
    "training",
    "unfreeze",
]
