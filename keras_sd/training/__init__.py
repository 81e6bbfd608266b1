"""Recipes of the papers, and training by them into a run folder."""

from keras_sd.training.compiling import compile_model
from keras_sd.training.config import RECIPES, TrainConfig, resolve
from keras_sd.training.fit import evaluate, train
from keras_sd.training.folder import RunFolder, default_path
from keras_sd.training.optimizer import SGD, StepSchedule

__all__ = [
    "RECIPES",
    "SGD",
    "RunFolder",
    "StepSchedule",
    "TrainConfig",
    "compile_model",
    "default_path",
    "evaluate",
    "resolve",
    "train",
]
