"""KerasTuner's oracles, such that nothing is lost when a process is killed, and nothing is trained twice.

What they add to KerasTuner 1.4.8, and why:

- Its JSON files are written in place: a kill while it writes loses the whole search. Here they are replaced whole.
- `end_trial` saves while the trial is still on the list of ongoing ones, so that after a kill behind it a finished
  trial runs again; one whose result was reported, but not yet ended, would run again and keep its old result.
- `create_trial` writes the trial before the oracle: after a kill in between the trial counts, and is never run.
- Grid search forgets which combinations follow (https://github.com/keras-team/keras-tuner/issues/1055); here they are
  counted up, and those that were tried are left out.
- Bayesian optimization suggests values again that were tried, and knows no constraint.
- A worker that dies keeps its trial for ever, and the chief waits for it; other workers leave at the last trial and
  nobody is there to run it again. Here a trial whose worker is silent is given to another.

Of the issues that began this list, 835 (`Hyperband` and its queue of retries) and 976 (the chief's own state) are
mended in 1.4.8; tests here cover both.
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

_GRID_POINTS = 5  # of a range
_DRAWS = 1000  # of configurations at random before the budget is taken to leave none
_CANDIDATES = 64


if TYPE_CHECKING:
    from keras_tuner import Oracle as _Oracle  # before which it is mixed in
else:
    _Oracle = object


class Reliable(_Oracle):
    """What all oracles share: mixed in before one of KerasTuner's.

    Args:
        accepts: Function of a dictionary of values, whether they may be tried at all.
        lease: Float, seconds after which the trial of a silent worker is given to another; `None` for never.
        **arguments: Of KerasTuner's oracle.
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
        self._seen: dict[str, float] = {}  # when a trial's worker was last heard of
        self.verbose = 0  # its display fails for trials that began in another process

    def save(self) -> None:
        write_atomically(Path(self._get_oracle_fname()), json.dumps(self.get_state()).encode())

    def _save_trial(self, trial):
        path = Path(self._get_trial_dir(trial.trial_id)) / "trial.json"
        write_atomically(path, json.dumps(trial.get_state()).encode())

    def reload(self) -> None:
        """Read the state of the search, and its trials; one whose file is damaged counts as failed.

        Raises:
            DamagedFileError: The state itself is damaged.
        """
        file = Path(self._get_oracle_fname())
        remedy = "restore it from a copy; to train all trials again, remove it and the folders trial_*"
        state = read_json(file, remedy, {"start_order": list, "end_order": list, "ongoing_trials": dict})
        try:
            self.trials = {trial_id: self._read_trial(trial_id) for trial_id in state["start_order"]}
            self.set_state(state)
            for trial_id in (*self.end_order, *self._retry_queue):
                self.trials[trial_id]  # which must be one that began
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DamagedFileError(file, "is no state of a search", remedy) from error
        self._retry_queue += [trial.trial_id for trial in self.ongoing_trials.values()]
        self.ongoing_trials: dict[str, Trial] = {}
        self._close()

    def _read_trial(self, trial_id):
        """A trial as its file has it; a failed one where that is damaged, so that it is lost and no other."""
        file = Path(self._get_trial_dir(trial_id)) / "trial.json"
        try:
            state = read_json(file)
            trial = Trial.from_state(state)
            if state["trial_id"] != trial_id or state["status"] not in vars(TrialStatus).values():
                raise DamagedFileError(file, "is no trial's")
            if trial.status == TrialStatus.COMPLETED and not isinstance(trial.score, int | float):
                raise DamagedFileError(file, "has no score")
            return trial
        except Exception as error:  # KerasTuner's readers fail in their own ways
            what = error.what if isinstance(error, DamagedFileError) else "is no trial's"
            logger.warning("'%s' %s; trial %s counts as failed", file, what, trial_id)
            trial = Trial(self.hyperparameters.copy(), trial_id, TrialStatus.FAILED)
            trial.message = f"its file {what}"
            return trial

    def _close(self):
        """End what had ended, and was not yet recorded so; put in the queue what had not."""
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
            self.save()  # before the first trial's file: a search that has trials has a state
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.RUNNING:
            self._seen[trial.trial_id] = time.monotonic()
        elif trial.status == TrialStatus.STOPPED and self.ongoing_trials:
            trial.status = TrialStatus.IDLE  # it may be needed, if another worker dies
            self.tuner_ids.add(tuner_id)
        return trial

    def _take_back(self):
        """Put the trials of silent workers in the queue."""
        now = time.monotonic()
        for tuner_id, trial in list(self.ongoing_trials.items()):
            if self.lease is not None and now - self._seen.get(trial.trial_id, now) > self.lease:
                del self.ongoing_trials[tuner_id]
                self.tuner_ids.discard(tuner_id)
                self._retry_queue.append(trial.trial_id)

    def get_trial(self, trial_id: str) -> Trial:
        """The trial; a worker that asks for it is alive."""
        self._seen[trial_id] = time.monotonic()
        return super().get_trial(trial_id)

    @keras_tuner.synchronized
    def end_trial(self, trial: Trial) -> None:
        if trial.trial_id in self.end_order:
            return  # from a worker that was taken for dead
        # Values come back from workers as float32, and would no longer be those that were tried.
        trial.hyperparameters = self.trials[trial.trial_id].hyperparameters
        try:
            super().end_trial(trial)
        except RuntimeError as error:  # too many failures: a chief must know it, too
            self.failure = str(error)
            self._save_trial(self.trials[trial.trial_id])
            raise
        finally:
            if trial.trial_id in self._retry_queue and trial.trial_id in self.end_order:
                self._retry_queue.remove(trial.trial_id)
            self.save()

    def _check_consecutive_failures(self):
        """As KerasTuner's, but of the last trials only: a search that is resumed may go on."""
        last = [self.trials[trial_id] for trial_id in self.end_order[-self.max_consecutive_failed_trials :]]
        failed = [trial for trial in last if trial.status == TrialStatus.FAILED]
        if len(failed) == self.max_consecutive_failed_trials:
            reason = (failed[-1].message or "its worker says why").strip().splitlines()[-1]
            raise RuntimeError(f"the last {len(failed)} trials failed, the very last one of: {reason}")

    def _random_values(self):
        for _ in range(_DRAWS):
            values = super()._random_values()
            if values is None or self.accepts(values):
                return values
        return None


class RandomOracle(Reliable, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class HyperbandOracle(Reliable, keras_tuner.oracles.HyperbandOracle):
    """Hyperband (Li et al., 2018): many short trials, of which the best go on.

    Args:
        max_trials: Integer, at which it ends though brackets are left; `None` for all of them.
        **arguments: Of `Reliable`, and of KerasTuner's oracle.
    """

    def __init__(self, max_trials: int | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.max_trials = max_trials


class BayesianOracle(Reliable, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimization: a Gaussian process of the score, and its lower confidence bound."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn's, of kernels at the edge of their bounds
            response = super().populate_space(trial_id)
            values = response.get("values")
            if values is None or (self.accepts(values) and not self._duplicate(values)):
                return response
            return self._best_of_random()

    def _best_of_random(self):
        """The most promising of values that may be tried, and were not."""
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
    """Values of a KerasTuner hyperparameter: choices, or evenly placed ones of a range, both ends included."""
    if not hasattr(hp, "min_value"):
        return list(hp.values)
    if hp.step is not None:
        values = list(hp.values)
    else:
        values = [float(f"{hp.prob_to_value(share):.6g}") for share in np.linspace(0, 1, _GRID_POINTS).tolist()]
    places = np.linspace(0, len(values) - 1, min(len(values), _GRID_POINTS)).round().astype(int)
    return [values[place] for place in places]


ORACLES = {"bayesian": BayesianOracle, "hyperband": HyperbandOracle, "random": RandomOracle, "grid": GridOracle}
