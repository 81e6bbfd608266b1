"""Recipes of the papers, and training by them into a run folder."""

from keras_sd.training.averaging import averaged, recalibrate
from keras_sd.training.compiling import compile_model
from keras_sd.training.config import TrainConfig
from keras_sd.training.fit import OVER, train
from keras_sd.training.folder import RunFolder, default_path
from keras_sd.training.optimizer import LAMB, SGD
from keras_sd.training.recipes import RECIPES, resolve
from keras_sd.training.schedules import OneCycleSchedule, StepSchedule
from keras_sd.training.testing import evaluate, recalibrate_by

__all__ = [
    "LAMB",
    "OVER",
    "RECIPES",
    "SGD",
    "OneCycleSchedule",
    "RunFolder",
    "StepSchedule",
    "TrainConfig",
    "averaged",
    "compile_model",
    "default_path",
    "evaluate",
    "recalibrate",
    "recalibrate_by",
    "resolve",
    "train",
]
