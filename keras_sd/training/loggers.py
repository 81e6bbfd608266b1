"""Experiment trackers and user-defined callbacks, selected by name."""

import dataclasses
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

import keras

from keras_sd.training.config import TrainConfig
from keras_sd.training.run_folder import RunFolder
from keras_sd.utils.checks import check_choice, refusal, shown

_KIND = "a function that returns a Keras callback"


class _Tracker(keras.callbacks.Callback):
    """Base class of trackers: logs settings at the beginning, and all metrics after each epoch.

    Args:
        config: The `TrainConfig` of the run.
        folder: Its `RunFolder`.
    """

    def __init__(self, config: TrainConfig, folder: RunFolder) -> None:
        super().__init__()
        self.settings, self.folder = dataclasses.asdict(config), folder

    def on_epoch_end(self, epoch, logs=None):
        self.log({name: float(value) for name, value in (logs or {}).items()}, epoch + 1)


class MLflow(_Tracker):
    """Log a run to MLflow, in the folder `mlflow` next to that of the run unless MLFLOW_TRACKING_URI is set."""

    def on_train_begin(self, logs=None):
        import mlflow

        if not os.environ.get("MLFLOW_TRACKING_URI"):
            mlflow.set_tracking_uri((self.folder.path.absolute().parent / "mlflow").as_uri())
        mlflow.start_run(run_name=self.folder.path.name)
        mlflow.log_params(self.settings)
        self.log = lambda values, epoch: mlflow.log_metrics(values, step=epoch)
        self._end = mlflow.end_run

    def on_train_end(self, logs=None):
        self._end()


class WandB(_Tracker):
    """Log a run to Weights & Biases, configured by its environment variables."""

    def on_train_begin(self, logs=None):
        import wandb

        run = wandb.init(project="keras_sd", name=self.folder.path.name, dir=str(self.folder), config=self.settings)
        self.log = lambda values, epoch: run.log(values, step=epoch)
        self._end = run.finish

    def on_train_end(self, logs=None):
        self._end()


@dataclasses.dataclass(frozen=True)
class Logger:
    """A row of the table of loggers.

    Args:
        package: What must be installed; `None` for nothing.
        make: Function of a `TrainConfig` and a `RunFolder` that returns Keras callbacks.
    """

    package: str | None
    make: Callable[[TrainConfig, RunFolder], list]


LOGGERS = {
    "csv": Logger(None, lambda config, folder: []),  # `history.csv`, which every run has
    "tensorboard": Logger("tensorboard", lambda config, folder: [keras.callbacks.TensorBoard(str(folder.tensorboard))]),
    "mlflow": Logger("mlflow", lambda config, folder: [MLflow(config, folder)]),
    "wandb": Logger("wandb", lambda config, folder: [WandB(config, folder)]),
}


def check_loggers(names: list[str]) -> None:
    """Raise a `ValueError` for a name that is not in `LOGGERS`, or whose package is not installed."""
    for name in names:
        package = LOGGERS[check_choice("logger", name, LOGGERS)].package
        if package and importlib.util.find_spec(package) is None:
            raise refusal("logger", f"another, or {package} installed: `pip install {package}`", name)


def factory_of(name: str) -> Callable[[TrainConfig, RunFolder], keras.callbacks.Callback]:
    """Return a function of a `TrainConfig` and a `RunFolder` that makes a user's callback.

    Args:
        name: "MODULE:FUNCTION"; modules in the working directory are found, too.

    Raises:
        ValueError: There is no such function.
    """
    module, colon, function = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), function) if colon and module and function else None
    except (ImportError, AttributeError) as error:
        raise refusal("callback", f"MODULE:FUNCTION that can be imported ({error})", name) from None
    if not callable(found):
        raise refusal("callback", f"MODULE:FUNCTION, of {_KIND}", name)
    return found


def callbacks(loggers: list[str], factories: list[str], config: TrainConfig, folder: RunFolder) -> list[Any]:
    """Return the Keras callbacks of loggers and of a user's factories.

    Raises:
        ValueError: A name is unknown, or a factory does not return a callback.
    """
    check_loggers(loggers)
    made = [callback for name in dict.fromkeys(loggers) for callback in LOGGERS[name].make(config, folder)]
    for name in factories:
        callback = factory_of(name)(config, folder)
        if not isinstance(callback, keras.callbacks.Callback):
            raise refusal("callback", f"MODULE:FUNCTION, of {_KIND}; it returns {shown(callback)}", name)
        made.append(callback)
    return made
