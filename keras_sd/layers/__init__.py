"""Layers for networks with stochastic depth and dense connectivity."""

from keras_sd.layers.convolution import Conv2D
from keras_sd.layers.dense import DenseBlock, TransitionLayer
from keras_sd.layers.normalization import FusedBatchNormalization
from keras_sd.layers.plain import PlainBlock
from keras_sd.layers.residual import StochasticDepthResidual
from keras_sd.layers.shortcut import IdentityShortcut
from keras_sd.layers.stack import StochasticDepthStack
from keras_sd.layers.threshold_units import perceptron_loss, threshold

__all__ = [
    "Conv2D",
    "DenseBlock",
    "FusedBatchNormalization",
    "IdentityShortcut",
    "PlainBlock",
    "StochasticDepthResidual",
    "StochasticDepthStack",
    "TransitionLayer",
    "perceptron_loss",
    "threshold",
]
