"""`keras-sd evaluate`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from keras_sd.cli.console import usage_errors
from keras_sd.cli.train import image_size

Option = typer.Option

RUN_WEIGHTS = ("best", "final", "ema")


def evaluate(
    run: Annotated[str, typer.Argument(help="Folder of a run, or name of a model.")],
    weights: Annotated[
        str,
        Option(
            help="Of a run: best (on validation), final, or ema (the average). Of a model: a tag, hf://owner/name, a "
            "file, a folder."
        ),
    ] = "best",
    data: Annotated[str | None, Option(help="Name of a data set.", show_default="the run's")] = None,
    data_dir: Annotated[Path | None, Option(help="Directory of TensorFlow Datasets.")] = None,
    recalibrate: Annotated[
        bool, Option("--recalibrate", help="Batch normalization first, by an epoch of the run's training images.")
    ] = False,
):
    """Tests a run's model, or a model with published weights, on the test images."""
    from keras_sd import training

    with usage_errors():
        is_run = Path(run).exists() or "/" in run
        if recalibrate and (not is_run or data is not None):
            raise ValueError("recalibrate is True; it must be False but for a run on its own data")
        model, dataset = (_of_run if is_run else _of_model)(run, weights, data, data_dir)
    if recalibrate:
        folder = training.RunFolder.open(run)
        config = training.TrainConfig.from_dict(folder.read(folder.config)["config"])
        training.recalibrate_by(model, dataset, config)
    scores = training.evaluate(model, dataset)
    typer.echo(
        f"test accuracy {scores['accuracy']:.4f}, loss {scores['loss']:.4f}: {weights} weights of {run}"
        f"{', recalibrated,' if recalibrate else ''} on {len(dataset.test)} images of {dataset.name}"
    )


def _of_run(run, weights, data, data_dir):
    """The model of a run, and a data set normalised as the run's was: the model knows pixels so."""
    import keras

    from keras_sd import data as data_sets
    from keras_sd import training

    folder = training.RunFolder.open(run)
    if weights not in RUN_WEIGHTS:
        raise ValueError(f"weights is {weights!r}; of a run it must be one of {', '.join(RUN_WEIGHTS)}")
    record = folder.read(folder.config)
    if "config" not in record:
        raise ValueError(f"run is {run!r}, an exported folder; name its model, and the folder as --weights")
    if weights == "ema" and not folder.ema_weights.exists():
        raise ValueError(f"weights is 'ema', and {run} has no average; train with --set ema_momentum=0.999")
    config, stored = training.TrainConfig.from_dict(record["config"]), record["dataset"]
    dataset = data_sets.load(data or config.data, data_dir or config.data_dir, **image_size(config))
    _check_fit(dataset, tuple(stored["input_shape"]), len(stored["class_names"]), "the run had")
    model = keras.saving.load_model(folder.model)
    if weights != "final":
        model.load_weights(folder.best_weights if weights == "best" else folder.ema_weights)
    return model, dataclasses.replace(dataset, mean=tuple(stored["mean"]), std=tuple(stored["std"]))


def _of_model(name, weights, data, data_dir):
    """A model with published weights, and a data set normalised as those need it."""
    from keras_sd import applications, preprocessing
    from keras_sd import data as data_sets

    try:
        name = applications.find(name).name
    except ValueError as error:
        raise ValueError(f"run is {name!r}, a folder that holds no config.json, and no model: {error}") from error
    if weights == "best" or data is None:
        missing = "--weights" if weights == "best" else "--data"
        raise ValueError(f"{missing} is not given; a model is tested with weights on a data set, which must be named")
    how = preprocessing.for_weights(name, weights).preprocessing
    model = applications.get_model(name, weights=weights)
    dataset = data_sets.load(data, data_dir)
    _check_fit(dataset, model.input_shape[1:], model.output_shape[-1], "the weights need")
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    unit = 255 / dataset.white * how.scale  # of a stored pixel, in the units of the weights' mean
    return model, dataclasses.replace(
        dataset, mean=tuple(m / unit for m in how.mean), std=tuple(s / unit for s in how.std)
    )


def _check_fit(dataset, shape, classes, whose):
    if (dataset.input_shape, dataset.num_classes) != (shape, classes):
        raise ValueError(
            f"data is {dataset.name!r}, with images of {dataset.input_shape} and {dataset.num_classes} "
            f"classes; it must have {shape} and {classes} as {whose}"
        )
