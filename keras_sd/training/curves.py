"""Plots of runs."""

import csv
import io
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from keras_sd.utils.files import DamagedFileError, read_bytes, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    "epoch",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "seconds",
    "images_per_second",
)


def draw_curves(history: str | os.PathLike, path: str | os.PathLike, title: str) -> None:
    """Plot loss and error of a run by epoch.

    Args:
        history: Path of a run's `history.csv`.
        path: Path of the PNG file to write.
        title: String.
    """
    rows = read_history(history)
    figure, (loss, error) = _two_panels(title)
    for part, name, color in (("", "training", "tab:blue"), ("val_", "validation", "tab:orange")):
        style = {"label": name, "color": color, "marker": _marker(rows)}
        _plot(loss, rows, f"{part}loss", **style)
        _plot(error, rows, f"{part}accuracy", **style)
    _finish(loss, "cross-entropy loss", log=True)
    _finish(error, "classification error (%)")
    for axes in (loss, error):
        _mark_learning_rates(axes, rows)
        axes.legend(loc="upper right")
    save_figure(figure, path)


def compare_curves(
    runs: Mapping[str, tuple[str | os.PathLike, float | None]],
    path: str | os.PathLike,
    published: Sequence[tuple[float, str]] = (),
) -> None:
    """Plot training loss and validation error of several runs by epoch, with their test errors and published ones.

    Args:
        runs: Dictionary from a run's label to the path of its `history.csv` and its test error in percent (`None`
            where it was not tested): a diamond at its last epoch.
        path: Path of the image to write.
        published: Pairs of a test error in percent and its label, drawn as dashed lines.
    """
    figure, (loss, error) = _two_panels(None)
    highest = 0.0
    for number, (label, (history, tested)) in enumerate(runs.items()):
        rows = read_history(history)
        style = {"color": f"C{number % 10}", "marker": _marker(rows)}
        _plot(loss, rows, "loss", **style)
        _plot(error, rows, "val_accuracy", label=label + ("" if tested is None else f": test {tested:.2f} %"), **style)
        if tested is not None:
            error.plot(rows[-1]["epoch"], tested, "D", color=style["color"], markeredgecolor="black", zorder=3)
        settled = rows[len(rows) // 5 :]  # the first errors are high and uninformative
        highest = max(highest, *(100 * (1 - row["val_accuracy"]) for row in settled))
    for number, (percent, label) in enumerate(published):
        line = {"linestyle": ("--", "-.", ":")[number % 3], "linewidth": 1, "color": "black"}
        error.axhline(percent, label=f"published {percent:g} %: {label}", **line)
        highest = max(highest, percent)
    _finish(loss, "training loss", log=True)
    _finish(error, "validation error (%); diamond: test error")
    error.set_ylim(0, 1.08 * highest or 1)
    figure.legend(loc="outside lower center", ncols=1 if len(runs) + len(published) < 3 else 2, fontsize=8)
    save_figure(figure, path)


def save_figure(figure: "Figure", path: str | os.PathLike) -> None:
    """Write a figure as an image atomically, in the format of the path's suffix."""
    image = io.BytesIO()
    figure.savefig(image, format=Path(path).suffix[1:])
    write_atomically(path, image.getbuffer())


def read_history(path: str | os.PathLike, remedy: str = "restore it from a copy") -> list[dict[str, float]]:
    """Return the rows of a `history.csv` as dictionaries of floats.

    Args:
        path: Path of the file.
        remedy: String, what to do if it is damaged.

    Raises:
        DamagedFileError: The file is missing, or does not have a row of numbers for each epoch.
    """
    try:
        texts = csv.DictReader(io.StringIO(read_bytes(path, remedy).decode(), newline=""), strict=True)
        rows = [{name: float(value) for name, value in row.items()} for row in list(texts)]
    except (ValueError, TypeError, csv.Error) as error:
        if isinstance(error, DamagedFileError):
            raise
        raise DamagedFileError(path, "is no table of numbers", remedy) from error
    if not rows:
        raise DamagedFileError(path, "has no row", remedy)
    if missing := set(COLUMNS) - set(rows[0]):
        raise DamagedFileError(path, f"has no column {min(missing)!r}", remedy)
    return rows


def _two_panels(title):
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    figure = Figure(figsize=(10, 4.6), dpi=120, layout="constrained")
    if title:
        figure.suptitle(title)
    return figure, figure.subplots(1, 2)


def _marker(rows):
    return "." if len(rows) < 25 else None


def _plot(axes, rows, name, **style):
    """Return one column by epoch, accuracies as errors in percent."""
    values = [100 * (1 - row[name]) if name.endswith("accuracy") else row[name] for row in rows]
    axes.plot([row["epoch"] for row in rows], values, linewidth=1.6, **style)


def _finish(axes, label, log=False):
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3, which="both" if log else "major")
    if log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)


def _mark_learning_rates(axes, rows):
    """Draw a dotted line where the learning rate fell to a tenth; continuous schedules have no such line."""
    for before, row in itertools.pairwise(rows):
        if row["learning_rate"] < before["learning_rate"] / 5:
            x = (before["epoch"] + row["epoch"]) / 2
            axes.axvline(x, color="gray", linewidth=0.8, linestyle=":")
            axes.annotate(
                f"rate {row['learning_rate']:g}",
                (x, 0),
                xycoords=("data", "axes fraction"),
                xytext=(3, 4),
                textcoords="offset points",
                fontsize=8,
                color="gray",
            )
