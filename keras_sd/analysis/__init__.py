"""Analysis of trained networks: blocks, paths, sub-networks, gradients, feature reuse and cost."""

from keras_sd.analysis.cost import flops
from keras_sd.analysis.ensemble import (
    all_gates,
    calibration_error,
    draw_gates,
    expectation,
    pattern_probabilities,
    running_means,
)
from keras_sd.analysis.gradients import GradientHistory, GradientProbe, root_mean_square, signals, similarity
from keras_sd.analysis.lesion import deletions, exchangeable, random_deletions
from keras_sd.analysis.paths import PathGradients, path_lengths, survivors
from keras_sd.analysis.published import IMAGENET, Point
from keras_sd.analysis.reuse import reuse, reuse_map
from keras_sd.analysis.sub_networks import Block, SubNetworks, blocks, error, swapped

__all__ = [
    "IMAGENET",
    "Block",
    "GradientHistory",
    "GradientProbe",
    "PathGradients",
    "Point",
    "SubNetworks",
    "all_gates",
    "blocks",
    "calibration_error",
    "deletions",
    "draw_gates",
    "error",
    "exchangeable",
    "expectation",
    "flops",
    "path_lengths",
    "pattern_probabilities",
    "random_deletions",
    "reuse",
    "reuse_map",
    "root_mean_square",
    "running_means",
    "signals",
    "similarity",
    "survivors",
    "swapped",
]
