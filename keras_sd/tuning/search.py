"""The search: how a trial runs, and which files it writes."""

import dataclasses
import json
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
from keras_tuner.engine.trial import Trial, TrialStatus

from keras_sd import training
from keras_sd.training.callbacks import HistoryFile
from keras_sd.tuning.hypermodels import StochasticDepthHyperModel
from keras_sd.tuning.oracles import ORACLES
from keras_sd.tuning.tuner import ReliableTuner
from keras_sd.utils import retracing
from keras_sd.utils.checks import check_type, refusal
from keras_sd.utils.files import DamagedFileError, check_record, read_json, save_atomically, write_atomically
from keras_sd.utils.names import unknown

logger = logging.getLogger(__name__)
METRICS = ("score", "val_error", "parameters", "training_flops", "epoch_seconds")


class Search(ReliableTuner):
    """A search that can be killed at any time and resumes when the same call is repeated.

    Finished trials are never lost or trained again; an unfinished trial starts over.

    Args:
        hypermodel: A `StochasticDepthResNet` or a `StochasticDenseNet`.
        tuner: One of `keras_sd.tuning.ORACLES`: "bayesian", "hyperband", "random" or "grid".
        trials: Integer, maximum number of trials; `None` for all trials of Hyperband or the grid.
        epochs: Integer, epochs of a trial, for Hyperband of the longest ones; defaults to those of the hypermodel's
            configuration.
        directory: Path of the search's folder; an existing search in it is resumed.
        seed: Integer of at least 0, random seed of the configurations.
        patience: Integer, epochs without a better score after which a trial ends; `None` for never.
        warm_start: Boolean, whether a trial starts from the weights of the best one with the same architecture, for
            example with another survival probability. Such a trial is trained for longer than the others.
        lease: Float, seconds after which the trial of an unresponsive worker is given to another.
        log: Function of a line of text; defaults to `print`.

    Raises:
        ValueError: If the tuner is unknown, or a number is out of range.
    """

    def __init__(
        self,
        hypermodel: StochasticDepthHyperModel,
        tuner: str = "bayesian",
        trials: int | None = 20,
        epochs: int | None = None,
        directory: str | os.PathLike = "search",
        seed: int = 0,
        patience: int | None = None,
        warm_start: bool = False,
        lease: float = 60.0,
        log: Callable[[str], Any] = print,
    ) -> None:
        kind = "a `StochasticDepthHyperModel`, such as `StochasticDenseNet`"
        check_type("hypermodel", hypermodel, StochasticDepthHyperModel, kind)
        check_options(tuner, trials, epochs, patience)
        self.epochs = epochs or hypermodel.base.epochs
        self.patience, self.warm_start, self.log = patience, warm_start, log
        oracle = ORACLES[tuner](
            objective=hypermodel.objective,
            max_trials=trials,
            seed=seed + 1,  # KerasTuner treats 0 as no seed
            accepts=hypermodel.accepts,
            lease=lease,
            **({"max_epochs": self.epochs} if tuner == "hyperband" else {}),
        )
        super().__init__(oracle, hypermodel, directory)

    def is_over(self) -> bool:
        """Return whether all trials have ended. Without `trials`, this is known only when the oracle is asked."""
        oracle = self.oracle
        return oracle.max_trials is not None and len(oracle.end_order) >= oracle.max_trials

    def search(self) -> None:
        """Run the remaining trials; as a worker, those assigned by the chief."""
        with retracing.meant():  # every trial has a separate network
            super().search()

    def on_trial_begin(self, trial: Trial) -> None:
        super().on_trial_begin(trial)
        values = self.hypermodel.values(trial.hyperparameters)
        self.log(f"trial {trial.trial_id}: {describe(values)}")

    def on_trial_end(self, trial: Trial) -> None:
        super().on_trial_end(trial)
        if trial.status == TrialStatus.COMPLETED:
            result = self.result(trial.trial_id)["metrics"]
            best = self.oracle.get_best_trials(1)[0].score
            self.log(
                f"trial {trial.trial_id}: validation error {result['val_error']:.4f}, {result['parameters']:,.0f} "
                f"parameters, {result['epoch_seconds']:.1f} s an epoch; best score so far {best:.4f}"
            )
        else:
            reason = (trial.message or "").strip().splitlines()[-1:] or ["unknown"]
            self.log(f"trial {trial.trial_id}: failed, {reason[0]}")

    def run_trial(self, trial: Trial) -> dict[str, float]:
        """Train a configuration, unless it was already trained when the process was killed.

        Returns:
            A dictionary of the metrics of the epoch with the best score.
        """
        values = dict(trial.hyperparameters.values)
        done = self.result(trial.trial_id)
        if done.get("held") == values:
            return done["metrics"]
        with self.sign_of_life(trial.trial_id):
            return self._train(trial, values)

    def _train(self, trial, values):
        hp = trial.hyperparameters
        folder = Path(self.get_trial_dir(trial.trial_id))
        history_file, checkpoint = folder / "history.csv", self._get_checkpoint_fname(trial.trial_id)
        history_file.unlink(missing_ok=True)
        config = self.hypermodel.configure(self.hypermodel.values(hp))
        keras.utils.clear_session()
        keras.utils.set_random_seed(config.seed)
        model = self.hypermodel.build(hp)
        source = values.get("tuner/trial_id") or (self._relative(hp) if self.warm_start else None)
        if source is not None and not self._load_weights(model, source):
            source = None
        callbacks = [
            HistoryFile(history_file, config.batch_size),
            _BestScore(checkpoint),
        ]
        if self.patience:
            callbacks.append(keras.callbacks.EarlyStopping("score", patience=self.patience, mode="min"))
        history = self.hypermodel.fit(
            hp,
            model,
            epochs=values.get("tuner/epochs", self.epochs),
            initial_epoch=values.get("tuner/initial_epoch", 0) if source else 0,
            callbacks=callbacks,
        )
        epoch = min(range(len(history.history["score"])), key=history.history["score"].__getitem__)
        metrics = {name: float(column[epoch]) for name, column in history.history.items()}
        result = {"held": values, "metrics": metrics, "epoch": history.epoch[epoch] + 1, "started_from": source}
        result["config"] = dataclasses.asdict(config)
        write_atomically(folder / "result.json", json.dumps(result, indent=2).encode())
        return metrics

    def _load_weights(self, model, trial_id):
        """Load the weights of another trial; return whether that succeeded. A damaged file must not fail this trial."""
        file, own = self._get_checkpoint_fname(trial_id), model.get_weights()
        try:
            with warnings.catch_warnings():  # of the optimizer, which starts over with the learning rate
                warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
                model.load_weights(file)
        except Exception as error:  # h5py and Keras raise many kinds
            logger.warning("'%s' cannot be loaded (%s); the trial starts from newly initialized weights", file, error)
            model.set_weights(own)
            return False
        return True

    def result(self, trial_id: str) -> dict[str, Any]:
        """Return the content of a trial's `result.json`; an empty dictionary if it is missing or damaged."""
        file = self.path / f"trial_{trial_id}" / "result.json"
        if not file.exists():
            return {}
        try:
            result = read_json(file, kinds={"held": dict, "metrics": dict})
            check_record(file, result["metrics"], dict.fromkeys(METRICS, (int, float)), prefix="metrics.")
        except DamagedFileError as error:
            logger.warning("'%s' %s; it is ignored", error.path, error.what)
            return {}
        return result

    def completed(self) -> list[Trial]:
        """Return the trials with a score, the best first. Ties have a fixed order, even when read from files."""
        done = [t for t in self.oracle.trials.values() if t.status == TrialStatus.COMPLETED]
        return sorted(done, key=lambda trial: (trial.score, trial.trial_id))

    def _relative(self, hp):
        """Return the best trial with the architecture of `hp` and local weights; `None` if there is none."""
        own = self.hypermodel.architecture(hp)
        for trial in self.completed():
            here = Path(self._get_checkpoint_fname(trial.trial_id)).exists()
            if here and self.hypermodel.architecture(trial.hyperparameters) == own:
                return trial.trial_id
        return None

    def best_config(self, epochs: int | None = None) -> training.TrainConfig:
        """Return the `TrainConfig` of the best trial; `epochs` defaults to that of the hypermodel.

        Raises:
            ValueError: If no trial has a score.
        """
        completed = self.completed()
        if not completed:
            raise ValueError("no trial of the search has a score: all failed, or none has ended")
        values = self.hypermodel.values(completed[0].hyperparameters)
        return self.hypermodel.configure(values, epochs=epochs or self.hypermodel.base.epochs)

    def train_best(
        self, epochs: int | None = None, callbacks: Iterable[keras.callbacks.Callback] = ()
    ) -> tuple[training.RunFolder, dict[str, Any]]:
        """Train the best configuration from scratch for all epochs, in a run folder next to the trials.

        An unfinished such training is resumed.

        Args:
            epochs: Integer; defaults to that of the hypermodel's configuration.
            callbacks: Keras callbacks.

        Returns:
            A pair: the `RunFolder` and the run's results.
        """
        config = self.best_config(epochs)
        keras.utils.clear_session()
        keras.utils.set_random_seed(config.seed)
        folder = training.RunFolder(self.path / f"best-{self.completed()[0].trial_id}")
        folder.path.mkdir(exist_ok=True)
        model = self.hypermodel.build_model(config)
        return folder, training.train(model, self.hypermodel.dataset, config, folder, callbacks, resume=True)


class _BestScore(keras.callbacks.Callback):
    """Callback that saves the weights of the epoch with the best score, atomically."""

    def __init__(self, path):
        super().__init__()
        self.path, self.score = path, math.inf

    def on_epoch_end(self, epoch, logs=None):
        if logs["score"] < self.score:
            self.score = logs["score"]
            save_atomically(self.model.save_weights, self.path)


def describe(values: dict[str, Any]) -> str:
    """Return values as one line of text."""
    texts = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in values.items()}
    return ", ".join(f"{name}={text}" for name, text in texts.items())


def check_options(
    tuner: str, trials: int | None = None, epochs: int | None = None, patience: int | None = None
) -> None:
    """Raise a `ValueError` for arguments of `Search` that are not allowed."""
    if tuner not in ORACLES:
        raise unknown("tuner", tuner, ORACLES)
    if trials is None and tuner not in ("grid", "hyperband"):
        raise refusal("trials", f"a number with the tuner {tuner!r}", None)
    for name, value in (("trials", trials), ("epochs", epochs), ("patience", patience)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise refusal(name, "a whole number of at least 1", value)
