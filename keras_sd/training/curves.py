"""The picture of a run."""

import csv
import itertools


def draw_curves(history, path, title):
    """Draws loss and error by epoch.

    Args:
        history: Path of a run's `history.csv`.
        path: Path of the PNG file to write.
        title: String.
    """
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    with open(history, newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(10, 4.2), dpi=120, layout="constrained")
    figure.suptitle(title)
    loss, error = figure.subplots(1, 2)
    for part, name, color in (("", "training", "tab:blue"), ("val_", "validation", "tab:orange")):
        style = {"label": name, "color": color, "linewidth": 1.6, "marker": "." if len(rows) < 25 else None}
        loss.plot(epochs, [row[f"{part}loss"] for row in rows], **style)
        error.plot(epochs, [100 * (1 - row[f"{part}accuracy"]) for row in rows], **style)
    loss.set_yscale("log")
    error.set_ylim(bottom=0)
    for axes, label in ((loss, "cross-entropy loss"), (error, "classification error (%)")):
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3, which="both" if axes is loss else "major")
        _mark_learning_rates(axes, rows)
        axes.legend(loc="upper right")
    figure.savefig(path)


def _mark_learning_rates(axes, rows):
    """A dotted line where the learning rate fell."""
    for before, row in itertools.pairwise(rows):
        if row["learning_rate"] < before["learning_rate"]:
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
