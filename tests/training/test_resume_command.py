"""`keras-sd train --resume`: what goes on, what is refused, and with which code the command leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import keras_sd

from keras_sd import training
from keras_sd.cli.console import Pipe
from keras_sd.runs import networks

ROOT = Path(__file__).parent.parent.parent
RUN = ("train", "--data", "digits", "--model", "mlp", "--epochs", 2, "--set", "steps_per_epoch=3", "--batch-size", 8)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder of a run whose process died when it was about to finish."""
    path = tmp_path_factory.mktemp("runs") / "run"
    assert keras_sd(*RUN, "--resume", "--out", path).exit_code == 0  # where there is none, it begins
    folder = training.RunFolder(path)
    folder.results.unlink()
    folder.model.unlink()
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", 3], "`epochs` must be 2, as the run has it. Received: epochs=3"),
        (["--model", "ResNet20"], "`model` must be 'MLP', as the run has it. Received: model='ResNet20'"),
        (["--data", "cifar10"], "`data` must be 'digits', as the run has it"),
        (["--recipe", "fast_cifar"], "`recipe` must be 'digits', as the run has it"),
        (["--deterministic"], "`deterministic` must be False, as the run has it"),
        (["--seed", 1], "`seed` must be 0, as the run has it"),
        (["--set", "l2=0.5"], "`l2` must be 0.0001, as the run has it"),
        (["--smoke"], "`smoke` must be False, as the run"),
        (["--epochs", 0], "`epochs` must be 2, as the run has it. Received: epochs=0"),
    ],
)
def test_options_that_contradict_the_run_are_refused(killed, arguments, message):
    process = keras_sd("train", "--resume", "--out", killed, *arguments)
    assert process.exit_code == 2, process.output
    assert process.stderr.startswith("keras-sd: error: ")
    assert message in process.stderr
    assert not killed.results.exists()


def test_a_folder_in_use_is_refused(killed):
    with killed.locked():
        process = keras_sd("train", "--resume", "--out", killed)
    assert process.exit_code == 2
    assert "a folder where no other process is training" in process.stderr


@pytest.mark.slow
def test_it_goes_on_by_its_own_settings_and_is_over_then(killed):
    process = keras_sd("train", "--resume", "--out", killed)
    assert process.exit_code == 0, process.output
    assert process.output.count("epoch ") == 1  # no epoch was trained; "weights of epoch"
    results = killed.read(killed.results)
    again = keras_sd("train", "--resume", "--out", killed, "--epochs", 2)
    assert again.exit_code == 0
    assert f"the run in {killed} is over; there is nothing to resume" in again.output
    assert f"test accuracy {results['test_accuracy']:.4f}" in again.output
    assert killed.read(killed.results) == results


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume"], "`out` must be the folder of a run, with --resume"),
        (["--out", "/dev/null/run"], "/dev/null"),
        (["--resume", "--out", "/proc/run"], "/proc"),
    ],
)
def test_bad_folders_are_refused_before_anything_is_built(arguments, message, monkeypatch):
    monkeypatch.setattr(networks, "build", lambda *_: pytest.fail("built"))
    process = keras_sd("train", *arguments)
    assert process.exit_code == 2, process.output
    assert message in process.stderr
    assert len(process.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("outcome", "code", "message"),
    [
        ({"status": "preempted"}, 75, "stopped by SIGTERM after 1.0 s, all saved; `keras-sd train --resume --out run`"),
        ({"status": "interrupted"}, 130, "interrupted after 1.0 s"),
        (
            {"status": "diverged", "diverged_step": 7, "diverged_epoch": 2, "diverged_in": "x", "checkpoint_step": 5},
            1,
            "NaN or infinite in step 7, epoch 2, which began in x; the model of step 5",
        ),
    ],
)
def test_how_a_run_ends_is_said_and_coded(outcome, code, message, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "train", lambda *_, **__: {"train_seconds": 1.0, **outcome})
    monkeypatch.setattr(
        sys.modules["keras_sd.cli.running"], "_resume", lambda folder: "`keras-sd train --resume --out run` resumes it"
    )
    process = keras_sd(*RUN, "--out", tmp_path / "run")
    assert process.exit_code == code
    assert message in process.output + process.stderr


def test_a_full_disk_is_one_line(monkeypatch, tmp_path):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training, "train", full)
    process = keras_sd(*RUN, "--out", tmp_path / "run")
    assert process.exit_code == 1
    assert "No space left on device; `keras-sd train --resume" in process.stderr


def test_a_second_ctrl_c_keeps_the_hint(monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", interrupted)
    process = keras_sd(*RUN, "--out", tmp_path / "run")
    assert process.exit_code == 130
    assert f"interrupted; `keras-sd train --resume --out {tmp_path / 'run'}` resumes it" in process.output


FAKE = """
import os, signal, sys, types
package, cli = types.ModuleType("keras_sd"), types.ModuleType("keras_sd.cli")
package.cli, cli.main = cli, lambda: os.kill(os.getpid(), signal.SIGTERM)
sys.modules |= {"keras_sd": package, "keras_sd.cli": cli}
import keras_sd_command
keras_sd_command.main()
"""


def test_sigterm_before_a_run_begins_is_one_line_and_its_own_code():
    process = subprocess.run([sys.executable, "-c", FAKE], capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 75
    assert process.stderr == "keras-sd: stopped by SIGTERM; run the same command again\n"


def test_a_reader_that_has_left_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        pipe = Pipe(stream)
        for _ in range(2):
            pipe.write("x" * 10**5)
            pipe.flush()
