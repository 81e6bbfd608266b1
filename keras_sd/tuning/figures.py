"""Figures of a search."""

import logging
from collections.abc import Sequence
from typing import Any

from keras_sd.training.curves import read_history
from keras_sd.tuning.search import Search
from keras_sd.utils.files import DamagedFileError
from keras_sd.utils.plotting import HIGHLIGHT, MUTED, PALETTE, panels, save_figure

logger = logging.getLogger(__name__)

LABELS = {"training_flops": "MFLOPs to train one image", "epoch_seconds": "seconds per epoch"}


def scaled(row: dict[str, Any], cost: str) -> float:
    """Return a row's cost in the unit of its label."""
    return row[cost] / 1e6 if cost == "training_flops" else row[cost]


def draw(search: Search, rows: Sequence[dict[str, Any]], front: Sequence[dict[str, Any]], cost: str) -> dict[str, str]:
    """Draw all figures and save them in the search's folder.

    Args:
        search: A `Search`.
        rows: Rows of `trial_rows` that have a score.
        front: Those on the Pareto front.
        cost: Name of the cost column.

    Returns:
        A dictionary from titles to file names.
    """
    drawn = {}
    for name in search.hypermodel.tuned:
        drawn[f"Error against {name}"] = _save(search, f"error-{name}.png", _against, rows, name)
    drawn["Parallel coordinates"] = _save(search, "parallel.png", _parallel, rows, list(search.hypermodel.tuned))
    drawn["Error and cost"] = _save(search, "pareto.png", _pareto, rows, front, cost)
    drawn["Learning curves"] = _save(search, "curves.png", _learning_curves, rows, search)
    return drawn


def _save(search, file, function, *arguments):
    figure, (axes,) = panels(1, 1, None, (7, 4.4))
    function(figure, axes, *arguments)
    save_figure(figure, search.path / file)
    return file


def _error(row):
    return 100 * row["val_error"]


def _places(rows, name):
    """Return positions of values on an axis, and its ticks. Numbers are unchanged, other values are sorted."""
    values = [row[name] for row in rows]
    numbers = [v for v in values if v is not None]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers):
        return values, None
    known = sorted(set(map(str, numbers)))
    return [None if v is None else known.index(str(v)) for v in values], known


def _against(figure, axes, rows, name):
    places, ticks = _places(rows, name)
    points = [(x, row) for x, row in zip(places, rows) if x is not None]
    sizes = {row["epochs"] for row in rows}
    drawn = axes.scatter(
        [x for x, _ in points], [_error(row) for _, row in points], c=[row["epochs"] for _, row in points], s=36
    )
    if len(sizes) > 1:  # rounds of Hyperband
        figure.colorbar(drawn, ax=axes, label="epochs")
    if points:
        x, row = min(points, key=lambda point: point[1]["score"])
        axes.plot(x, _error(row), "o", markersize=13, fillstyle="none", color=HIGHLIGHT, label=f"best: {row['trial']}")
        axes.legend()
    if ticks is not None:
        axes.set_xticks(range(len(ticks)), ticks)
        axes.set_xlim(-0.5, len(ticks) - 0.5)
    axes.set(xlabel=name.replace("_", " "), ylabel="validation error (%)")


def _parallel(figure, axes, rows, names):
    """Draw each trial as a line over all hyperparameters and the error, with each axis scaled to its range."""
    import matplotlib

    columns, bounds = [], []
    for name in (*names, None):
        places, ticks = ([_error(row) for row in rows], None) if name is None else _places(rows, name)
        known = [p for p in places if p is not None]
        low, high = (min(known), max(known)) if known else (0, 1)
        columns.append([None if p is None else (p - low) / (high - low) if high > low else 0.5 for p in places])
        bounds.append((ticks[0], ticks[-1]) if ticks else (f"{low:.4g}", f"{high:.4g}"))
    colors = matplotlib.colormaps["viridis_r"]
    for line, shade in sorted(zip(zip(*columns), columns[-1]), key=lambda pair: -pair[1]):
        points = [(x, y) for x, y in enumerate(line) if y is not None]
        axes.plot(*zip(*points), color=colors(shade), alpha=0.8)
    for x, (low, high) in enumerate(bounds):
        axes.plot((x, x), (0, 1), color="black", linewidth=0.8)  # ends at its labels
        axes.annotate(low, (x, -0.02), ha="center", va="top", fontsize=8)
        axes.annotate(high, (x, 1.02), ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(bounds)), [*(name.replace("_", "\n") for name in names), "validation\nerror (%)"])
    axes.grid(False)
    axes.set(xlim=(-0.3, len(bounds) - 0.7), ylim=(-0.1, 1.1), yticks=[])


def _pareto(figure, axes, rows, front, cost):
    axes.scatter([scaled(row, cost) for row in rows], [_error(row) for row in rows], color=MUTED, label="trials")
    line = {"where": "post", "marker": "o", "color": HIGHLIGHT}
    axes.step([scaled(row, cost) for row in front], [_error(row) for row in front], label="Pareto front", **line)
    for row in front:
        axes.annotate(
            row["trial"], (scaled(row, cost), _error(row)), xytext=(4, 4), textcoords="offset points", fontsize=8
        )
    axes.set(xlabel=LABELS[cost], ylabel="validation error (%)")
    axes.legend()


def _learning_curves(figure, axes, rows, search):
    """Draw the validation error by epoch of the best trials; more lines would hide each other."""
    for color, row in zip(PALETTE, sorted(rows, key=lambda row: row["score"])):
        file = search.path / f"trial_{row['trial']}" / "history.csv"
        try:
            history = read_history(file)
        except DamagedFileError as error:  # or missing: it may be on another machine
            if file.exists():
                logger.warning("%s; its curve is left out", error)
            continue
        errors = [100 * (1 - epoch["val_accuracy"]) for epoch in history]
        axes.plot([epoch["epoch"] for epoch in history], errors, marker=".", color=color, label=row["trial"])
    axes.set(xlabel="epoch", ylabel="validation error (%)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if axes.lines:
        axes.legend(title="trial", fontsize=8, ncols=2)
