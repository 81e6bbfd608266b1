"""`keras-sd study`."""

from pathlib import Path
from typing import Annotated

import typer

from keras_sd.cli import tables
from keras_sd.cli.console import INTERRUPTED, usage_errors
from keras_sd.cli.imports import IMAGES, load_silently

Option = typer.Option


def study(
    name: Annotated[str | None, typer.Argument(help="Name of a study; omit it to list them.")] = None,
    out: Annotated[Path, Option(help="Directory of tables, figures and trained networks, shared by studies.")] = Path(
        "studies"
    ),
    quick: Annotated[bool, Option("--quick", help="Small networks, few epochs: about a minute on digits.")] = False,
    data: Annotated[str, Option(help="Name of a data set.")] = "digits",
    data_dir: Annotated[Path | None, Option(help="Directory of TensorFlow Datasets.")] = None,
    epochs: Annotated[int | None, Option(help="Epochs of each training.", show_default="the study's")] = None,
    images: Annotated[
        int | None, Option(help="Maximum number of images to measure errors on.", show_default="the study's")
    ] = None,
    training_images: Annotated[
        int | None, Option(help="Number of training images.", show_default="the study's")
    ] = None,
    budget_params: Annotated[
        float | None, Option(help="Maximum parameters of compared networks, such as 1e6.", show_default="none")
    ] = None,
    draws: Annotated[
        int | None, Option(help="Number of sub-networks, lesions, paths or turns.", show_default="the study's")
    ] = None,
    run: Annotated[list[str] | None, Option(help="Folder of a run to analyze; may be repeated.")] = None,
    model: Annotated[str | None, Option(help="Name of a model to analyze, with --weights.")] = None,
    weights: Annotated[str | None, Option(help="Weights of --model: a tag, a file or a folder.")] = None,
    policy: Annotated[str, Option(help="Keras dtype policy for training.")] = "float32",
    seed: Annotated[int, Option(help="Random seed.")] = 0,
    seeds: Annotated[int | None, Option(help="Trainings of each network.", show_default="the study's")] = None,
    as_json: tables.Json = False,
    as_csv: tables.Csv = False,
) -> None:
    """Test a claim about deep networks; write NAME.csv, NAME.png, and the numbers found to NAME.json.

    The same command resumes a stopped study: the directory keeps trained networks and results, keyed by the settings
    that determine them.
    """
    if name is None:
        with usage_errors():
            _list(as_json, as_csv)
        return
    load_silently(IMAGES)
    with usage_errors():
        from keras_sd import studies
        from keras_sd.studies.outcome import verdict

        options = studies.Options(
            out=out,
            data=data,
            data_dir=data_dir,
            quick=quick,
            epochs=epochs,
            images=images,
            training_images=training_images,
            budget_params=budget_params,
            draws=draws,
            runs=tuple(run or ()),
            model=model,
            weights=weights,
            policy=policy,
            seed=seed,
            seeds=seeds,
        )
        outcome, files = _run(studies, name, options)
    typer.echo(f"claim: {studies.STUDIES[name].claim}")
    typer.echo(f"found: {outcome.finding}")
    typer.echo(f"criterion: {studies.STUDIES[name].criterion}")
    typer.echo(f"verdict: {verdict(outcome, quick)}")
    typer.echo(f"all in {', '.join(map(str, files))}")


def _run(studies, name, options):
    try:
        return studies.run(name, options, typer.echo)
    except KeyboardInterrupt as stopped:
        typer.echo(str(stopped) or "stopped; the same command resumes it")
        raise typer.Exit(INTERRUPTED) from None


def _list(as_json, as_csv):
    from keras_sd.studies import STUDIES

    columns = (
        tables.Column("study"),
        tables.Column("--run, --model", lambda analyses: "yes" if analyses else ""),
        tables.Column("claim", wraps=True),
    )
    tables.print_table(columns, [(row.name, row.analyses, row.claim) for row in STUDIES.values()], as_json, as_csv)
