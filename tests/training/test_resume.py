"""Runs that stop and go on, in one process: they end as if they had not. `test_kill.py` kills processes."""

import dataclasses
import errno
import json
import os
import signal

import keras
import numpy as np
import pytest

from keras_sd import layers, training
from keras_sd.training import checkpoint, loop
from keras_sd.training.callbacks import COLUMNS
from keras_sd.training.curves import read_history
from keras_sd.utils.files import DamagedFileError

STEPS = 9  # of an epoch
CONFIG = dataclasses.replace(
    training.resolve("digits"), model="tiny", epochs=3, batch_size=128, learning_rate=0.01, ema_momentum=0.9
)
TIMES = ("seconds", "images_per_second", "train_seconds", "sha256")  # model.keras records when it was saved


def tiny(policy="float32", under=None):
    """A new network: its gates, dropout and statistics change from step to step; `under` replaces all but its end."""
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)
    if under is None:
        block = layers.StochasticDepthResidual(keras.layers.Dense(8), survival_probability=0.5, seed=1, name="block")
        under = [
            keras.layers.Flatten(),
            keras.layers.Dense(8),
            keras.layers.BatchNormalization(),
            block,
            keras.layers.Dropout(0.2),
        ]
    return keras.Sequential([keras.Input((8, 8, 1)), *under, keras.layers.Dense(10, "softmax", dtype="float32")])


def linear(*under):
    return tiny(under=[keras.layers.Flatten(), *under])


class At(keras.callbacks.Callback):
    """Does something once, after a number of steps that this process has made, or when an epoch is validated."""

    def __init__(self, action, steps=None, epochs=None):
        super().__init__()
        self.action, self.steps, self.epochs = action, steps, epochs
        self.seen = {"steps": 0, "epochs": 0}

    def _count(self, what):
        self.seen[what] += 1
        if self.seen[what] == getattr(self, what):
            self.action()

    def on_train_batch_end(self, batch, logs=None):
        self._count("steps")

    def on_test_end(self, logs=None):
        self._count("epochs")


class Killed(BaseException):
    """What `train` knows nothing of, as it knows nothing of SIGKILL."""


def kill():
    raise Killed


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def go(path, digits, model, config=CONFIG, stops=(), **arguments):
    """Trains in a folder, stopping and going on; returns the folder and what each process returned."""
    folder = training.RunFolder(path)
    folder.path.mkdir(exist_ok=True)
    outcomes = []
    for stop in (*stops, None):
        arguments = {"checkpoint_steps": 4, "resume": True, **arguments}
        try:
            callbacks = [] if stop is None else [stop]
            outcomes.append(training.train(model(), digits, config, folder, callbacks, **arguments))
        except Killed:
            outcomes.append({"status": "killed"})
    return folder, outcomes


def end(folder):
    """All that a run ends with, times left out, as bytes and numbers that must be equal."""
    last = checkpoint.Checkpoints(folder.checkpoints).newest()  # which has the seeds, too
    weights = [a.tobytes() for group in ("model", "optimizer") for a in last.arrays[group]]
    model = keras.saving.load_model(folder.model, compile=False)
    for file in (folder.model, folder.best_weights, folder.ema_weights):
        if file.exists():
            model.load_weights(file)
            weights += [w.tobytes() for w in model.get_weights()]
    rows = [{n: row[n] for n in COLUMNS if n not in TIMES} for row in read_history(folder.history)]
    results = {name: value for name, value in folder.read(folder.results).items() if name not in TIMES}
    return last.step, weights, rows, results


@pytest.fixture(scope="module")
def whole(tmp_path_factory, digits):
    """The end of the run that was never stopped."""
    folder, outcomes = go(tmp_path_factory.mktemp("whole") / "run", digits, tiny, resume=False)
    assert outcomes[0]["status"] == "complete"
    return end(folder)


STOPS = {
    "before the first checkpoint but the start's": [At(kill, steps=2)],
    "again and again": [At(kill, steps=6), At(kill, steps=3), At(kill, steps=2), At(kill, steps=11)],
    "in the last step of an epoch": [At(kill, steps=STEPS)],
    "in validation": [At(kill, epochs=1), At(kill, epochs=1)],
    "by Ctrl-C": [At(lambda: (_ for _ in ()).throw(KeyboardInterrupt), steps=13)],
}
OFTEN = ("again and again", "in validation")


@pytest.mark.slow
@pytest.mark.parametrize(
    "stops",
    [pytest.param(s, marks=[] if name in OFTEN else [pytest.mark.large], id=name) for name, s in STOPS.items()],
)
def test_a_run_that_was_stopped_ends_as_if_it_had_not(tmp_path, digits, whole, stops):
    folder, outcomes = go(tmp_path / "run", digits, tiny, stops=stops)
    assert [o["status"] in ("killed", "interrupted") for o in outcomes] == [True] * len(stops) + [False]
    assert end(folder) == whole


@pytest.mark.slow
@pytest.mark.parametrize("policy", [pytest.param("mixed_bfloat16", marks=pytest.mark.large), "mixed_float16"])
def test_so_it_is_in_half_precision_with_a_survival_warm_up(tmp_path, digits, policy):
    config = dataclasses.replace(CONFIG, survival_warmup=0.6)
    ends = []
    for name, stops in (("whole", []), ("stopped", [At(kill, steps=5), At(kill, steps=8)])):
        ends.append(end(go(tmp_path / name, digits, lambda: tiny(policy), config, stops)[0]))
    assert ends[0] == ends[1]


@pytest.mark.slow
@pytest.mark.parametrize("steps", [5, *(pytest.param(n, marks=pytest.mark.large) for n in (STEPS, 3 * STEPS))])
def test_sigterm_saves_and_stops(tmp_path, digits, whole, steps):
    """After that step, or with the epoch that the step was the last of; at once it is, and nothing is lost."""
    before = signal.getsignal(signal.SIGTERM)
    seen = At(lambda: None)
    folder = training.RunFolder(tmp_path / "run")
    folder.path.mkdir()
    first = training.train(tiny(), digits, CONFIG, folder, [At(terminate, steps=steps), seen], checkpoint_steps=100)
    assert first["status"] == folder.read(folder.results)["status"] == "preempted"
    assert signal.getsignal(signal.SIGTERM) is before
    assert seen.seen["steps"] == steps
    assert checkpoint.Checkpoints(folder.checkpoints).newest().step == steps
    go(folder.path, digits, tiny)
    assert end(folder) == whole


@pytest.mark.slow
def test_killed_while_it_finishes(tmp_path, digits, whole, monkeypatch):
    for name in ("accuracies", "draw_curves"):
        monkeypatch.setattr(loop, name, lambda *_: kill())
        with pytest.raises(Killed):
            go_once(tmp_path / "run", digits)
        monkeypatch.undo()
    folder = training.RunFolder(tmp_path / "run")
    history = folder.history.read_bytes()
    go(folder.path, digits, tiny)
    assert end(folder) == whole
    assert folder.history.read_bytes() == history  # times, too: no epoch was trained again


def go_once(path, digits, **arguments):
    folder = training.RunFolder(path)
    folder.path.mkdir(exist_ok=True)
    return training.train(tiny(), digits, CONFIG, folder, resume=True, **arguments)


@pytest.mark.slow
@pytest.mark.parametrize("step", [pytest.param(0, marks=pytest.mark.large), 2 * STEPS])
def test_killed_between_a_row_and_its_checkpoint(tmp_path, digits, whole, monkeypatch, step):
    write = checkpoint.Checkpoints._write
    monkeypatch.setattr(checkpoint.Checkpoints, "_write", lambda s, c: kill() if c.step == step else write(s, c))
    with pytest.raises(Killed):
        go_once(tmp_path / "run", digits, checkpoint_steps=4)
    monkeypatch.undo()
    folder = training.RunFolder(tmp_path / "run")
    assert folder.history.exists() is bool(step)
    if step:
        with folder.history.open("a") as file:
            file.write("3,0.5,0.")  # a torn row
        folder.best_weights.write_bytes(b"torn")
    go(folder.path, digits, tiny)
    assert end(folder) == whole


@pytest.mark.slow
@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.large), 2])
def test_torn_checkpoints_are_skipped_and_without_a_whole_one_nothing_begins_again(
    tmp_path, digits, whole, count, caplog
):
    with pytest.raises(Killed):
        training.train(
            tiny(),
            digits,
            CONFIG,
            training.RunFolder.create(tmp_path / "run"),
            [At(kill, steps=14)],
            checkpoint_steps=4,
        )
    files = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert [file.name[-6:] for file in files] == ["09.npz", "12.npz"]
    contents = [file.read_bytes() for file in files]
    for file in files[-count:]:
        file.write_bytes(file.read_bytes()[:-100])
    if count == 2:
        history = (tmp_path / "run" / "history.csv").read_bytes()
        with pytest.raises(DamagedFileError, match=r"checkpoints' has no intact checkpoint, .* would be lost; restore"):
            go(tmp_path / "run", digits, tiny)
        assert (tmp_path / "run" / "history.csv").read_bytes() == history
        assert sorted((tmp_path / "run" / "checkpoints").iterdir()) == files
        files[0].write_bytes(contents[0])
    folder, _ = go(tmp_path / "run", digits, tiny)
    assert caplog.text.count("is skipped") == (1 if count == 1 else 3)
    assert end(folder) == whole


class KilledAfterAnEpoch(keras.callbacks.Callback):
    """Ends the process after an epoch's best weights are written, and before its checkpoint is."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise Killed


class Spoiled(keras.callbacks.Callback):
    """Makes the epochs of a process worse than all before, as chance may where a run is not deterministic."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.set_weights([weights * 0 for weights in self.model.get_weights()])


@pytest.mark.slow
def test_the_best_weights_are_those_of_the_epoch_that_the_results_name(tmp_path, digits):
    folder, _ = go(tmp_path / "run", digits, linear, stops=[KilledAfterAnEpoch(), Spoiled()])
    results, rows = folder.read(folder.results), read_history(folder.history)
    assert results["best_epoch"] == 1
    assert results["validation_accuracy"] == pytest.approx(rows[0]["val_accuracy"])
    accuracy = training.evaluate(folder.load_model(folder.best_weights), digits, "validation")["accuracy"]
    assert accuracy == pytest.approx(results["validation_accuracy"])


@pytest.mark.slow
def test_what_is_lost_of_a_complete_run_is_restored(tmp_path, digits, caplog):
    folder, (results,) = go(tmp_path / "run", digits, linear)
    complete = end(folder)
    best = folder.best_weights.read_bytes()
    flipped = best[:-100] + bytes([best[-100] ^ 1]) + best[-99:]
    damages = {
        folder.best_weights: lambda: folder.best_weights.write_bytes(flipped),
        folder.model: folder.model.unlink,
        folder.history: lambda: folder.history.write_bytes(b""),
    }
    for damage in damages.values():
        damage()
    for file in damages:
        with pytest.raises(DamagedFileError, match=f"{file.name}' .*train --resume --out .* restores it"):
            folder.check_whole(file, results)
    go(folder.path, digits, linear)
    assert end(folder) == complete
    assert "it is restored from the checkpoint of step 27" in caplog.text
    folder.model.unlink()
    for file in folder.checkpoints.iterdir():
        file.unlink()
    with pytest.raises(DamagedFileError, match=r"model.keras' is missing, and no intact checkpoint is left to restore"):
        go(folder.path, digits, linear)
    assert folder.outcome()["status"] == "complete"


@pytest.mark.slow
@pytest.mark.parametrize("where", ["compile_model", "accuracies", "draw_curves"])
def test_sigterm_at_the_start_and_at_the_end_stops_at_once(tmp_path, digits, monkeypatch, where):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(loop, where, lambda *_: terminate())
    _, (results,) = go(tmp_path / "run", digits, linear)
    assert results["status"] == "preempted"
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.undo()
    assert go(tmp_path / "run", digits, linear)[1][0]["status"] == "complete"


@pytest.mark.slow
def test_a_history_that_is_removed_comes_back_with_the_next_epoch(tmp_path, digits):
    folder, _ = go(tmp_path / "run", digits, linear, stops=[At(lambda: folder_of(tmp_path).history.unlink(), steps=12)])
    assert [row["epoch"] for row in read_history(folder.history)] == [1, 2, 3]


def folder_of(tmp_path):
    return training.RunFolder(tmp_path / "run")


@pytest.mark.slow
def test_a_full_disk_stops_no_training(tmp_path, digits, whole, monkeypatch, caplog):
    def full(path, content):
        (path.parent / "left").write_bytes(content[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    stop = At(lambda: monkeypatch.setattr(checkpoint, "write_atomically", full), steps=5)
    folder = training.RunFolder.create(tmp_path / "run")
    callbacks = [stop, At(kill, steps=2 * STEPS)]
    with pytest.raises(Killed):
        training.train(tiny(), digits, CONFIG, folder, callbacks, checkpoint_steps=4)
    assert "checkpoint of step 8 is not saved, training goes on: [Errno 28]" in caplog.text
    assert checkpoint.Checkpoints(folder.checkpoints).newest().step == 4
    monkeypatch.undo()
    go(folder.path, digits, tiny)
    assert end(folder) == whole


@pytest.mark.slow
def test_a_run_that_is_over_is_left_alone(tmp_path, digits):
    folder, outcomes = go(tmp_path / "run", digits, linear)
    before = {file: file.stat().st_mtime_ns for file in folder.path.rglob("*") if file.name != "run.lock"}
    _, again = go(tmp_path / "run", digits, linear)
    assert again == outcomes
    assert {file: file.stat().st_mtime_ns for file in folder.path.rglob("*") if file.name != "run.lock"} == before
    with pytest.raises(FileExistsError, match="existing files are never overwritten"):
        go(tmp_path / "run", digits, linear, resume=False)


@pytest.mark.slow
def test_another_configuration_or_data_set_is_refused(tmp_path, digits):
    go(tmp_path / "run", digits, linear, stops=[At(kill, steps=1)], config=CONFIG)
    (tmp_path / "run" / "results.json").unlink()
    with pytest.raises(ValueError, match=r"`epochs` must be 3, as the run has it. Received: epochs=5"):
        go(tmp_path / "run", digits, linear, dataclasses.replace(CONFIG, epochs=5))
    pixels = digits.train.images.copy()
    pixels[0, 0, 0, 0] += 1
    other = dataclasses.replace(digits, train=dataclasses.replace(digits.train, images=pixels))
    with pytest.raises(ValueError, match=r"`sha256` must be '\w+', as the run's data set has it"):
        go(tmp_path / "run", other, linear)
    moved = dataclasses.replace(CONFIG, data_dir=str(tmp_path))  # elsewhere, but the same
    assert go(tmp_path / "run", digits, linear, moved)[1][0]["status"] == "complete"


@pytest.mark.slow
def test_one_process_at_a_time(tmp_path, digits):
    folder = training.RunFolder.create(tmp_path / "run")
    with folder.locked(), pytest.raises(BlockingIOError, match="a folder where no other process is training"):
        go(tmp_path / "run", digits, linear)
    assert not folder.config.exists()
    go(tmp_path / "run", digits, linear)


@pytest.mark.slow
def test_determinism_is_switched_on_only_where_it_is_asked_for(tmp_path, digits, monkeypatch):
    calls = []
    monkeypatch.setattr(loop, "enable_determinism", lambda: calls.append(True))
    config = dataclasses.replace(CONFIG, epochs=1)
    go(tmp_path / "one", digits, linear, config)
    assert not calls
    go(tmp_path / "two", digits, linear, dataclasses.replace(config, deterministic=True))
    assert calls == [True]


@pytest.mark.parametrize("name", ["checkpoint_steps", "keep"])
@pytest.mark.parametrize("value", [0, -1, 1.5, float("inf"), float("nan"), True, "3", None])
def test_bad_arguments_are_refused(tmp_path, digits, name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be an integer of at least 1. Received: {name}={value!r}"):
        go(tmp_path / "run", digits, linear, **{name: value})
    assert not list((tmp_path / "run").iterdir())


class Breaks(keras.layers.Layer):
    """Not finite at one step of training: its output, or only its gradient."""

    def __init__(self, step, what="output", **kwargs):
        super().__init__(**kwargs)
        self.step, self.what = step, what

    def build(self, input_shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")

    def call(self, x, training=False):
        if not training:
            return x
        self.count.assign(self.count + 1)
        now = keras.ops.cast(self.count == self.step, x.dtype)
        if self.what == "output":
            return x + keras.ops.where(now > 0, np.nan, 0.0)
        return x + keras.ops.sqrt((1 - now) + now * keras.ops.relu(x) * 0) - (1 - now)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["output", "gradient"])
def test_it_says_where_a_run_is_no_longer_finite(tmp_path, digits, what):
    config = dataclasses.replace(CONFIG, ema_momentum=None)

    def make():
        return linear(
            keras.layers.Dense(8, name="first"), Breaks(14, what, name="breaks"), keras.layers.Dense(8, name="last")
        )

    folder, (results,) = go(tmp_path / "run", digits, make, config, checkpoint_steps=3)
    assert results["status"] == "diverged"
    assert (results["diverged_step"], results["diverged_epoch"], results["checkpoint_step"]) == (14, 2, 12)
    layer = {"output": "layer breaks (Breaks)", "gradient": "layer first (Dense)"}[what]
    assert results["diverged_in"] == f"the {what} of {layer}"
    assert json.loads(folder.results.read_text()) == results
    model = keras.saving.load_model(folder.model, custom_objects={"Breaks": Breaks})
    assert int(model.optimizer.iterations) == 12
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert checkpoint.Checkpoints(folder.checkpoints).newest().step == 12
    assert go(tmp_path / "run", digits, make, config)[1] == [results]  # it would end there again


@pytest.mark.slow
def test_weights_that_are_not_finite_are_not_saved(tmp_path, digits):
    """A weight that the loss does not see; the checkpoint sees it."""

    class Aside(keras.layers.Layer):
        def build(self, input_shape):
            self.aside = self.add_weight(shape=(), initializer="ones", trainable=False, name="aside")

        def call(self, x, training=False):
            if training:
                self.aside.assign(self.aside * 1e20)
            return x

    _, (results,) = go(tmp_path / "run", digits, lambda: linear(Aside(name="aside")), checkpoint_steps=4)
    assert results["status"] == "diverged"
    assert (results["diverged_step"], results["checkpoint_step"]) == (2, 0)


@pytest.mark.slow
def test_steps_that_loss_scaling_leaves_out_are_no_divergence(tmp_path, digits):
    """Inputs so large that gradients overflow in float16, until the scale has come down."""
    config = dataclasses.replace(CONFIG, learning_rate=1e-8, ema_momentum=None)

    def make():
        keras.config.set_dtype_policy("mixed_float16")
        under = [keras.layers.Rescaling(1e3, dtype="float32"), keras.layers.Flatten(), keras.layers.Dense(4)]
        return tiny("mixed_float16", under)

    folder, (results,) = go(tmp_path / "run", digits, make, config)
    assert results["status"] == "complete"
    optimizer = keras.saving.load_model(folder.model).optimizer
    assert float(optimizer.dynamic_scale) < optimizer.initial_scale
    assert int(optimizer.inner_optimizer.iterations) < 3 * STEPS
