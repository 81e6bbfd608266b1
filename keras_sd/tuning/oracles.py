"""KerasTuner's oracles, made reliable: a killed process loses no trial, and no trial is trained twice.

Differences from KerasTuner 1.4.8, and their reasons:

- Its JSON files are written in place, so a kill during a write loses the whole search. Here writes are atomic.
- `end_trial` saves while the trial is still in the list of ongoing ones, so after a kill directly afterward a finished
  trial runs again; one whose result was reported, but not yet ended, would run again and keep its old result.
- `create_trial` writes the trial before the oracle: after a kill in between, the trial counts but is never run.
- Grid search forgets the remaining combinations (https://github.com/keras-team/keras-tuner/issues/1055); here they are
  enumerated, and those already tried are skipped.
- Bayesian optimization may repeat values that were tried, and does not support constraints.
- A worker that dies keeps its trial forever, and the chief waits for it; the other workers end after the last trial, so
  none is left to run it again. Here, the trial of an unresponsive worker is given to another.

Two issues of the original list, 835 (`Hyperband` and its queue of retries) and 976 (the chief's own state), are fixed
in 1.4.8; tests here cover both.
"""

import itertools
import json
import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus

from keras_sd.utils.files import DamagedFileError, read_json, write_atomically

logger = logging.getLogger(__name__)

_GRID_POINTS = 5  # per range
_DRAWS = 1000  # random configurations to try before concluding that none is within the budget
_CANDIDATES = 64


if TYPE_CHECKING:
    from keras_tuner import Oracle as _Oracle  # `Reliable` is a mixin for it
else:
    _Oracle = object


class Reliable(_Oracle):
    """Mixin of all oracles, before one of KerasTuner's.

    Args:
        accepts: Function of a dictionary of values that returns whether they are allowed.
        lease: Float, seconds after which the trial of an unresponsive worker is given to another; `None` for never.
        **arguments: Arguments of KerasTuner's oracle.
    """

    def __init__(
        self,
        accepts: Callable[[dict[str, Any]], bool] = lambda values: True,
        lease: float | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.accepts, self.lease = accepts, lease
        self.failure: str | None = None
        self._seen: dict[str, float] = {}  # time of the last sign of life of each trial's worker
        self.verbose = 0  # its display fails for trials that started in another process

    def save(self) -> None:
        write_atomically(Path(self._get_oracle_fname()), json.dumps(self.get_state()).encode())

    def _save_trial(self, trial):
        path = Path(self._get_trial_dir(trial.trial_id)) / "trial.json"
        write_atomically(path, json.dumps(trial.get_state()).encode())

    def reload(self) -> None:
        """Read the state of the search and its trials. A trial with a damaged file counts as failed.

        Raises:
            DamagedFileError: If the state itself is damaged.
        """
        file = Path(self._get_oracle_fname())
        remedy = "restore it from a copy; to train all trials again, remove it and the folders trial_*"
        state = read_json(file, remedy, {"start_order": list, "end_order": list, "ongoing_trials": dict})
        try:
            self.trials = {trial_id: self._read_trial(trial_id) for trial_id in state["start_order"]}
            self.set_state(state)
            for trial_id in (*self.end_order, *self._retry_queue):
                self.trials[trial_id]  # must be a started trial
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DamagedFileError(file, "is not the state of a search", remedy) from error
        self._retry_queue += [trial.trial_id for trial in self.ongoing_trials.values()]
        self.ongoing_trials: dict[str, Trial] = {}
        self._close()

    def _read_trial(self, trial_id):
        """Return a trial from its file, or a failed one if the file is damaged, so that no other trial is lost."""
        file = Path(self._get_trial_dir(trial_id)) / "trial.json"
        try:
            state = read_json(file)
            trial = Trial.from_state(state)
            if state["trial_id"] != trial_id or state["status"] not in vars(TrialStatus).values():
                raise DamagedFileError(file, "is not that of a trial")
            if trial.status == TrialStatus.COMPLETED and not isinstance(trial.score, int | float):
                raise DamagedFileError(file, "has no score")
            return trial
        except Exception as error:  # KerasTuner's readers raise many kinds
            what = error.what if isinstance(error, DamagedFileError) else "is not that of a trial"
            logger.warning("'%s' %s; trial %s counts as failed", file, what, trial_id)
            trial = Trial(self.hyperparameters.copy(), trial_id, TrialStatus.FAILED)
            trial.message = f"its file {what}"
            return trial

    def _close(self):
        """End trials that had ended without being recorded as such, and queue the others."""
        ongoing, self._retry_queue = dict.fromkeys(self._retry_queue), []
        for trial_id in ongoing:
            trial = self.trials[trial_id]
            if trial.status == TrialStatus.RUNNING and trial.metrics.exists(self.objective.name):
                trial.status = TrialStatus.COMPLETED
            if trial.status not in (TrialStatus.COMPLETED, TrialStatus.FAILED):
                self._retry_queue.append(trial_id)
            elif trial_id not in self.end_order:
                self.end_trial(trial)
        self.save()

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> Trial:
        self._take_back()
        if not self.start_order:
            self.save()  # before the first trial's file, so that a search with trials always has a state
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.RUNNING:
            self._seen[trial.trial_id] = time.monotonic()
        elif trial.status == TrialStatus.STOPPED and self.ongoing_trials:
            trial.status = TrialStatus.IDLE  # it may be needed, if another worker dies
            self.tuner_ids.add(tuner_id)
        return trial

    def _take_back(self):
        """Queue the trials of unresponsive workers."""
        now = time.monotonic()
        for tuner_id, trial in list(self.ongoing_trials.items()):
            if self.lease is not None and now - self._seen.get(trial.trial_id, now) > self.lease:
                del self.ongoing_trials[tuner_id]
                self.tuner_ids.discard(tuner_id)
                self._retry_queue.append(trial.trial_id)

    def get_trial(self, trial_id: str) -> Trial:
        """Return the trial, and record that the worker that requests it is alive."""
        self._seen[trial_id] = time.monotonic()
        return super().get_trial(trial_id)

    @keras_tuner.synchronized
    def end_trial(self, trial: Trial) -> None:
        if trial.trial_id in self.end_order:
            return  # from a worker that was considered dead
        # Workers return values as float32, which may differ from those that were tried.
        trial.hyperparameters = self.trials[trial.trial_id].hyperparameters
        try:
            super().end_trial(trial)
        except RuntimeError as error:  # too many failures: the chief must also know
            self.failure = str(error)
            self._save_trial(self.trials[trial.trial_id])
            raise
        finally:
            if trial.trial_id in self._retry_queue and trial.trial_id in self.end_order:
                self._retry_queue.remove(trial.trial_id)
            self.save()

    def _check_consecutive_failures(self):
        """Check only the last trials, unlike KerasTuner, so that a resumed search can continue."""
        last = [self.trials[trial_id] for trial_id in self.end_order[-self.max_consecutive_failed_trials :]]
        failed = [trial for trial in last if trial.status == TrialStatus.FAILED]
        if len(failed) == self.max_consecutive_failed_trials:
            reason = (failed[-1].message or "see the output of its worker").strip().splitlines()[-1]
            raise RuntimeError(f"the last {len(failed)} trials failed; the reason of the last failure: {reason}")

    def _random_values(self):
        for _ in range(_DRAWS):
            values = super()._random_values()
            if values is None or self.accepts(values):
                return values
        return None


class RandomOracle(Reliable, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class HyperbandOracle(Reliable, keras_tuner.oracles.HyperbandOracle):
    """Hyperband (Li et al., 2018): many short trials, the best of which continue.

    Args:
        max_trials: Integer, number of trials after which it ends even if brackets are left; `None` for all of them.
        **arguments: Arguments of `Reliable` and of KerasTuner's oracle.
    """

    def __init__(self, max_trials: int | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.max_trials = max_trials


class BayesianOracle(Reliable, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimization: a Gaussian process of the score, and its lower confidence bound."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of scikit-learn, about kernels at the edge of their bounds
            response = super().populate_space(trial_id)
            values = response.get("values")
            if values is None or (self.accepts(values) and not self._duplicate(values)):
                return response
            return self._best_of_random()

    def _best_of_random(self):
        """Return the most promising of random values that are allowed and not yet tried."""
        drawn = (self._random_values() for _ in range(_CANDIDATES))
        candidates = [values for values in drawn if values is not None]
        if not candidates:
            return {"status": TrialStatus.STOPPED, "values": None}
        space = self._nonfixed_space()
        x = [[hp.value_to_prob(values.get(hp.name, hp.default)) for hp in space] for values in candidates]
        mean, deviation = self.gpr.predict(np.array(x), return_std=True)
        best = int(np.argmin(mean - self.beta * deviation))
        return {"status": TrialStatus.RUNNING, "values": candidates[best]}


class GridOracle(Reliable, keras_tuner.Oracle):
    """All combinations of all choices, and of five values of each range."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        for values in self._combinations():
            if not self._duplicate(values) and self.accepts(values):
                return {"status": TrialStatus.RUNNING, "values": values}
        return {"status": TrialStatus.STOPPED, "values": None}

    def _combinations(self):
        space = self.hyperparameters.space
        for combination in itertools.product(*map(_grid, space)):
            hps = keras_tuner.HyperParameters()
            for hp, value in zip(space, combination):
                hps.merge([hp])
                if hps.is_active(hp):
                    hps.values[hp.name] = value
            yield hps.values


def _grid(hp):
    """Return all choices of a KerasTuner hyperparameter, or evenly spaced values of a range, including both ends."""
    if not hasattr(hp, "min_value"):
        return list(hp.values)
    if hp.step is not None:
        values = list(hp.values)
    else:
        values = [float(f"{hp.prob_to_value(p):.6g}") for p in np.linspace(0, 1, _GRID_POINTS).tolist()]
    places = np.linspace(0, len(values) - 1, min(len(values), _GRID_POINTS)).round().astype(int)
    return [values[place] for place in places]


ORACLES = {"bayesian": BayesianOracle, "hyperband": HyperbandOracle, "random": RandomOracle, "grid": GridOracle}
