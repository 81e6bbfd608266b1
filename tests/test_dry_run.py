"""`keras-sd train --dry-run`."""

import re

import yaml
from helpers import keras_sd

from keras_sd import training
from keras_sd.training import overrides


def test_a_dry_run_says_what_would_run_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ("--model", "MLP", "--set", "model_arguments.widths=[8]", "--lr", 0.02, "--dry-run")
    process = keras_sd("train", *arguments)
    assert process.exit_code == 0, process.output
    assert not list(tmp_path.iterdir())
    settings = re.search(r"^model: .*?^steps_per_epoch.*?$", process.output, re.S | re.M)[0]
    config = training.TrainConfig.from_dict(overrides.typed(yaml.safe_load(settings)))
    assert (config.learning_rate, config.model_arguments) == (0.02, {"widths": [8]})
    assert "parameters: 610" in process.output  # (64 + 1) * 8 + (8 + 1) * 10
    assert f"image: {2 * (64 * 8 + 8 * 10):,}" in process.output
    assert f"training: {40 * 19} steps, about" in process.output
