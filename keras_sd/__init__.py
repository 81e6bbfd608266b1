"""Networks with stochastic depth and dense connectivity for Keras 3.

Importing this package registers its layers, so that `keras.saving.load_model` reads files that hold them.
"""

from keras_sd import layers, perceptron, schedules
from keras_sd._version import __version__

__all__ = ["__version__", "layers", "perceptron", "schedules"]
