"""`keras-sd weights`: what it prints, and how it fails."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from keras_sd.cli import image_options
from keras_sd.cli.weights import app
from keras_sd.weights import Preprocessing, preprocessing, registry
from keras_sd.weights.formats.safetensors import write_safetensors
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
        assert "such as ResNet20.cifar10" in output


def test_fetch_offline(run, monkeypatch):
    monkeypatch.setenv("KERAS_SD_OFFLINE", "1")
    code, output = run("fetch", "ResNet20.cifar10")
    assert code == 2
    assert get_row("ResNet20.cifar10").file.sha256 in output


def test_fetch_verify_clear(run, file, home, monkeypatch):
    row = dataclasses.replace(get_row("ResNet20.cifar10"), file=file)
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


# ------------------------------------------------------------------------------- how images are prepared, by options


@pytest.fixture
def network():
    return SimpleNamespace(input_shape=(None, 32, 32, 3))


def test_options_say_how_images_are_prepared(network):
    assert image_options.chosen(None, None, None, None) is None
    given = image_options.chosen("0.5,0.25,0.125", "1", 0.5, None)
    given = image_options.fitted(given, network)
    assert given == Preprocessing(size=32, mean=(0.5, 0.25, 0.125), std=(1.0,), scale=0.5)
    gray = SimpleNamespace(input_shape=(None, 8, 8, 1))
    assert image_options.fitted(image_options.chosen("0.5", "0.2", None, None), gray).channels == "L"


def test_another_source_says_how_images_are_prepared(tmp_path):
    expected = Preprocessing(size=8, mean=(0.5,), std=(0.25,))
    values = dataclasses.asdict(expected)
    files = {"plain.json": values, "config.json": {"preprocessing": values}}
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    metadata = {"keras_sd.preprocessing": json.dumps(values)}
    write_safetensors(tmp_path / "w.safetensors", {"x": np.ones(1, "float32")}, metadata)
    for name in (*files, "w.safetensors"):
        assert image_options.chosen(None, None, None, str(tmp_path / name)) == expected
    published = image_options.chosen(None, "0.5", None, "ResNet50.a1_in1k")
    assert published == dataclasses.replace(get_row("ResNet50.a1_in1k").preprocessing, std=(0.5,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", None, None, None), "`mean` must be numbers"),
        (("1,2", None, None, None), "`mean` must be 1 or 3 finite numbers"),
        ((None, "0", None, None), "`std` must be 1 or 3 positive numbers"),
        ((None, "nan", None, None), "`std` must be"),
        ((None, None, -1.0, None), "`scale` must be a positive number"),
        ((None, None, None, "ResNet20.cifar"), "such as ResNet20.cifar10"),
        ((None, None, None, "bad.json"), "bad.json': `preprocessing` must be"),
        ((None, None, None, "bare.safetensors"), "bare.safetensors', which does not"),
    ],
)
def test_wrong_options(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text('{"sise": 3}')
    write_safetensors(tmp_path / "bare.safetensors", {"x": np.ones(1, "float32")})
    with pytest.raises(ValueError, match=message):
        image_options.chosen(*arguments)


@pytest.mark.slow
def test_a_converted_file_keeps_how_images_are_prepared(tmp_path, monkeypatch):
    """And without it a file is looked into first, and then the options are asked for."""
    from keras_sd import applications, weights
    from keras_sd.cli import app

    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), "uint8")
    Image.fromarray(image).save("a.png")
    weights.save(applications.ResNet20(weights=None), "bare.safetensors")

    def run(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.output

    options = ("--mean", "0.5,0.4,0.3", "--std", "0.25")
    code, output = run("predict", "ResNet20", "a.png", "--weights", "bare.safetensors")
    assert (code, "--mean, --std and --scale" in output) == (2, True)
    for end in (".keras", ".weights.h5"):
        code, output = run("convert", "bare.safetensors", f"w{end}", "--model", "ResNet20", *options)
        assert (code, "must end in .safetensors to hold" in output) == (2, True)
    assert run("convert", "bare.safetensors", "w.safetensors", "--model", "ResNet20", *options)[0] == 0
    assert run("convert", "w.safetensors", "again.safetensors", "--model", "ResNet20")[0] == 0
    prepare = preprocessing.for_weights("ResNet20", "again.safetensors")
    expected = (image / np.float32(255) - np.float32([0.5, 0.4, 0.3])) / np.float32(0.25)
    np.testing.assert_allclose(prepare(image)[0], expected, atol=1e-6)
    Path("bad.th").write_bytes(b"x")
    for command in (("predict", "ResNet20", "a.png"), ("evaluate", "ResNet20", "--data", "digits")):
        code, output = run(*command, "--weights", "bad.th")
        assert (code, "found a file that starts with the bytes 78" in output) == (2, True)


def test_evaluation_normalizes_as_the_options_say(monkeypatch):
    from keras_sd.runs import networks

    @dataclasses.dataclass
    class Images:
        name: str = "images"
        input_shape: tuple = (32, 32, 3)
        num_classes: int = 10
        white: int = 255
        mean: tuple = ()
        std: tuple = ()

    model = SimpleNamespace(input_shape=(None, 32, 32, 3), output_shape=(None, 10))
    monkeypatch.setattr(networks.data, "load", lambda *_: Images())
    monkeypatch.setattr(networks.applications, "get_model", lambda *_, **__: model)
    prepared = image_options.chosen("0.5", "0.25,0.25,0.5", None, None)
    _, images = networks.of_weights("ResNet20", "w.safetensors", "images", prepared=prepared)
    np.testing.assert_allclose(images.mean, (127.5,) * 3)
    np.testing.assert_allclose(images.std, (63.75, 63.75, 127.5))
