"""A run that is killed again and again, at moments that chance picks, ends with the bits of one that was not.

Real processes, real SIGKILL: before the first step, in a step, while a checkpoint or the best weights are written,
in validation, while the run finishes. The processes are forked from one that has TensorFlow loaded, or most of the
test would be spent loading it.
"""

import multiprocessing
import os
import random
import signal
import sys
import time

import keras
import pytest

from keras_sd import training
from keras_sd.training import checkpoint
from keras_sd.training.callbacks import COLUMNS
from keras_sd.training.curves import read_history

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")]

STEPS = 4 * 30
TIMES = ("seconds", "images_per_second", "train_seconds", "sha256")  # model.keras records when it was saved
NETWORK = "model_arguments={depth: 8, filters: [2, 2, 4], stem_filters: 2}"
# Stacked and single blocks with gates, statistics, averages: 4 epochs of 30 steps, a checkpoint every 7.
ARGUMENTS = (
    *("train", "--data", "digits", "--model", "ResNet", "--set", NETWORK, "--set", "ema_momentum=0.9"),
    *("--set", "recalibrate=true", "--set", "steps_per_epoch=30", "--batch-size", "32", "--epochs", "4"),
    *("--deterministic", "--resume", "--checkpoint-steps", "7", "--out"),
)


def command(log, arguments):
    """`keras-sd` in this process, which is a child of the fork server."""
    from keras_sd.cli import app

    sys.stdout = sys.stderr = open(log, "a", buffering=1)  # noqa: SIM115, open until the process ends
    app([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def start():
    """A function that starts `keras-sd train` into a folder."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras_sd.cli", "keras_sd.training", "keras_sd.applications", "keras_sd.data"])

    def start(folder):
        process = context.Process(target=command, args=(folder.with_suffix(".log"), [*ARGUMENTS, folder]))
        process.start()
        return process

    return start


def end(path):
    """All that a run ends with, times left out."""
    folder = training.RunFolder(path)
    last = checkpoint.Checkpoints(folder.checkpoints).newest()
    arrays = [a.tobytes() for group in ("model", "optimizer") for a in last.arrays[group]]
    model = keras.saving.load_model(folder.model, compile=False)
    for file in (folder.model, folder.best_weights, folder.ema_weights):
        model.load_weights(file)
        arrays += [w.tobytes() for w in model.get_weights()]
    rows = [{name: row[name] for name in COLUMNS if name not in TIMES} for row in read_history(folder.history)]
    return last.step, arrays, rows, {n: v for n, v in folder.read(folder.results).items() if n not in TIMES}


def newest_step(path):
    files = sorted((path / "checkpoints").glob("step-*.npz"))
    return int(files[-1].stem.removeprefix("step-")) if files else -1


def kill_behind(process, path, step, seconds):
    """SIGKILL so many seconds after a checkpoint of the step, or of a later one, is there; whether it came in time."""
    deadline = time.monotonic() + 60
    while newest_step(path) < step and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.002)
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.large)])
def test_kills_change_no_bit(start, tmp_path, kills):
    began = time.perf_counter()
    whole = start(tmp_path / "whole")
    generator = random.Random(0)
    path, where = tmp_path / "killed", []
    early = 3 * kills // 4
    for i in range(kills):
        # Three quarters while it trains, in steps of the whole run, the others from its last checkpoint on.
        step, seconds = (STEPS * i // early - 1, 0.2) if i < early else (STEPS, 1.5)
        if kill_behind(start(path), path, step, generator.uniform(0, seconds)):
            where.append(newest_step(path))
    last = start(path)
    for process in (whole, last):
        process.join(100)
    log = (tmp_path / "killed.log").read_text()
    assert (whole.exitcode, last.exitcode) == (0, 0), log
    print(f"killed behind the checkpoints of steps {where}, {time.perf_counter() - began:.0f} s in all")
    assert len(where) >= 3 * kills // 4, log  # one may have come to its end just before
    assert end(path) == end(tmp_path / "whole")
    assert not list(path.rglob("*.tmp"))


def test_sigterm_leaves_with_its_own_code(start, tmp_path):
    process = start(tmp_path / "run")
    deadline = time.monotonic() + 100
    while not list((tmp_path / "run").glob("checkpoints/step-*7.npz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    second = start(tmp_path / "run")  # while the first still has the folder, or just gave it back
    process.join(60)
    second.join(100)
    log = (tmp_path / "run.log").read_text()
    assert process.exitcode == 75, log
    assert "stopped by SIGTERM after" in log
    assert second.exitcode in (0, 2), log
