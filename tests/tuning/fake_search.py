"""A search without networks. `python fake_search.py worker PORT FOLDER SECONDS` is a worker of one."""

import json
import os
import sys
import time
from pathlib import Path

import keras_tuner

from keras_sd.tuning.oracles import ORACLES
from keras_sd.tuning.tuner import ReliableTuner

TRIALS = 8


def accepts(values):
    return values["growth_rate"] <= 20


class Space(keras_tuner.HyperModel):
    """Two choices and a range; nothing is ever built."""

    def declare_hyperparameters(self, hp):
        hp.Choice("growth_rate", [8, 12, 16, 24])
        hp.Choice("schedule", ["linear", "uniform"])
        hp.Float("survival_probability", 0.3, 1.0)


class FakeSearch(ReliableTuner):
    """Computes a score in place of training, and writes down each trial when that is done.

    Args:
        directory: Path of the search.
        kind: Name of an oracle.
        seconds: Float, that a trial takes.
        lease: As in `Search`.
    """

    def __init__(self, directory, kind, seconds=0.0, lease=None):
        self.seconds = seconds
        arguments = {"max_epochs": 4, "factor": 2} if kind == "hyperband" else {}
        objective = keras_tuner.Objective("score", "min")
        arguments |= {"objective": objective, "max_trials": TRIALS, "seed": 1, "lease": lease}
        super().__init__(ORACLES[kind](accepts=accepts, **arguments), Space(), directory)

    def run_trial(self, trial):
        values = trial.hyperparameters.values
        write(self.path / "begun.txt", [os.getpid(), trial.trial_id])
        with self.sign_of_life(trial.trial_id):
            time.sleep(self.seconds)
        write(self.path / "trained.txt", [os.getpid(), trial.trial_id, values])
        return {"score": (values["survival_probability"] - 0.6) ** 2 + values["growth_rate"] / 100}


def write(path, line):
    with Path(path).open("a") as file:
        file.write(json.dumps(line) + "\n")


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()] if Path(path).exists() else []


if __name__ == "__main__":
    from keras_sd.tuning import workers

    _, role, port, folder, seconds = sys.argv
    with workers.part_of(role, ("127.0.0.1", int(port))):
        workers.wait_for_chief(("127.0.0.1", int(port)), 60)
        FakeSearch(folder, "random", float(seconds), lease=2.0).search()
