"""Plots of runs."""

import csv
import io
import itertools
import os
from collections.abc import Sequence
from typing import NamedTuple

from keras_sd.utils.files import DamagedFileError, read_bytes
from keras_sd.utils.plotting import MUTED, PALETTE, panels, save_figure, set_log_scale

_PANEL = (5.0, 4.6)
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
    figure, (loss, error) = panels(1, 2, title, _PANEL)
    for part, name, color in (("", "training", PALETTE[0]), ("val_", "validation", PALETTE[1])):
        style = {"label": name, "color": color, "marker": _marker(rows)}
        _plot(loss, rows, f"{part}loss", **style)
        _plot(error, rows, f"{part}accuracy", **style)
    _finish(loss, "cross-entropy loss", log=True)
    _finish(error, "classification error (%)")
    for axes in (loss, error):
        _mark_learning_rates(axes, rows)
        axes.legend(loc="lower left")  # curves begin at the top
    save_figure(figure, path)


class Curve(NamedTuple):
    """A run in `compare_curves`.

    Attributes:
        label: String.
        history: Path of the run's `history.csv`.
        data: String, the data set, which selects the row of the figure.
        test_error: Float, in percent, drawn as a diamond at the last epoch; `None` for a run without a test.
        published: Pair of a published test error in percent and its label, drawn as a dashed line; or `None`.
    """

    label: str
    history: str | os.PathLike
    data: str = ""
    test_error: float | None = None
    published: tuple[float, str] | None = None


def compare_curves(runs: Sequence[Curve], path: str | os.PathLike) -> None:
    """Plot training loss and validation error of runs by epoch, with test errors and published ones.

    Args:
        runs: `Curve`s. Those of different data sets are drawn in different rows: their errors are not comparable.
        path: Path of the image to write.
    """
    rows = {run.data: [other for other in runs if other.data == run.data] for run in runs}
    figure, axes = panels(len(rows), 2, None, _PANEL)
    color = {run.label: PALETTE[number % len(PALETTE)] for number, run in enumerate(runs)}
    for row, (data, of_data) in enumerate(rows.items()):
        _compare(axes[2 * row : 2 * row + 2], of_data, color)
        if len(rows) > 1:
            for one in axes[2 * row : 2 * row + 2]:
                one.set_title(data)
    entries = sum(len(one.get_legend_handles_labels()[1]) for one in axes)
    figure.legend(loc="outside lower center", ncols=1 if entries < 3 else 2, fontsize=8)
    save_figure(figure, path)


def _compare(axes, runs, color):
    """Draw runs on one data set into a pair of axes."""
    loss, error = axes
    highest = 0.0
    for run in runs:
        rows = read_history(run.history)
        style = {"color": color[run.label], "marker": _marker(rows)}
        tested = "" if run.test_error is None else f": test {run.test_error:.2f} %"
        _plot(loss, rows, "loss", **style)
        _plot(error, rows, "val_accuracy", label=run.label + tested, **style)
        if run.test_error is not None:
            error.plot(rows[-1]["epoch"], run.test_error, "D", color=style["color"], markeredgecolor="black", zorder=3)
        settled = rows[len(rows) // 5 :]  # the first errors are high and uninformative
        highest = max(highest, *(100 * (1 - row["val_accuracy"]) for row in settled))
    for number, (percent, label) in enumerate(dict.fromkeys(run.published for run in runs if run.published)):
        line = {"linestyle": ("--", "-.", ":")[number % 3], "linewidth": 1, "color": "black"}
        error.axhline(percent, label=f"published {percent:g} %: {label}", **line)
        highest = max(highest, percent)
    _finish(loss, "training loss", log=True)
    _finish(error, "validation error (%); diamond: test error")
    error.set_ylim(0, 1.08 * highest or 1)


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


def _marker(rows):
    return "." if len(rows) < 25 else None


def _plot(axes, rows, name, **style):
    """Return one column by epoch, accuracies as errors in percent."""
    values = [100 * (1 - row[name]) if name.endswith("accuracy") else row[name] for row in rows]
    axes.plot([row["epoch"] for row in rows], values, linewidth=1.6, **style)


def _finish(axes, label, log=False):
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if log:
        set_log_scale(axes, "y")
    else:
        axes.set_ylim(bottom=0)


def _mark_learning_rates(axes, rows):
    """Draw a dotted line where the learning rate fell to a tenth; continuous schedules have no such line."""
    for before, row in itertools.pairwise(rows):
        if row["learning_rate"] < before["learning_rate"] / 5:
            x = (before["epoch"] + row["epoch"]) / 2
            axes.axvline(x, color=MUTED, linewidth=0.8, linestyle=":")
            axes.annotate(
                f"rate {row['learning_rate']:g}",
                (x, 1),
                xycoords=("data", "axes fraction"),
                xytext=(3, -4),
                textcoords="offset points",
                va="top",
                fontsize=8,
                color=MUTED,
            )
