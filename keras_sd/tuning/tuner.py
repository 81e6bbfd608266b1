"""A tuner that resumes after being killed, and reports to the chief that it is alive."""

import contextlib
import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import keras_tuner
from keras_tuner.engine.trial import Trial

from keras_sd.tuning.oracles import Reliable
from keras_sd.utils.files import DamagedFileError

_IDLE_SECONDS = 0.5


class ReliableTuner(keras_tuner.Tuner):
    """KerasTuner's tuner with reliable files and workers; the oracle must be one of `keras_sd.tuning.oracles`.

    Args:
        oracle: The oracle.
        hypermodel: A `keras_tuner.HyperModel` that declares all hyperparameters in `declare_hyperparameters`.
        directory: Path of the search's folder.

    Raises:
        DamagedFileError: If the folder has trials, but their `oracle.json` is missing or damaged.
    """

    def __init__(self, oracle: Reliable, hypermodel: keras_tuner.HyperModel, directory: str | os.PathLike) -> None:
        self.lease = oracle.lease
        self._is_waiting = False
        directory = Path(directory).absolute()
        state = directory / "oracle.json"
        if not state.exists() and any(directory.glob("trial_*")):
            raise DamagedFileError(
                state,
                "is missing, and without it all trials of the search would be trained again",
                "restore it from a copy; to train them again, remove the folders trial_*",
            )
        with contextlib.redirect_stdout(io.StringIO()):  # it prints from which file it reloads
            super().__init__(oracle, hypermodel, directory=str(directory.parent), project_name=directory.name)

    @property
    def path(self) -> Path:
        """Folder of the search."""
        return Path(self.project_dir)

    def _populate_initial_space(self):
        # KerasTuner builds a model for every condition; here all hyperparameters are known without building one.
        hp = self.oracle.get_space()
        self.hypermodel.declare_hyperparameters(hp)
        self.oracle.update_space(hp)

    def _get_tuner_fname(self):
        # KerasTuner's own file is empty. It is written after the first trial, and a search without it starts over.
        return str(self.path / "oracle.json")

    def save(self) -> None:
        if not self._is_worker():
            self.oracle.save()

    def reload(self) -> None:
        if not self._is_worker():
            trials = self.oracle.max_trials
            self.oracle.reload()
            self.oracle.max_trials = trials

    def pre_create_trial(self) -> None:
        if self._is_waiting:
            time.sleep(_IDLE_SECONDS)  # KerasTuner asks again at once
        self._is_waiting = True

    def on_trial_begin(self, trial: Trial) -> None:
        self._is_waiting = False

    @contextlib.contextmanager
    def sign_of_life(self, trial_id: str) -> Iterator[None]:
        """Tell the chief during a `with` block that this worker is alive, by requesting its trial regularly."""
        if not self._is_worker():
            yield
            return
        over = threading.Event()

        def ask():
            while not over.wait(self.lease / 4):
                with contextlib.suppress(Exception):  # a missing chief is noticed at the trial's end
                    self.oracle.get_trial(trial_id)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(1)  # it may be waiting for a missing chief
