"""A run: its folder, its accuracies, its end by Ctrl-C or NaN. The model is a linear classifier."""

import csv
import dataclasses
import importlib
import json

import keras
import numpy as np
import pytest

from keras_sd import training
from keras_sd.training.callbacks import COLUMNS
from keras_sd.training.progress_bar import Lines

CONFIG = dataclasses.replace(training.resolve("digits"), model="linear", epochs=4, batch_size=128)


def linear(seed=0):
    """A new linear classifier; its first weights follow from the seed."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")])


def run(path, digits, config=CONFIG, callbacks=(), model=None):
    folder = training.RunFolder.create(path)
    return folder, training.train(model or linear(), digits, config, folder, callbacks)


def history(folder):
    with folder.history.open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_run_leaves_everything(tmp_path, digits):
    folder, results = run(tmp_path / "run", digits)
    names = {"best.weights.h5", "config.json", "curves.png", "history.csv", "model.keras", "results.json"}
    found = {file.name for file in folder.path.iterdir()}
    assert found - {"run.lock"} == names | {"checkpoints"}
    record = folder.read(folder.config)
    assert training.TrainConfig.from_dict(record["config"]) == CONFIG
    assert record["dataset"] == digits.describe()
    environment, backend = record["environment"], keras.backend.backend()
    assert {"keras", "tensorflow", "keras_sd", "python", "processor"} <= set(environment)
    assert (environment["backend"], environment[backend]) == (backend, importlib.import_module(backend).__version__)
    assert record["parameters"] == 650
    assert folder.read(folder.results) == results
    rows = history(folder)
    assert tuple(rows[0]) == COLUMNS
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["learning_rate"] for row in rows] == [0.1, 0.1, 0.01, 0.001]
    assert all(row["seconds"] > 0 for row in rows)
    assert folder.curves.read_bytes().startswith(b"\x89PNG")


def accuracy(model, digits, part):
    part = getattr(digits, part)
    guesses = model.predict(digits.normalize(part.images), verbose=0).argmax(-1)
    return float(np.mean(guesses == part.labels))


@pytest.mark.slow
def test_the_reported_accuracy_is_that_of_the_best_epoch_on_validation(tmp_path, digits):
    folder, results = run(tmp_path / "run", digits, dataclasses.replace(CONFIG, learning_rate=1.0))
    rows = history(folder)
    best = max(rows, key=lambda row: (row["val_accuracy"], row["epoch"]))
    assert results["best_epoch"] == best["epoch"]
    assert results["status"] == "complete"
    model = keras.saving.load_model(folder.model)
    assert results["test_accuracy_final"] == pytest.approx(accuracy(model, digits, "test"))
    model.load_weights(folder.best_weights)
    assert results["test_accuracy"] == pytest.approx(accuracy(model, digits, "test"))
    assert results["validation_accuracy"] == pytest.approx(accuracy(model, digits, "validation"))


def test_of_equal_epochs_the_later_is_kept(tmp_path):
    best = training.callbacks.BestWeights(tmp_path / "best.weights.h5")
    best.set_model(linear())
    for epoch, value in enumerate((0.5, 0.7, 0.7, 0.6)):
        best.on_epoch_end(epoch, {"loss": 1.0, "val_accuracy": value})
    best.on_epoch_end(4, {"loss": float("nan"), "val_accuracy": 0.9})
    assert best.best.epoch == 3


@pytest.mark.slow
def test_a_run_can_be_repeated(tmp_path, digits):
    first, second = (run(tmp_path / name, digits)[0] for name in ("one", "two"))
    for row, same in zip(history(first), history(second)):
        timings = {"seconds": 0, "images_per_second": 0}
        assert {**row, **timings} == {**same, **timings}
    other = run(tmp_path / "three", digits, dataclasses.replace(CONFIG, seed=1))[0]
    assert history(other)[0]["loss"] != history(first)[0]["loss"]


def test_the_warm_up_is_the_configurations(digits):
    model = linear()
    training.compile_model(model, dataclasses.replace(CONFIG, warmup_steps=10), total_steps=100)
    schedule = model.optimizer._learning_rate
    assert [round(float(schedule(step)), 6) for step in (0, 9, 50, 75)] == [0.01, 0.1, 0.01, 0.001]


class CtrlC(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == 12:  # in the second epoch of nine steps
            raise KeyboardInterrupt


@pytest.mark.slow
def test_ctrl_c_leaves_a_usable_folder(tmp_path, digits):
    folder, results = run(tmp_path / "run", digits, callbacks=[CtrlC()])
    assert results["status"] == "interrupted"
    assert "test_accuracy" not in results
    assert json.loads(folder.results.read_text())["best_epoch"] == 1
    assert len(history(folder)) == 1
    model = keras.saving.load_model(folder.model)
    assert int(model.optimizer.iterations) == 12
    model.load_weights(folder.best_weights)
    assert accuracy(model, digits, "validation") == pytest.approx(results["validation_accuracy"])


def test_ctrl_c_in_the_first_epoch_leaves_a_model(tmp_path, digits):
    class AtOnce(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise KeyboardInterrupt

    folder, results = run(tmp_path / "run", digits, callbacks=[AtOnce()])
    assert results["status"] == "interrupted"
    assert folder.model.exists()
    assert not folder.curves.exists()


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    training.RunFolder.create(tmp_path / "run")  # empty: nothing is lost
    (tmp_path / "run" / "note").write_text("mine")
    with pytest.raises(FileExistsError, match=r"`out` must be a new folder: .*\. Received: out='.*run'"):
        training.RunFolder.create(tmp_path / "run")
    assert (tmp_path / "run" / "note").read_text() == "mine"
    with pytest.raises(FileExistsError, match="never overwritten"):
        training.RunFolder.create(tmp_path / "run" / "note")


def test_default_folders_count_up(tmp_path):
    first = training.default_path(CONFIG, tmp_path)
    assert first.name == "linear-digits-1"
    first.mkdir()
    assert training.default_path(CONFIG, tmp_path).name == "linear-digits-2"


@pytest.mark.slow
def test_a_line_an_epoch(tmp_path, digits):
    lines = []
    folder, _ = run(tmp_path / "run", digits, callbacks=[Lines(lines.append)])
    assert len(lines) == 4
    for number, (line, row) in enumerate(zip(lines, history(folder)), 1):
        loss, accuracy = (f"{name} {row[name]:.4f} (val {row['val_' + name]:.4f})" for name in ("loss", "accuracy"))
        assert line.startswith(f"epoch {number}/4  {loss}  {accuracy}  ")
        assert len(line) < 80


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains(tmp_path, digits, policy):
    keras.config.set_dtype_policy(policy)
    model = linear()
    folder, results = run(tmp_path / "run", digits, model=model)
    assert results["test_accuracy"] > 0.8
    assert history(folder)[-1]["learning_rate"] == pytest.approx(0.001)
    loaded = keras.saving.load_model(folder.model)
    scaled = isinstance(loaded.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled is (policy == "mixed_float16")
