"""`keras-sd train`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from keras_sd.cli.console import usage_errors
from keras_sd.cli.models import can_drop_blocks

Option = typer.Option


def train(
    model: Annotated[str | None, Option(help="Name of a model; `keras-sd models` lists them.")] = None,
    data: Annotated[str, Option(help="Name of a data set: digits or cifar10.")] = "digits",
    data_dir: Annotated[Path | None, Option(help="Directory of TensorFlow Datasets.")] = None,
    epochs: Annotated[int | None, Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, Option(help="Images in a step.")] = None,
    survival_probability: Annotated[float | None, Option(help="Of the last block; 1 keeps all.")] = None,
    schedule: Annotated[str | None, Option(help="linear, uniform, or one probability a block: 0.9,0.8,...")] = None,
    learning_rate: Annotated[float | None, Option(help="At the start; a tenth at 50 % and 75 %.")] = None,
    policy: Annotated[str | None, Option(help="Keras dtype policy: float32, mixed_bfloat16, ...")] = None,
    seed: Annotated[int | None, Option(help="What the seed sets off can be repeated.")] = None,
    out: Annotated[Path | None, Option(help="Folder of the run, new.", show_default="runs/MODEL-DATA-NUMBER")] = None,
):
    """Trains a model; without options a ResNet with stochastic depth on scanned digits.

    What is left out follows the data set's recipe.
    """
    from keras_sd import data as data_sets
    from keras_sd import training

    asked = {
        "epochs": epochs,
        "batch_size": batch_size,
        "survival_probability": survival_probability,
        "learning_rate": learning_rate,
        "policy": policy,
        "seed": seed,
        "data_dir": str(data_dir.resolve()) if data_dir else None,
    }
    with usage_errors():
        config = configure(data, model, survival_schedule=parse_schedule(schedule), **asked)
        path = out or training.default_path(config)
        training.RunFolder(path).check_free()
        dataset = data_sets.load(config.data, config.data_dir)
        dataset.steps_per_epoch(config.batch_size)
        network = build(config, dataset)
        folder = training.RunFolder.create(path)
    _run(network, dataset, config, folder)


def _run(network, dataset, config, folder):
    """Trains, showing it as the terminal allows, and ends with the line that says how it went."""
    from keras_sd import training
    from keras_sd.training.callbacks import Bar, Lines

    sizes = f"{len(dataset.train)} training, {len(dataset.validation)} validation, {len(dataset.test)} test"
    typer.echo(f"{config.model}, {network.count_params():,} parameters, on {dataset.name}: {sizes} images")
    console = Console(highlight=False)
    display = Bar(console) if console.is_terminal else Lines()
    try:
        results = training.train(network, dataset, config, folder, [display])
    finally:
        display.close()
    if results["status"] == "complete":
        typer.echo(
            f"test accuracy {results['test_accuracy']:.4f} (weights of epoch {results['best_epoch']}, best "
            f"on validation; last weights {results['test_accuracy_final']:.4f}), trained in "
            f"{results['train_seconds']:.1f} s, all in {folder}"
        )
    elif results["status"] == "interrupted":
        typer.echo(
            f"interrupted after {results['train_seconds']:.1f} s; the model as it stands is in {folder}; "
            f"`keras-sd evaluate {folder} --weights final` tests it"
        )
        raise typer.Exit(130)
    else:
        advice = f"a lower --learning-rate may help; its record is in {folder}"
        typer.echo(f"keras-sd: error: the loss became NaN or infinite; {advice}", err=True)
        raise typer.Exit(1)


def configure(data, model=None, **asked):
    """The configuration of a run: what was asked for, else what the model needs, else the data set's recipe."""
    from keras_sd import applications, training

    if model is not None:
        row = applications.find(model)
        model = row.name
        if not can_drop_blocks(row.spec) and asked.get("survival_probability") is None:
            asked["survival_probability"] = 1.0
        if row.classifier_activation != "softmax":  # threshold units have no probabilities
            asked["loss"] = "keras_sd>perceptron_loss"
    return training.resolve(data, model=model, **asked)


def build(config, dataset):
    """The model of a configuration, for the images and classes of a data set.

    Args:
        config: A `TrainConfig`.
        dataset: A `Dataset`.

    Returns:
        A `keras.Model`, made under the configuration's dtype policy and seed, which become Keras's own.
    """
    import keras

    from keras_sd import applications

    keras.config.set_dtype_policy(config.policy)
    keras.utils.set_random_seed(config.seed)
    shape = {"input_shape": dataset.input_shape, "classes": dataset.num_classes}
    return applications.get_model(config.model, weights=None, **shape, **_survival(config))


def _survival(config):
    """The arguments of a model that say how its blocks survive; none where all must."""
    from keras_sd import applications

    if can_drop_blocks(applications.find(config.model).spec):
        names = ("survival_probability", "survival_schedule", "seed")
        return {name: getattr(config, name) for name in names}
    if config.survival_probability != 1:
        raise ValueError(
            f"survival_probability is {config.survival_probability!r}; it must be 1 for {config.model}, which "
            f"cannot do without a block"
        )
    return {}


def parse_schedule(text):
    """A schedule's name as it is, numbers separated by commas as a tuple."""
    if text is None or "," not in text:
        return text
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise ValueError(f"schedule is {text!r}; it must be linear, uniform, or numbers with commas") from None
