"""Training by recipes from the command line, and what shows the runs: `recipes`, `runs`, `plot`, `evaluate`."""

import csv
import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from helpers import keras_sd

from keras_sd import training
from keras_sd.applications import MODELS
from keras_sd.cli.train import parse_names, recorded_config
from keras_sd.runs.networks import configure
from keras_sd.training import overrides
from keras_sd.training.overrides import Overrides
from keras_sd.tuning.record import DEFAULTS, Record

SMALL = ("--data", "digits", "--model", "ResNet", "--set", "model_arguments.depth=8", "--smoke")
AVERAGED = ("--set", "ema_momentum=0.9", "--set", "recalibrate=true")
# Recipes whose network and kind of augmentation another recipe or test has, too: run by `make test-all`.
REPEATED = ("digits", "fast_cifar", "he2016_cifar", "huang2016_cifar", "resnet_imagenet_modern", "rsb_a3")


def trained(folder, *arguments):
    process = keras_sd("train", *arguments, "--out", folder)
    assert process.exit_code == 0, process.output
    return training.RunFolder(folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(root):
    """A smoke run of our own recipe, with averages, recalibration and logs."""
    return trained(root / "fast", "--recipe", "fast_cifar", *SMALL, *AVERAGED, "--tensorboard")


def config_of(folder):
    return training.TrainConfig.from_dict(folder.read(folder.config)["config"])


@pytest.mark.slow
def test_a_recipe_with_settings(run):
    config = config_of(run)
    assert (config.recipe, config.model, config.model_arguments) == ("fast_cifar", "ResNet", {"depth": 8})
    assert (config.epochs, config.steps_per_epoch, config.batch_size) == (2, 2, 8)
    assert (config.learning_rate_schedule, config.ema_momentum) == ("one_cycle", 0.9)
    assert run.read(run.results)["status"] == "complete"
    with run.history.open() as file:
        assert len(list(csv.DictReader(file))) == 2


@pytest.mark.slow
def test_its_record_trains_the_same_again(run, root):
    again = trained(root / "again", "--config", run.config)
    assert config_of(again) == config_of(run)
    names = ("test_accuracy", "test_accuracy_final", "test_accuracy_ema", "test_accuracy_ema_recalibrated")
    first, second = run.read(run.results), again.read(again.results)
    assert [first[name] for name in names] == [second[name] for name in names]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "options", "key"),
    [
        ("best", (), "test_accuracy"),
        ("final", (), "test_accuracy_final"),
        ("final", ("--recalibrate",), "test_accuracy_recalibrated"),
        ("ema", (), "test_accuracy_ema_recalibrated"),
    ],
)
def test_evaluate_repeats_what_the_run_found(run, weights, options, key, monkeypatch):
    from keras_sd.training import evaluation

    steps = config_of(run).steps_per_epoch  # the run tested so many batches only
    whole = evaluation.evaluate
    monkeypatch.setattr(training, "evaluate", lambda model, dataset: whole(model, dataset, steps=steps))
    process = keras_sd("evaluate", run, "--weights", weights, *options)
    assert process.exit_code == 0, process.output
    assert f"test accuracy {run.read(run.results)[key]:.4f}" in process.output
    assert ("recalibrated" in process.output) is bool(options)


@pytest.mark.slow
def test_tensorboard_has_logs(run):
    assert list(run.tensorboard.rglob("events.out.tfevents*"))


def test_names_of_augmentations():
    found = {text: parse_names(text) for text in (None, "none", "shift_flip", "a, b")}
    assert found == {None: None, "none": (), "shift_flip": ("shift_flip",), "a, b": ("a", "b")}


def test_other_names_of_data(tmp_path):
    config = configure(Overrides(data="svhn"))
    assert (config.data, config.recipe) == ("svhn_cropped", "huang2016_svhn")
    assert training.resolve("imagenet") == training.resolve("imagenet2012")
    assert configure(Overrides(recipe="fast_cifar", file={"data": "svhn"})).data == "svhn_cropped"
    folder = training.RunFolder(tmp_path)
    folder.write(folder.config, {"config": dataclasses.asdict(config)})
    assert recorded_config(folder, Overrides(data="svhn")) == config
    Record(tmp_path, config, DEFAULTS).write()
    assert Record.read(tmp_path, Overrides(data="svhn"), {}).config == config


def test_folders_are_named_by_any_data(tmp_path):
    config = training.resolve(recipe="digits", values={"data": "folder:/pictures/cats & dogs"})
    assert training.default_path(config, tmp_path) == tmp_path / "ResNet20-folder-pictures-cats-dogs-1"


def test_recipes_are_listed():
    output = keras_sd("recipes").output
    for name, row in training.RECIPES.items():
        (line,) = [line for line in output.splitlines() if line.startswith(f"{name} ")]
        assert row.config.model in line
    assert "5.25 %" in output


def test_the_guide_has_the_table():
    guide = (Path(__file__).parent.parent / "docs" / "training.md").read_text()
    table = keras_sd("recipes", "--markdown").output.strip()
    assert table in guide, "docs/training.md is out of date: keras-sd recipes --markdown"


@pytest.mark.parametrize("name", training.RECIPES)
def test_a_recipe_is_printed_as_a_file_that_trains_by_it(name, tmp_path):
    output = keras_sd("recipes", name).output
    assert training.RECIPES[name].command in output
    (tmp_path / "recipe.yaml").write_text(output)
    assert training.resolve(values=overrides.read(tmp_path / "recipe.yaml")) == training.resolve(recipe=name)


def test_runs_are_listed_newest_first(run, root):
    killed = training.RunFolder(root / "killed")
    killed.path.mkdir(exist_ok=True)
    killed.write(killed.config, run.read(run.config))
    killed.history.write_text("".join(run.history.read_text().splitlines(keepends=True)[:2]))
    (root / "note").mkdir(exist_ok=True)
    (root / "note" / "config.json").write_text("[]")  # nobody's run
    process = keras_sd("runs", root, "--json")
    assert process.exit_code == 0, process.output
    rows = {row.pop("run"): row for row in json.loads(process.output)}
    results = run.read(run.results)
    assert rows["fast"] == {
        "status": "complete",
        "epochs": "2/2",
        "validation": results["validation_accuracy"],
        "test": results["test_accuracy"],
        "seconds": results["train_seconds"],
        "model": "ResNet",
        "data": "digits",
        "recipe": "fast_cifar",
    }
    assert (rows["killed"]["status"], rows["killed"]["epochs"], rows["killed"]["test"]) == ("stopped", "1/2", None)
    assert list(rows).index("killed") < list(rows).index("fast")
    assert "note" not in rows
    with training.RunFolder(killed.path).locked():  # as another process has it
        listed = keras_sd("runs", root).output
    (row,) = [line.split() for line in listed.splitlines() if line.startswith("killed")]
    assert row[1] == "running"


def test_plot_draws_several_runs(run, root, tmp_path):
    record = run.read(run.config)
    record["config"] |= {"data": "cifar10", "recipe": "huang2016_cifar", "model": "ResNet110", "model_arguments": {}}
    record["config"]["survival_probability"] = 0.5
    paper = training.RunFolder(tmp_path / "paper")
    paper.path.mkdir()
    paper.write(paper.config, record)
    paper.history.write_text(run.history.read_text())
    process = keras_sd("plot", run, paper, "--out", tmp_path / "curves.svg")
    assert process.exit_code == 0, process.output
    drawing = (tmp_path / "curves.svg").read_text()
    assert "<svg" in drawing
    labels = ("fast: test", "paper", "published 5.25 %: ResNet110, Huang et al., 2016")
    for label in (*labels, "cifar10", "digits"):  # data sets have panels of their own
        assert f"<!-- {label}" in drawing  # as matplotlib notes its texts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--recipe", "he2015"], "`recipe` must be a known name, such as he2016_cifar"),
        (["train", "--set", "epoch=3"], "`setting` must be a known name, such as epochs"),
        (["train", "--set", "epochs"], "`set` must be KEY=VALUE"),
        (["train", "--set", "epochs=many"], "`epochs` must be a whole number of at least 1"),
        (["train", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["train", "--set", "model_arguments.depths=8"], "ResNetSpec has no depths"),
        (
            ["train", "--augmentation", "rand_augmnt"],
            "`augmentation` must be a known name, such as rand",
        ),
        (["train", "--data", "folder:cats"], "cats is not a directory"),
        (["train", "--recipe", "small_images"], "`data` must be given with the recipe 'small_images'"),
        (["train", "--data", "npz:cats.npz"], "`recipe` must be named for the data 'npz:cats.npz'"),
        (["train", "--set", "weight_decay=0"], "weight_decay is called l2"),
        (["train", "--set", "drop_path_rate=0.1"], "survival_probability, which is 1 - the rate"),
        (["train", "--set", "model_arguments.drop_path_rate=0.1"], "survival_probability, which is 1 - the rate"),
        (["train", "--drop-path", "0.1"], "--survival-probability, which is 1 - the rate"),
        (["train", "--schedule", "cosine"], "--survival-schedule or --learning-rate-schedule"),
        (["models", "--json", "--csv"], "`json` must be left out with --csv"),
        (["recipes", "huang"], "`recipe` must be a"),
        (["runs", "nowhere"], "`root` must be a folder"),
        (["plot", "nowhere"], "which contains a config.json"),
        (["plot", "nowhere", "--out", "curves.doc"], "`out` must be a path that ends with .png, .svg or .pdf"),
        (["evaluate", "ResNet20", "--recalibrate"], "`recalibrate` must be False unless a run"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, refuses):
    refuses(arguments, message)


@pytest.mark.slow
def test_a_run_without_an_average(root):
    plain = trained(root / "plain", *SMALL)
    process = keras_sd("evaluate", plain, "--weights", "ema")
    assert process.exit_code == 2
    assert "has no average; train with --set ema_momentum=0.999" in process.stderr
    assert "test_accuracy_ema" not in json.loads(plain.results.read_text())
    for file, message in (
        (plain.best_weights, "`weights` must be 'final' for"),
        (plain.model, "no trained model"),
    ):
        file.unlink()  # as of a run that was interrupted, or killed
        process = keras_sd("evaluate", plain)
        assert process.exit_code == 2
        assert message in process.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "whole"),
    [
        pytest.param(name, whole, marks=[pytest.mark.large] if whole or name in REPEATED else [], id=f"{name}-{size}")
        for name in training.RECIPES
        if name != "finetune"  # which needs weights
        for whole, size in ((False, "small"), (True, "whole"))
    ],
)
def test_every_smoke_form_runs(name, whole, tmp_path):
    """On digits, for ImageNet's networks as large as they need them; small networks have one block a stage."""
    data, config = ["--data", "digits"], training.RECIPES[name].config
    if config.data == "imagenet2012":
        data += ["--set", "image_size=32"]
    if config.test_image_size:
        data += ["--set", "test_image_size=40"]
    if not whole and config.model in MODELS:
        blocks = [1] * len(MODELS[config.model].spec.blocks)
        data += ["--set", f"model_arguments={{blocks: {blocks}}}"]
    folder = trained(tmp_path / "run", "--recipe", name, *data, "--smoke")
    assert folder.read(folder.results)["status"] == "complete"


@pytest.mark.slow
def test_yaml_from_a_file(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"recipe": "digits", "model": "MLP", "learning_rate": 0.01}))
    folder = trained(tmp_path / "run", "--config", tmp_path / "mine.yaml", "--smoke")
    config = config_of(folder)
    assert (config.recipe, config.model, config.learning_rate, config.epochs) == ("digits", "MLP", 0.01, 2)
    assert config.survival_probability == 1  # a perceptron can do without no layer
