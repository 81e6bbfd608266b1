"""The command: what it prints, its exit codes, and what it refuses before anything is written."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import keras
import pytest
from helpers import keras_sd

from keras_sd import applications, data, training
from keras_sd.runs.networks import build, configure
from keras_sd.training.overrides import Overrides
from keras_sd.utils import jax_environment


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of two epochs of a small network, and what the command printed."""
    folder = tmp_path_factory.mktemp("runs") / "mlp"
    process = keras_sd("train", "--model", "mlp", "--epochs", 2, "--learning-rate", 0.01, "--out", folder)
    assert process.exit_code == 0, process.output
    return training.RunFolder(folder), process.output


@pytest.mark.slow
def test_a_run_ends_with_accuracy_time_and_place(run):
    folder, output = run
    *_, place, last = output.strip().splitlines()
    results = folder.read(folder.results)
    assert f"test accuracy {results['test_accuracy']:.4f}" in last
    assert f"{results['train_seconds']:.1f} s" in place
    assert str(folder) in place
    assert output.count("\nepoch ") == 2


def test_evaluate_repeats_what_the_run_found(run):
    folder, _ = run
    results = folder.read(folder.results)
    for weights, key in (("best", "test_accuracy"), ("final", "test_accuracy_final")):
        process = keras_sd("evaluate", folder, "--weights", weights)
        assert process.exit_code == 0, process.output
        assert f"test accuracy {results[key]:.4f}" in process.output


def settings_of(folder):
    """What a run records of its configuration, without the place of its data."""
    return dict(json.loads((folder / "config.json").read_text())["config"], data_dir=None)


@pytest.mark.slow
def test_a_flag_wins_over_a_file_with_all_settings(run, tmp_path):
    """The header says what runs, and the run is what the header says."""
    file = tmp_path / "all.json"
    full = dict(settings_of(run[0].path), epochs=182, batch_size=64, steps_per_epoch=None)
    file.write_text(json.dumps({"config": full}))
    process = keras_sd("train", "--config", file, "--smoke", "--set", "l2=0.5", "--seed", 3, "--out", tmp_path / "run")
    assert process.exit_code == 0, process.output
    small = {"epochs": 2, "steps_per_epoch": 2, "batch_size": 8, "l2": 0.5, "seed": 3}
    assert settings_of(tmp_path / "run") == full | small
    *sizes, recipe, rate, first, _, _, _ = lines = process.output.splitlines()
    assert sizes == ["MLP: 301,066 parameters", "digits: 1,257 training, 180 validation, 360 test images"]
    assert recipe == "recipe digits: 2 epochs of 2 steps, batch size 8"
    assert rate.startswith("learning rate 0.01 (step), on ")
    assert first.startswith("epoch 1/2 ")
    assert all(len(line) <= 80 for line in lines if str(tmp_path) not in line)


@pytest.mark.slow
def test_a_resumed_run_says_the_step_that_it_continues_from(run, tmp_path):
    """2 epochs of 19 steps, of which the first is on record."""
    folder = tmp_path / "run"
    shutil.copytree(run[0].path, folder)
    (folder / "results.json").unlink()
    *_, last = sorted((folder / "checkpoints").glob("step-*.npz"))
    last.unlink()
    process = keras_sd("train", "--resume", "--out", folder)
    assert process.exit_code == 0, process.output
    assert process.output.splitlines()[4] == "resumed after step 19 of 38"
    assert "resumed" not in run[1]


def test_an_existing_run_is_refused_and_left_alone(run):
    folder, _ = run
    before = {file.name: file.stat().st_mtime_ns for file in folder.path.iterdir()}
    process = keras_sd("train", "--out", folder)
    assert process.exit_code == 2
    assert "must be a new folder: existing files are never overwritten" in process.stderr
    assert {file.name: file.stat().st_mtime_ns for file in folder.path.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--model", "ResNet21"], "ResNet20"),
        (["train", "--data", "digit"], "such as digits"),
        (["train", "--data", "cifar10", "--data-dir", "nowhere"], "`data_dir` must be a directory"),
        (["train", "--epochs", "0"], "`epochs` must be a whole number of at least 1"),
        (["train", "--batch-size", "4000"], "`batch_size` must be between 1 and 1257"),
        (["train", "--survival-probability", "1.5"], "`survival_probability` must be in (0, 1]"),
        (["train", "--survival-probability", "nan"], "`survival_probability` must be in (0, 1]"),
        (["train", "--survival-schedule", "0.9,0.8"], "survival_schedule"),
        (["train", "--survival-schedule", "0.9,x"], "`survival_schedule` must be linear, uniform, or numbers"),
        (["train", "--policy", "float12"], "`policy` must be one of float32"),
        (["train", "--learning-rate", "-1"], "`learning_rate` must be above 0"),
        (["train", "--model", "MLP", "--survival-probability", "0.5"], "`survival_probability` must be 1 for MLP"),
        (["train", "--model", "PlainNet20", "--survival-probability", "0.5"], "must be 1 for PlainNet20"),
        (["evaluate", "nowhere"], "which contains a config.json"),
        (["summary", "DenseNet122"], "DenseNet121"),
        (["models", "--survival-probability", "0"], "survival_probability"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, refuses):
    refuses(arguments, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--epochs", "many"], "--epochs"),
        (["evaluate"], "Missing argument"),
    ],
)
def test_what_typer_refuses(arguments, message):
    process = keras_sd(*arguments)
    assert process.exit_code == 2
    assert message in process.stderr
    assert "Traceback" not in process.output


def test_models_are_listed_with_their_expected_depth():
    rows = {row["model"]: row for row in json.loads(keras_sd("models", "--json").output)}
    assert list(rows) == applications.list_models()
    # L blocks, linear from 1 to p: L - (1 - p) (L + 1) / 2 survive on average (Huang et al. 2016, section 3).
    depth = "expected depth at 0.5"
    assert (rows["ResNet110"]["blocks"], rows["ResNet110"][depth]) == (54, pytest.approx(54 - 0.5 * 55 / 2))
    assert (rows["MLP"]["blocks"], rows["MLP"][depth]) == (2, None)
    assert (rows["PlainNet20"]["blocks"], rows["PlainNet20"][depth]) == (9, None)


def test_summary_prints_the_layers():
    process = keras_sd("summary", "ResNet20")
    assert process.exit_code == 0
    assert "Total params" in process.output


@pytest.mark.slow
def test_the_command_builds_what_was_asked_for():
    dataset = data.load("digits")
    config = configure(
        Overrides(data="digits", model="resnet20", survival_probability=0.25, seed=5, policy="mixed_bfloat16")
    )
    assert (config.model, config.survival_probability, config.survival_schedule) == ("ResNet20", 0.25, "linear")
    model = build(config, dataset)
    again = build(config, dataset)
    other = build(dataclasses.replace(config, seed=6), dataset)
    assert model.input_shape == (None, 8, 8, 1)
    assert model.output_shape == (None, 10)
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    weights, same, different = (network.get_weights() for network in (model, again, other))
    assert all((a == b).all() for a, b in zip(weights, same))
    assert any((a != b).any() for a, b in zip(weights, different))


@pytest.mark.slow
def test_a_perceptron_learns_by_its_own_rule(tmp_path):
    process = keras_sd("train", "--model", "Perceptron", "--epochs", 3, "--out", tmp_path / "run")
    assert process.exit_code == 0, process.output
    folder = training.RunFolder(tmp_path / "run")
    assert folder.read(folder.config)["config"]["loss"] == "keras_sd>perceptron_loss"
    assert folder.read(folder.results)["test_accuracy"] > 0.4  # chance is 0.1


def command(*arguments, cwd):
    """The installed command in a process of its own."""
    script = os.path.join(os.path.dirname(sys.executable), "keras-sd")
    return subprocess.run([script, *arguments], cwd=cwd, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_errors_are_all_that_is_on_stderr(tmp_path):
    process = command("train", "--model", "ResNet21", cwd=tmp_path)
    assert process.returncode == 2
    assert process.stdout == ""
    assert len(process.stderr.strip().splitlines()) == 1


@pytest.mark.large
def test_without_arguments_it_learns_digits(tmp_path):
    process = command("train", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    folder = training.RunFolder(tmp_path / "runs" / "ResNet20-digits-1")
    results = folder.read(folder.results)
    assert results["test_accuracy"] >= 0.97
    assert "runs/ResNet20-digits-1" in process.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({}, None),
        ({"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}, "--xla_backend_optimization_level=1"),
        ({"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cuda,cpu"}, None),
        ({"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--own"}, "--own"),
    ],
)
def test_jax_compiles_fast_where_it_has_only_the_cpu(given, flags):
    variables = dict(given)
    jax_environment.shorten_compilation(variables)
    assert variables.get("XLA_FLAGS") == flags
