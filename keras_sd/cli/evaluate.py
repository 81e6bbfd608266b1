"""`keras-sd evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from keras_sd.cli import image_options
from keras_sd.cli.console import usage_errors
from keras_sd.utils.checks import refusal

Option = typer.Option


def evaluate(
    run: Annotated[str, typer.Argument(help="Folder of a run, or name of a model.")],
    weights: Annotated[
        str,
        Option(
            help="For a run: best (on validation), final or ema (the average). For a model: a tag, hf://owner/name, a "
            "file or a folder."
        ),
    ] = "best",
    data: Annotated[str | None, Option(help="Name of a data set.", show_default="the run's")] = None,
    data_dir: Annotated[Path | None, Option(help="Directory of TensorFlow Datasets.")] = None,
    image_size: Annotated[
        int | None, Option(help="Height and width to resize images to.", show_default="the network's, or the run's")
    ] = None,
    recalibrate: Annotated[
        bool, Option("--recalibrate", help="Recompute batch normalization statistics first, on training images.")
    ] = False,
    report: Annotated[
        Path | None,
        Option(
            help="New folder for top-5 and per-class accuracy, a confusion matrix and the worst mistakes.",
            show_default="none",
        ),
    ] = None,
    mean: image_options.Mean = None,
    std: image_options.Std = None,
    scale: image_options.Scale = None,
    preprocessing: image_options.Source = None,
) -> None:
    """Evaluate a run's model, or a model with published weights or weights from a file, on the test split."""
    from keras_sd import training
    from keras_sd.runs import error_report, networks

    with usage_errors():
        if report is not None:
            training.RunFolder(report).check_free()
        is_run = Path(run).exists() or "/" in run
        if recalibrate and (not is_run or data is not None):
            raise refusal("recalibrate", "False unless a run is evaluated on its own data", True)
        prepared = image_options.chosen(mean, std, scale, preprocessing)
        if is_run:
            image_options.refuse_for_run(prepared)
            model, dataset = networks.of_run(run, weights, data, data_dir, image_size)
        else:
            model, dataset = _of_model(run, weights, data, data_dir, image_size, prepared)
    if recalibrate:
        training.recalibrate_by(model, dataset, training.RunFolder.open(run).train_config())
    scores = training.evaluate(model, dataset)
    typer.echo(
        f"test accuracy {scores['accuracy']:.4f}, loss {scores['loss']:.4f}: {weights} weights of {run}"
        f"{', recalibrated,' if recalibrate else ''} on {len(dataset.test)} images of {dataset.name}"
    )
    if report is not None:
        found = error_report.write_report(model, dataset, report)
        typer.echo(f"top-1 {found['top1']:.4f}, top-5 {found['top5']:.4f}; all in {report}")


def _of_model(name, weights, data, data_dir, image_size, prepared):
    """Return a compiled model with published weights and its data set, or raise on missing options."""
    from keras_sd.runs import networks

    try:
        networks.identify(name)
    except ValueError as error:
        raise refusal(
            "run", f"the folder of a run, which contains a config.json, or the name of a model ({error})", name
        ) from error
    if weights == "best" or data is None:
        missing = "--weights" if weights == "best" else "--data"
        raise refusal(missing, "given: a model needs weights and a data set", None)
    model, dataset = networks.of_weights(name, weights, data, data_dir, image_size, prepared)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, dataset
