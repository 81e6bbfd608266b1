"""Damages x files x commands: each ends with exit code 2 and one line that names the file, and says what to do."""

import gc
import os
import shutil
from pathlib import Path

import pytest
from helpers import keras_sd

from keras_sd import training
from keras_sd.runs import networks

RUN = Path(__file__).parent.parent / "version_0_1" / "run"  # one that has ended, without checkpoints
RECORDS = ("config.json", "results.json", "history.csv")
FILES = (*RECORDS, "model.keras", "best.weights.h5")


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file):
    file.write_bytes(b"")


def other(file):
    file.write_bytes(b"[1]\n")


def nested(file):
    file.write_bytes(b"[" * 10**5)


def no_text(file):
    file.write_bytes(b"\xff\xfe" * 100)


def flipped(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def folder(file):
    file.unlink()
    file.mkdir()


DAMAGES = (cut, empty, other, nested, no_text, flipped, folder)


@pytest.fixture
def run(tmp_path):
    """A copy of the run, with the digests that runs have now."""
    run = training.RunFolder(shutil.copytree(RUN, tmp_path / "runs" / "run"))
    run.write(run.results, run.read(run.results) | {"sha256": run.digests()})
    return run


def commands(run, out):
    return {
        "runs": ("runs", run.path.parent),
        "plot": ("plot", run, "--out", out / "curves.png"),
        "evaluate": ("evaluate", run),
        "export": ("export", run, out / "exported"),
        "resume": ("train", "--resume", "--out", run),
    }


SEES = {"config.json": {"runs", "plot", "evaluate", "export", "resume"}}
SEES |= {"results.json": SEES["config.json"], "history.csv": {"runs", "plot", "resume"}}
SEES |= {name: {"evaluate", "export", "resume"} for name in ("model.keras", "best.weights.h5")}


@pytest.fixture
def no_collection():
    """Objects of other tests, collected where a file nests too deep, could not be deleted, and would say so."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.slow
@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(run, name, damage, tmp_path, monkeypatch):
    class Built(Exception):
        pass

    def build(*_):
        raise Built

    monkeypatch.setattr(networks, "build", build)  # `test_resume.py` has what follows
    damage(run.path / name)
    for command, arguments in commands(run, tmp_path).items():
        if command not in SEES[name] or (damage is flipped and name in RECORDS):
            continue
        process = keras_sd(*arguments)
        if command == "resume" and name not in ("config.json", "results.json"):
            assert isinstance(process.exception, Built)
            continue
        assert process.exit_code == 2, (command, process.output, process.exception)
        (line,) = process.stderr.strip().splitlines()
        assert line.startswith("keras-sd: error: ")
        assert f"/{name}' " in line
        assert "; " in line
        assert ("resume" in line) is (name != "config.json")


@pytest.mark.parametrize("name", RECORDS)
def test_one_bit_of_a_record_is_no_traceback(run, name):
    file = run.path / name
    whole = file.read_bytes()
    for place in range(0, len(whole), 1 + len(whole) // 40):
        content = bytearray(whole)
        content[place] ^= 1 << place % 7
        file.write_bytes(content)
        process = keras_sd("runs", run.path.parent)
        assert process.exit_code in (0, 2), (place, process.exception)
        assert process.exit_code == 0 or f"/{name}' " in process.stderr


def test_a_damaged_run_is_no_matter_to_the_others(run, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    shutil.copytree(run.path, tmp_path / "runs" / "whole")
    shutil.copytree(run.path, os.fsdecode(os.fsencode(tmp_path) + b"/runs/no-\xff-text"))
    cut(run.config)
    process = keras_sd("runs", tmp_path / "runs")
    assert process.exit_code == 2
    assert "whole" in process.output
    named = {line.split("/")[-1].split("'")[0] for line in process.stderr.splitlines()}
    assert named == {"no-\\udcff-text", "config.json"}


def test_a_folder_whose_path_is_no_text_is_refused(tmp_path):
    process = keras_sd("train", "--out", os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    assert process.exit_code == 2
    assert "`path` must be a path in UTF-8" in process.stderr
    assert not list(tmp_path.iterdir())


def test_a_missing_configuration_is_named(run):
    run.config.unlink()
    for command in ("runs", "resume"):
        process = keras_sd(*commands(run, run.path)[command])
        assert process.exit_code == 2
        assert "config.json' is missing; restore it from a copy" in process.stderr
