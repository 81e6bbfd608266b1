"""Loggers and callbacks by name: what a tracker is given, and what is refused before anything is built."""

import csv
import sys
import types

import keras
import pytest
from helpers import keras_sd, printed

SMOKE = ("train", "--data", "digits", "--smoke", "--model", "MLP", "--out")


def fake_mlflow(seen):
    return types.SimpleNamespace(
        __spec__=types.SimpleNamespace(name="mlflow"),
        set_tracking_uri=lambda place: seen.append(("place", place)),
        start_run=lambda run_name: seen.append(("start", run_name)),
        log_params=lambda values: seen.append(("settings", values)),
        log_metrics=lambda values, step: seen.append((step, values)),
        end_run=lambda: seen.append(("end", None)),
    )


def fake_wandb(seen):
    run = types.SimpleNamespace(
        log=lambda values, step: seen.append((step, values)), finish=lambda: seen.append(("end", None))
    )

    def init(project, name, dir, config):
        seen.extend([("place", dir), ("start", name), ("settings", config)])
        return run

    return types.SimpleNamespace(__spec__=types.SimpleNamespace(name="wandb"), init=init)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fake"), [("mlflow", fake_mlflow), ("wandb", fake_wandb)])
def test_trackers_see_settings_and_all_metrics(name, fake, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setitem(sys.modules, name, fake(seen))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    printed(*SMOKE, tmp_path / "run", "--logger", name, "--logger", "csv")
    kinds, values = zip(*seen)
    assert kinds == ("place", "start", "settings", 1, 2, "end")
    assert str(tmp_path) in values[0]
    assert values[1] == "run"
    assert values[2]["model"] == "MLP"
    with (tmp_path / "run" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row, metrics in zip(rows, values[3:5]):
        assert metrics["val_accuracy"] == pytest.approx(float(row["val_accuracy"]), abs=1e-4)
        assert {"loss", "accuracy", "val_loss"} <= set(metrics)


@pytest.mark.slow
def test_a_callback_of_ones_own_is_called(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import keras\n\n\ndef noted(config, folder):\n"
        "    (folder.path.parent / 'note').write_text(f'{config.model}')\n"
        "    return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print('epoch', epoch, 'is mine'))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert "epoch 1 is mine" in printed(*SMOKE, tmp_path / "run", "--callback", "mine:noted")
    assert (tmp_path / "note").read_text() == "MLP"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--logger", "papyrus"), "`logger` must be one of 'csv', 'tensorboard', 'mlflow', 'wandb'"),
        (("--logger", "mlflow"), "pip install mlflow"),
        (("--callback", "no_such_module:f"), "No module named 'no_such_module'"),
        (("--callback", "keras"), "MODULE:FUNCTION"),
        (("--callback", "keras:no_such"), "has no attribute 'no_such'"),
        (("--callback", "keras_sd.training.config:TrainConfig.from_dict"), "has no attribute"),
        (("--callback", "tests.training.test_loggers:returns_nothing"), "a function that returns a Keras callback"),
    ],
)
def test_names_that_are_not_known_are_refused(options, message, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    result = keras_sd(*SMOKE, tmp_path / "run", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "run").exists()


def returns_nothing(config, folder):
    assert isinstance(config.model, str)
    assert isinstance(keras.__version__, str)
