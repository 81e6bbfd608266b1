"""Layers of networks with stochastic depth and dense connectivity."""

from keras_sd.layers.normalization import FusedBatchNormalization
from keras_sd.layers.stack import StochasticDepthStack
from keras_sd.layers.stochastic_depth import StochasticDepthResidual

__all__ = ["FusedBatchNormalization", "StochasticDepthResidual", "StochasticDepthStack"]
