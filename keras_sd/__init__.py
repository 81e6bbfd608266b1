"""Networks with stochastic depth and dense connectivity for Keras 3."""

from keras_sd._version import __version__

__all__ = ["__version__"]
