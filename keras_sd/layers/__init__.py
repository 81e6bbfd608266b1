"""Layers of networks with stochastic depth and dense connectivity."""

from keras_sd.layers.dense import DenseBlock, TransitionLayer
from keras_sd.layers.normalization import FusedBatchNormalization
from keras_sd.layers.shortcut import IdentityShortcut
from keras_sd.layers.stack import StochasticDepthStack
from keras_sd.layers.stochastic_depth import StochasticDepthResidual

__all__ = [
    "DenseBlock",
    "FusedBatchNormalization",
    "IdentityShortcut",
    "StochasticDepthResidual",
    "StochasticDepthStack",
    "TransitionLayer",
]
