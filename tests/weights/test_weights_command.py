"""`keras-sd weights`: what it prints, and how it fails."""

import pytest
from typer.testing import CliRunner

from keras_sd.cli.weights import app
from keras_sd.weights import registry
from keras_sd.weights.registry import get_row


@pytest.fixture(autouse=True)
def keras_state():
    """Nothing here touches Keras."""


@pytest.fixture
def run(home, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        result = CliRunner().invoke(app, list(arguments))
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.output

    return run


def test_list(run):
    code, output = run("list", "ResNet50")
    assert code == 0
    assert "ResNet50.a1_in1k" in output
    assert "80.38%" in output
    assert "ResNet101" not in output
    code, output = run("list", "ResNet51")
    assert code == 2
    assert "'ResNet51'" in output


def test_path_and_wrong_names(run, home):
    assert run("path") == (0, f"{home / 'weights'}\n")
    assert run("path", "ResNet20.cifar10") == (0, f"{home / 'weights' / 'resnet20-12fca82f.th'}\n")
    for command in ("path", "fetch", "verify", "clear"):
        code, output = run(command, "ResNet20.cifar")
        assert code == 2
        assert "Did you mean ResNet20.cifar10" in output


def test_fetch_offline(run, monkeypatch):
    monkeypatch.setenv("KERAS_SD_OFFLINE", "1")
    code, output = run("fetch", "ResNet20.cifar10")
    assert code == 2
    assert get_row("ResNet20.cifar10").sha256 in output


def test_fetch_verify_clear(run, row, home, monkeypatch):
    monkeypatch.setattr(registry, "WEIGHTS", {row.name: row})
    assert run("fetch", row.name) == (0, f"{home / 'weights' / 'file.th'}\n")
    code, output = run("verify", row.name)
    assert code == 1  # the published file, which is no file of weights
    assert "file.th" in output
    (home / "weights" / "file.th").write_bytes(b"x")
    code, output = run("verify")
    assert code == 1
    assert "not the published file" in output
    assert run("clear")[0] == 2
    assert run("clear", row.name) == (0, f"removed {home / 'weights' / 'file.th'}\n")
    assert run("verify") == (0, "")
