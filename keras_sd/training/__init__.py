"""Recipes of the papers, and training with them into a run folder."""

from typing import TYPE_CHECKING

from keras_sd.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from keras_sd.training.averaging import averaged, recalibrate
    from keras_sd.training.config import TrainConfig
    from keras_sd.training.evaluation import evaluate, recalibrate_by
    from keras_sd.training.learning_rates import OneCycleSchedule, StepSchedule
    from keras_sd.training.loop import OVER, compile_model, train
    from keras_sd.training.optimizers import LAMB, SGD, norm_and_bias_variables
    from keras_sd.training.recipes import RECIPES, resolve
    from keras_sd.training.run_folder import RunFolder, default_path
else:
    __getattr__ = lazy_exports(__name__)

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
    "norm_and_bias_variables",
    "recalibrate",
    "recalibrate_by",
    "resolve",
    "train",
]
