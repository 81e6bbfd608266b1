"""Damages of a search's files: its own end it with a line that names them, those of a trial cost that trial."""

import json
import shutil
from pathlib import Path

import pytest
from fake_search import TRIALS, FakeSearch, lines
from typer.testing import CliRunner

from keras_sd.cli import app
from keras_sd.utils.files import DamagedFileError

SEARCH = Path(__file__).parent.parent / "version_0_1" / "search"
DAMAGES = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "empty": lambda file: file.write_bytes(b""),
    "other": lambda file: file.write_bytes(b"[1]"),
    "object": lambda file: file.write_bytes(b'{"config": {}, "options": {}, "trial_id": 7}'),
    "no text": lambda file: file.write_bytes(b"\xff\xfe" * 100),
    "missing": lambda file: file.unlink(),
    "folder": lambda file: (file.unlink(), file.mkdir()),
}


def resumed(path):
    return CliRunner().invoke(app, ["tune", "--resume", "--out", str(path)])


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", ["search.json", "oracle.json"])
def test_a_damaged_file_of_the_search_is_named(tmp_path, name, damage):
    path = shutil.copytree(SEARCH, tmp_path / "search")
    trials = {file: file.read_bytes() for file in path.glob("trial_*/*")}
    damage(path / name)
    process = resumed(path)
    assert process.exit_code == 2, process.exception
    (line,) = process.stderr.strip().splitlines()
    assert line.startswith(f"keras-sd: error: '{path / name}' ")
    assert "; restore it from a copy" in line
    assert {file: file.read_bytes() for file in path.glob("trial_*/*")} == trials


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["result.json", *(pytest.param(name, marks=pytest.mark.large) for name in ("trial.json", "history.csv"))]
)
def test_a_damaged_trial_costs_no_other(tmp_path, name, caplog):
    for number, (kind, damage) in enumerate(DAMAGES.items()):
        path = shutil.copytree(SEARCH, tmp_path / f"{number}")
        damage(path / "trial_0" / name)
        process = resumed(path)
        assert process.exit_code == 0, (kind, process.output, process.exception)
        rows = [line.split(",") for line in (path / "trials.csv").read_text().splitlines()]
        whole = [line.split(",") for line in (SEARCH / "trials.csv").read_text().splitlines()]
        assert rows[2] == whole[2], kind
        if name == "trial.json":
            assert rows[1][:2] == ["0", "failed"], kind
            assert f"{path / 'trial_0' / name}' " in caplog.text
        else:
            assert rows[1] == whole[1], kind


@pytest.mark.parametrize("kind", ["random", "hyperband", "bayesian", "grid"])
def test_a_search_goes_on_without_a_damaged_trial(tmp_path, kind):
    search = FakeSearch(tmp_path, kind)
    search.oracle.max_trials = 4
    search.search()
    (tmp_path / f"trial_{search.oracle.start_order[1]}" / "trial.json").write_bytes(b"{")
    again = FakeSearch(tmp_path, kind)
    again.search()
    statuses = [again.oracle.trials[trial_id].status for trial_id in again.oracle.start_order]
    assert statuses == ["COMPLETED", "FAILED"] + ["COMPLETED"] * (TRIALS - 2)
    assert len(lines(tmp_path / "trained.txt")) == TRIALS


def test_without_its_state_no_search_begins_again(tmp_path):
    FakeSearch(tmp_path, "random").search()
    (tmp_path / "oracle.json").unlink()
    with pytest.raises(
        DamagedFileError, match=r"oracle.json' is missing, and without it all trials .* remove the folder"
    ):
        FakeSearch(tmp_path, "random")
    assert len(lines(tmp_path / "trained.txt")) == TRIALS


def test_damaged_orders_are_named(tmp_path):
    FakeSearch(tmp_path, "random").search()
    state = json.loads((tmp_path / "oracle.json").read_text())
    for changed in (
        {"end_order": ["77"]},
        {"start_order": [[]]},
        {"hyperparameters": 7},
        {"ongoing_trials": {"a": "9"}},
    ):
        (tmp_path / "oracle.json").write_text(json.dumps(state | changed))
        message = r"oracle.json' is not the state of a search; restore it from a copy"
        with pytest.raises(DamagedFileError, match=message):
            FakeSearch(tmp_path, "random")
