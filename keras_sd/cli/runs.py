"""`keras-sd recipes`, `keras-sd runs` and `keras-sd plot`: lists of recipes and runs, and learning curves."""

from pathlib import Path
from typing import Annotated, Any

import typer

from keras_sd.cli import tables
from keras_sd.cli.console import printable, tell_error, usage_errors
from keras_sd.cli.dry_run import as_yaml
from keras_sd.utils.checks import refusal

Option = typer.Option


def recipes(
    name: Annotated[str | None, typer.Argument(help="Recipe whose settings to print.")] = None,
    markdown: Annotated[bool, Option("--markdown", help="Print a Markdown table, for the documentation.")] = False,
    as_json: tables.Json = False,
    as_csv: tables.Csv = False,
) -> None:
    """List the recipes with source and published error, or print one recipe as a file for --config."""
    from keras_sd.training import recipes as table

    if name is None:
        with usage_errors():
            _print_recipes(table.RECIPES.values(), markdown, as_json, as_csv)
        return
    with usage_errors():
        row = table.find(name)
    typer.echo(f"# {row.command}\n# {row.source}")
    for variant in row.variants:
        where = ", ".join(f"{name} {' or '.join(map(str, values))}" for name, values in variant.where.items())
        changes = ", ".join(f"{name} {value}" for name, value in variant.changes.items())
        typer.echo(f"# for {where}: {changes} ({variant.reason})")
    for line in ([row.notes] if row.notes else []) + [_published(published) for published in row.published]:
        typer.echo(f"# {line}")
    typer.echo(as_yaml(row.adapted({})))


_HEADINGS = ("recipe", "model", "data", "epochs", "batch", "learning rate", "published error", "source")
_RECIPE_RANKS = (0, 0, 0, 1, 2, 3, 4, 5)


def _print_recipes(rows, markdown, as_json, as_csv):
    table = [_recipe_cells(row) for row in rows]
    if markdown:
        typer.echo("\n".join(f"| {' | '.join(cells)} |" for cells in _markdown_rows(table)))
        return
    columns = [tables.Column(name, rank=rank) for name, rank in zip(_HEADINGS, _RECIPE_RANKS)]
    tables.print_table(columns, [(*cells[:-1], _short(cells[-1])) for cells in table], as_json, as_csv)


def _markdown_rows(table):
    """Return the rows of the documentation's table; columns are merged to fit the page."""
    rows = [("recipe", "model, data", "epochs x batch", "learning rate", "published error, source"), ("---",) * 5]
    for name, model, data, epochs, batch, rate, error, source in table:
        result = f"{error}: {source}" if error else source
        rows.append((f"`{name}`", f"{model}, {data}", f"{epochs} x {batch}", rate, result))
    return rows


def _recipe_cells(row):
    from keras_sd.training.recipes import OURS

    config = row.config
    rate = f"{config.learning_rate:g} {config.learning_rate_schedule}"
    published = None if row.source == OURS else published_error(config)
    error = f"{published[1]:g} %" if published else ""
    return [row.name, config.model, config.data, f"{config.epochs}", f"{config.batch_size}", rate, error, row.source]


def _published(row):
    return (
        f"{row.model} on {row.data}, survival probability {row.survival_probability:g}: error {row.percent:g} %, "
        f"{row.source}"
    )


_RUN_COLUMNS = (
    tables.Column("run"),
    tables.Column("status"),
    tables.Column("epochs", is_number=True),
    tables.Column("validation", "{:.4f}".format, is_number=True, rank=1),
    tables.Column("test", "{:.4f}".format, is_number=True),
    tables.Column("seconds", "{:.0f}".format, is_number=True, rank=2),
    tables.Column("model", rank=3),
    tables.Column("data", rank=4),
    tables.Column("recipe", rank=5),
)


def runs(
    root: Annotated[Path, typer.Argument(help="Folder that contains run folders.")] = Path("runs"),
    as_json: tables.Json = False,
    as_csv: tables.Csv = False,
) -> None:
    """List the runs in a folder, newest first. Report damaged runs, with exit code 2."""
    from keras_sd.training import RunFolder

    with usage_errors():
        if not root.is_dir():
            raise refusal("root", "a folder", str(root))
        rows, errors = [], []
        for path in sorted(_run_paths(root), key=_started, reverse=True):
            try:
                rows.append((printable(path.relative_to(root)), *summarize(RunFolder(path))))
            except ValueError as error:
                errors.append(error)
        tables.print_table(_RUN_COLUMNS, rows, as_json, as_csv, f"Runs in {root}, newest first")
    for damage in errors:
        tell_error(damage)
    if errors:
        raise typer.Exit(2)


def _run_paths(root):
    """Yield run folders, including damaged ones, but not other folders that have a `config.json`."""
    import contextlib
    import os

    from keras_sd.utils.files import DamagedFileError, read_json

    for path, folders, files in os.walk(root):
        folders.sort()
        path, names = Path(path), {*folders, *files}
        with contextlib.suppress(DamagedFileError):
            if "config" in read_json(path / "config.json"):
                yield path
            continue
        is_left = "best.weights.h5" in names or any(path.glob("checkpoints/step-*.npz"))
        if is_left or ("config.json" in names and names & {"run.lock", "history.csv", "results.json"}):
            yield path


def _started(path):
    """Return the start time of a run: its `config.json` is written once."""
    config = path / "config.json"
    return config.stat().st_mtime if config.is_file() else 0.0


def summarize(folder: Any) -> tuple[Any, ...]:
    """Return the values of a run's row, without its name.

    Raises:
        DamagedFileError: One of the run's records is damaged.
    """
    from keras_sd.training.curves import read_history

    config, results = folder.train_config(), folder.outcome()
    history = read_history(folder.history, folder.remedy(folder.history)) if folder.history.exists() else []
    best = max((row["val_accuracy"] for row in history), default=None)
    return (
        results.get("status") or _state(folder),
        f"{len(history)}/{config.epochs}",
        best,
        results.get("test_accuracy"),
        results.get("train_seconds", sum(row["seconds"] for row in history)),
        config.model,
        config.data,
        config.recipe,
    )


def _state(folder):
    """Return whether an unfinished run is being trained or waits for `--resume`."""
    try:
        with folder.locked():
            return "stopped"
    except BlockingIOError:
        return "running"
    except OSError:  # a folder that cannot be written
        return "not ended"


def plot(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    out: Annotated[Path, Option(help="Image to write: PNG, SVG or PDF.")] = Path("curves.png"),
) -> None:
    """Draw the curves of several runs, a row for each data set, with published errors if there are any."""
    from keras_sd.training import RunFolder
    from keras_sd.training.curves import Curve, compare_curves, read_history

    with usage_errors():
        if out.suffix not in (".png", ".svg", ".pdf"):
            raise refusal("out", "a path that ends with .png, .svg or .pdf", str(out))
        opened = [RunFolder.open(path) for path in folders]
        for folder in opened:
            folder.outcome()
            if not folder.history.exists():
                raise refusal("run", "the folder of a run with a finished epoch (history.csv)", str(folder))
            read_history(folder.history, folder.remedy(folder.history))
        curves = []
        for label, folder in zip(_labels(opened), opened):
            config = folder.train_config()
            published = published_error(config)
            line = (published[1], published[0]) if published else None
            curves.append(Curve(label, folder.history, config.data, _test_error(folder), line))
        compare_curves(curves, out)
    typer.echo(f"{out}: {len(opened)} runs")


def _labels(folders):
    """Return distinct labels: the folder names, or the whole paths if two names are equal."""
    names = [folder.path.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _test_error(folder):
    results = folder.outcome()
    return 100 * (1 - results["test_accuracy"]) if "test_accuracy" in results else None


def published_error(config: Any) -> Any:
    """Return label and percent of the published error for a run: its recipe's, else its model's, else `None`."""
    from keras_sd import applications
    from keras_sd.training import RECIPES

    row = RECIPES.get(config.recipe)
    published = row.published_for(config) if row else None
    if published is not None:
        kind = "" if config.survival_probability < 1 else ", constant depth"
        return f"{config.model}{kind}, {_short(published.source)}", published.percent
    model = applications.MODELS.get(config.model)
    data = {"cifar10": "CIFAR-10", "imagenet2012": "ImageNet"}.get(config.data)
    if model is None or model.error is None or data is None or not model.error.data.startswith(data):
        return None
    return f"{model.name}, {_short(model.error.source)}", model.error.percent


def _short(source):
    """Remove the link of a source: `[He et al., 2016](https://...), table 6` becomes `He et al., 2016, table 6`."""
    import re

    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", source)
