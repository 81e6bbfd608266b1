"""The commands that the package prints or writes are run as they are written."""

import dataclasses
import hashlib
import json
import re
import shlex
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from helpers import printed, randomize
from PIL import Image
from typer.testing import CliRunner

from keras_sd import applications, cli, data, training, weights
from keras_sd.cli.running import tell
from keras_sd.runs import export
from keras_sd.runs.networks import build, configure
from keras_sd.training.overrides import Overrides
from keras_sd.tuning import report


def commands(text):
    """The commands in a text: in backticks, or on indented lines of their own."""
    return [
        shlex.split(found[0] or found[1])[1:]
        for found in re.findall(r"`(keras-sd .+?)`|^    (keras-sd .+)$", text, re.M)
    ]


def config_of(folder):
    return json.loads((folder / "config.json").read_text())["config"]


def accuracy_of(folder):
    return f"test accuracy {json.loads((folder / 'results.json').read_text())['test_accuracy']:.4f}"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of images that differ in size, in a path with a space."""
    folder, rng = tmp_path_factory.mktemp("data") / "my photos", np.random.default_rng(0)
    for name, gray in (("cats", 60), ("dogs", 180)):
        (folder / name).mkdir(parents=True)
        for number in range(40):
            size = (9 + number % 3, 12, 3)
            pixels = (gray + rng.integers(0, 60, size)).astype("uint8")
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A small run on digits, in a path with a space."""
    folder = tmp_path_factory.mktemp("runs") / "a run"
    printed("train", "--model", "MLP", "--set", "model_arguments.widths=[8]", "--smoke", "--out", folder)
    return folder


def exported(folder, out):
    """The commands of a model card for training and evaluation, which is checked to have no others."""
    printed("export", folder, out)
    card = (out / "README.md").read_text()
    train, evaluate = commands(card)
    assert (train[0], evaluate[0]) == ("train", "evaluate")
    return card, train, evaluate


@pytest.mark.slow
def test_a_fine_tuned_run_is_exported_and_repeated_by_its_card(first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(first / "model.keras", tmp_path / "my.keras")
    settings = ["--set", "model_arguments.widths=[8]", "--set", "model_arguments.weights=my.keras"]
    printed(
        "train", "--model", "MLP", "--data", "digits", *settings, "--smoke", "--learning-rate", 0.01, "--out", "tuned"
    )
    record = json.loads((tmp_path / "tuned" / "config.json").read_text())
    digest = hashlib.sha256((tmp_path / "my.keras").read_bytes()).hexdigest()
    assert record["weights_sha256"] == digest
    card, train, evaluate = exported(tmp_path / "tuned", tmp_path / "out")
    assert f"from the weights `my.keras`, SHA-256 {digest}," in card
    assert accuracy_of(tmp_path / "tuned") in printed(*evaluate)
    printed(*train, "--out", "again")
    assert config_of(tmp_path / "again") == config_of(tmp_path / "tuned")


def test_a_run_resumes_from_the_file_of_weights_that_it_began_with_only(first, tmp_path):
    file = shutil.copy(first / "model.keras", tmp_path / "my.keras")
    folder = shutil.copytree(first, tmp_path / "run")
    record = json.loads((folder / "config.json").read_text())
    record["config"]["model_arguments"]["weights"] = str(file)
    record["weights_sha256"] = "0" * 64
    (folder / "config.json").write_text(json.dumps(record))
    (folder / "results.json").unlink()
    process = CliRunner().invoke(cli.app, ["train", "--resume", "--out", str(folder)])
    assert process.exit_code != 0
    assert "the file with the SHA-256 0000" in (process.stderr or str(process.exception))


@pytest.mark.slow
def test_a_run_on_a_folder_is_repeated_by_its_card(photos, tmp_path, monkeypatch):
    """Images that differ in size need a size, which the card says; without it, it is that of the network."""
    monkeypatch.chdir(tmp_path)
    options = ["--data", f"folder:{photos}", "--recipe", "digits", "--set", "image_size=8", "--smoke"]
    printed("train", "--model", "MLP", "--set", "model_arguments.widths=[8]", *options, "--out", "run")
    card, train, evaluate = exported(tmp_path / "run", tmp_path / "my model")
    assert accuracy_of(tmp_path / "run") in printed(*evaluate)
    at = evaluate.index("--image-size")
    assert evaluate[at + 1] == "8"
    assert accuracy_of(tmp_path / "run") in printed(*evaluate[:at])
    assert accuracy_of(tmp_path / "run") in printed("evaluate", "run/", "--data", f"folder:{photos}")
    printed(*train, "--out", "again")
    assert config_of(tmp_path / "again") == config_of(tmp_path / "run")
    shutil.copy(photos / "cats" / "0.png", "image.png")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
    exec(code, {})


@pytest.mark.slow
def test_evaluate_refuses_an_image_size_that_the_network_does_not_have(first, refuses):
    refuses(["evaluate", str(first), "--image-size", "16"], "a set with images of (8, 8, 1)")
    refuses(["evaluate", str(first), "--image-size", "0"], "image_size")


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_a_network_without_softmax_is_exported_as_it_was_trained(tmp_path, activation):
    settings = {"model_arguments": {"widths": [4], "classifier_activation": activation}}
    config = configure(Overrides(data="digits", model="MLP", smoke=True, settings=settings))
    dataset = data.load("digits")
    folder = training.RunFolder(tmp_path / "run")
    training.train(build(config, dataset), dataset, config, folder)
    loaded = applications.MLP(weights=export.export(folder.path, tmp_path / "out"))
    images = dataset.normalize(dataset.test.images[:5])
    expected = folder.load_model(folder.best_weights).predict(images, verbose=0)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), expected, atol=1e-6)
    with pytest.raises(ValueError, match=f"`classifier_activation` must be None or {activation!r}"):
        applications.MLP(weights=tmp_path / "out", classifier_activation="tanh")


def test_an_activation_that_has_no_name_is_not_exported():
    with pytest.raises(ValueError, match=r"`run` must be of a network whose `classifier_activation` is a name"):
        export._activation(configure(Overrides(data="digits", model="Perceptron")))


@pytest.mark.parametrize("name", ["include_top", "classes", "input_shape"])
def test_arguments_that_the_data_decides_are_refused(name, refuses):
    refuses(["train", "--set", f"model_arguments.{name}=3"], f"`model_arguments.{name}` must be left out")


def test_a_configuration_without_a_recipe_is_repeated():
    config = training.TrainConfig("MLP", "digits", 3, 8, 0.1, 1.0, momentum=0.5, nesterov=False, l2=0.25)
    *_, settings = training_words = shlex.split(export.training_command(config))
    assert settings
    options = dict(zip(training_words[2::2], training_words[3::2]))
    assert options["--recipe"] == "digits"
    sets = [value for option, value in zip(training_words[2::2], training_words[3::2]) if option == "--set"]
    assert sorted(sets) == ["l2=0.25", "momentum=0.5", "nesterov=false"]


@pytest.mark.slow
def test_what_an_interrupted_run_advises(first, tmp_path, capsys):
    """In a path with a space."""
    folder = shutil.copytree(first, tmp_path / "a run")
    (folder / "results.json").unlink()
    with pytest.raises(typer.Exit):
        tell({"status": "interrupted", "train_seconds": 1.0}, training.RunFolder(folder))
    evaluate, resume = commands(capsys.readouterr().out)
    assert (evaluate[:1], resume[:2]) == (["evaluate"], ["train", "--resume"])
    assert "test accuracy" in printed(*evaluate)
    assert "test accuracy" in printed(*resume)


@pytest.mark.slow
def test_the_best_of_a_search_is_trained_by_the_command_in_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = configure(Overrides(data="digits", model="MLP", settings={"model_arguments.widths": [8]}, seed=3))
    text = report._yaml(SimpleNamespace(completed=list), config)
    (tmp_path / "best.yaml").write_text(text)
    (words,) = re.findall(r"keras-sd (train .+)$", text, re.M)
    printed(*shlex.split(words), "--smoke", "--out", "run")
    small = {"epochs": 2, "steps_per_epoch": 2, "batch_size": 8}
    expected = training.TrainConfig.from_dict(config_of(tmp_path / "run"))
    assert expected == training.resolve(values=vars(config) | small)


@pytest.mark.parametrize("row", training.RECIPES.values(), ids=training.RECIPES)
def test_the_command_of_a_recipe_is_one(row):
    program, *words = shlex.split(row.command)
    context = typer.main.get_command(cli.app).commands[words[0]].make_context("train", words[1:])
    assert program == "keras-sd"
    configured = configure(Overrides(recipe=context.params["recipe"]))
    # Weights say the size of images, and how branches are scaled.
    own = {name: getattr(row.config, name) for name in ("image_size", "model_arguments")}
    assert row.name != "finetune" or configured.image_size == 224
    configured = dataclasses.replace(configured, **own) if row.name == "finetune" else configured
    assert configured == training.resolve(recipe=row.name)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--recipe", ""],
        ["train", "--model="],
        ["train", "--out", " "],
        ["train", "--data-dir", ""],
        ["train", "--config", ""],
        ["export", "", "out"],
        ["export", "run", ""],
        ["evaluate", ""],
        ["bench", ""],
        ["study", ""],
        ["summary", ""],
        ["predict", "ResNet20", "", "--weights", "cifar10"],
        ["weights", "list", ""],
    ],
)
def test_an_empty_word_is_refused(words, refuses):
    refuses(words, "not empty. Received: ")


@pytest.mark.slow
def test_a_run_from_a_file_of_another_library_is_exported_with_what_that_file_implies(tmp_path):
    """`stride_in="middle"`, no biases: the arguments of the file's own kind, not those of the factory."""
    network = {"blocks": (1, 2), "filters": (4, 8), "stem_filters": 4}
    pretrained = randomize(
        applications.ResNet50(weights=None, input_shape=(8, 8, 1), use_bias=False, stride_in="middle", **network)
    )
    weights.save(pretrained, tmp_path / "timm.safetensors", layout="timm")
    arguments = {**network, "scaling": "training", "weights": str(tmp_path / "timm.safetensors")}
    settings = {"model_arguments": arguments}
    config = configure(Overrides(data="digits", model="ResNet50", recipe="digits", smoke=True, settings=settings))
    dataset = data.load("digits", image_size=None)
    folder = training.RunFolder(tmp_path / "run")
    training.train(build(config, dataset), dataset, config, folder)
    exported = export.export(folder.path, tmp_path / "out")
    arguments = json.loads((exported / "config.json").read_text())["arguments"]
    assert (arguments["stride_in"], arguments["use_bias"]) == ("middle", False)
