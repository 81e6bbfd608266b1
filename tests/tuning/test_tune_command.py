"""The command `keras-sd tune`: what it leaves, how it goes on after SIGKILL, and what it refuses."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import keras_sd

from keras_sd.tuning import Search, workers
from keras_sd.tuning.record import parse

TINY = ["--model", "DenseNet", "--data", "digits", "--search", "depth=7", "--search", "bottleneck=false"]
TINY += ["--search", "growth_rate=2:4", "--set", "steps_per_epoch=2", "--set", "batch_size=16", "--epochs", "1"]
CODE = "from keras_sd_command import main; main()"


def rows(folder):
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of a search of two trials, and what was printed."""
    folder = tmp_path_factory.mktemp("searches") / "search"
    process = keras_sd("tune", *TINY, "--tuner", "random", "--trials", 2, "--final-epochs", 1, "--out", folder)
    assert process.exit_code == 0, process.output
    return folder, process.output


@pytest.mark.slow
def test_a_search_is_complete_with_its_best_trained(done):
    folder, output = done
    best = min(rows(folder), key=lambda row: float(row["score"]))
    results = json.loads((folder / f"best-{best['trial']}" / "results.json").read_text())
    assert results["status"] == "complete"
    assert f"test accuracy {results['test_accuracy']:.4f}" in output.splitlines()[-1]
    assert f"{results['test_accuracy']:.4f}" in (folder / "report.md").read_text()


@pytest.mark.slow
def test_the_settings_of_the_best_are_those_that_train_takes(done, tmp_path):
    folder, _ = done
    best = next(folder.glob("best-*"))
    process = keras_sd("train", "--config", folder / "best.yaml", "--epochs", 1, "--out", tmp_path / "run")
    assert process.exit_code == 0, process.output
    first, second = (json.loads((path / "config.json").read_text()) for path in (best, tmp_path / "run"))
    assert first["config"] == second["config"]
    assert first["parameters"] == second["parameters"]


@pytest.mark.slow
def test_a_search_that_is_over_is_resumed_with_more_trials_only(done):
    folder, _ = done
    before = {row["trial"]: row["score"] for row in rows(folder)}
    process = keras_sd("tune", "--resume", "--out", folder, "--trials", 3, "--final-epochs", 0)
    assert process.exit_code == 0, process.output
    after = {row["trial"]: row["score"] for row in rows(folder)}
    assert len(after) == 3
    assert after | before == after
    process = keras_sd("tune", "--resume", "--out", folder, "--tuner", "grid")
    assert process.exit_code == 2
    assert "`tuner` must be 'random', as the search in" in process.stderr


@pytest.mark.slow
def test_an_interrupted_search_reports_the_trials_that_it_has(tmp_path, monkeypatch):
    run_trial = Search.run_trial

    def interrupted(self, trial):
        if self.completed():
            raise KeyboardInterrupt
        return run_trial(self, trial)

    with monkeypatch.context() as patched:
        patched.setattr(Search, "run_trial", interrupted)
        command = ["tune", *TINY, "--tuner", "random", "--trials", 2, "--final-epochs", 0, "--out", tmp_path / "search"]
        process = keras_sd(*command)
    assert process.exit_code == 130, process.output
    assert [row["status"] for row in rows(tmp_path / "search")] == ["completed", "running"]
    assert "1 trials of at most 1 epochs have a score" in (tmp_path / "search" / "report.md").read_text()
    process = keras_sd("tune", "--resume", "--out", tmp_path / "search")
    assert process.exit_code == 0, process.output
    assert [row["status"] for row in rows(tmp_path / "search")] == ["completed"] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--search", "survival_probability=0.5", "--search", "growth_rate=4"], "leaves nothing to search"),
        (["--search", "growth_rate=8:4"], "`growth_rate` must be a range in the order (low, high)"),
        (["--search", "growth_rate"], "`search` must be NAME=LOW:HIGH"),
        (["--search", "growht_rate=2:4"], "such as growth_rate"),
        (["--search", "growth_rate=2:x"], "must be a range of two numbers"),
        (["--budget-params", "10"], "max_parameters is 10, and the network has"),
        (["--budget-flops", "-1"], "`max_flops` must be"),
        (["--tuner", "bayes"], "such as bayesian"),
        (["--objective", "cost"], "`objective` must be"),
        (["--trials", "0"], "`trials` must be"),
        (["--model", "PlainNet20"], "`model` must be"),
        (["--data", "digit"], "such as digits"),
        (["--role", "boss"], "`role` must be chief or worker"),
        (["--role", "chief"], "`address` must be HOST:PORT"),
        (["--role", "chief", "--address", "here"], "`address` must be HOST:PORT"),
        (["--address", "127.0.0.1:8000"], "`address` must be left out without --workers and --role"),
    ],
)
def test_bad_input_is_refused_with_one_line_and_leaves_nothing(arguments, message, tmp_path):
    process = keras_sd("tune", *TINY, "--out", tmp_path / "new", *arguments)
    assert process.exit_code == 2, process.output
    assert message in process.stderr
    assert len(process.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_a_chief_that_is_not_there_and_a_port_in_use_are_refused(tmp_path):
    port = workers.free_port()
    address = ["--address", f"127.0.0.1:{port}", "--out", tmp_path / "new"]
    process = keras_sd("tune", "--role", "worker", "--connect-timeout", 0.3, *address)
    assert process.exit_code == 2
    assert f"none answered within 0.3 seconds. Received: address='127.0.0.1:{port}'" in process.stderr
    with workers.socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        process = keras_sd("tune", *TINY, "--role", "chief", *address)
    assert process.exit_code == 2
    assert "`address` must be one where a chief can listen" in process.stderr
    assert not (tmp_path / "new").exists()


def test_what_is_not_resumable_is_refused(tmp_path):
    assert keras_sd("tune", "--resume").exit_code == 2
    process = keras_sd("tune", "--resume", "--out", tmp_path, "--set", "epochs=3", "--model", "nothing")
    assert process.exit_code == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=0.5:1", ("a", (0.5, 1))),
        ("a=8, 16", ("a", [8, 16])),
        ("a=batch,sample", ("a", ["batch", "sample"])),
        ("a=on", ("a", True)),
        ("a=off", ("a", False)),
        ("a=1e-4", ("a", 1e-4)),
        ("a=7", ("a", 7)),
        ("a=linear", ("a", "linear")),
    ],
)
def test_hyperparameters_of_the_command_line(text, expected):
    assert parse(text) == expected


@pytest.mark.large  # `make test` kills searches without training, and a worker that trains
@pytest.mark.parametrize("tuner", ["random", "grid"])
def test_a_search_that_is_killed_loses_nothing_and_trains_nothing_twice(tuner, tmp_path):
    kills, trials = (1, 3), 4
    folder = tmp_path / "search"
    command = [sys.executable, "-c", CODE, "tune", *TINY, "--tuner", tuner, "--trials", str(trials)]
    command += ["--final-epochs", "0", "--resume", "--out", str(folder)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    results = {}
    for number in kills:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 100
        while len(list(folder.glob("trial_*/result.json"))) < number and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        results |= {file: file.stat().st_mtime_ns for file in folder.glob("trial_*/result.json")}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert process.returncode == 0, process.stderr
    assert {file: file.stat().st_mtime_ns for file in results} == results
    assert [row["status"] for row in rows(folder)] == ["completed"] * trials


@pytest.mark.large
def test_two_workers_of_the_command_run_all_trials(tmp_path):
    folder = tmp_path / "search"
    command = [sys.executable, "-c", CODE, "tune", *TINY, "--tuner", "random", "--trials", "2", "--workers", "2"]
    command += ["--final-epochs", "0", "--out", str(folder)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=230)
    assert process.returncode == 0, process.stderr
    assert [row["status"] for row in rows(folder)] == ["completed"] * 2
    assert process.stdout.count("validation error") == 2
