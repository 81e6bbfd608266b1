"""Report the results of a search: a table, a page, figures, and the settings of the best trial."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from keras_sd.training.run_folder import RunFolder, RunStatus
from keras_sd.tuning import figures
from keras_sd.tuning.search import METRICS, Search, describe
from keras_sd.utils.checks import check_type
from keras_sd.utils.files import write_atomically


def trial_rows(search: Search) -> list[dict[str, Any]]:
    """Return all trials in order of their start, as dictionaries of plain values; missing values are `None`."""
    check_type("search", search, Search, "a `Search`")
    rows = []
    for trial_id in search.oracle.start_order:
        trial, result = search.oracle.trials[trial_id], search.result(trial_id)
        metrics = result.get("metrics", {})
        for name in set(METRICS) - set(metrics):  # its folder may be on another machine
            metrics[name] = trial.metrics.get_best_value(name) if trial.metrics.exists(name) else None
        values = search.hypermodel.values(trial.hyperparameters)
        held = trial.hyperparameters.values
        rows.append(
            {
                "trial": trial_id,
                "status": trial.status.lower(),
                **{name: metrics[name] for name in METRICS},
                "epochs": held.get("tuner/epochs", search.epochs),
                "started_from": result.get("started_from"),
                **{name: values.get(name) for name in search.hypermodel.tuned},
            }
        )
    return rows


def pareto(rows: Sequence[dict[str, Any]], cost: str) -> list[dict[str, Any]]:
    """Return the rows for which no other has both a lower error and a lower cost, the cheapest first."""
    front: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row[cost], row["val_error"])):
        if not front or row["val_error"] < front[-1]["val_error"]:
            front.append(row)
    return front


def write_report(search: Search, run: tuple[RunFolder, dict[str, Any]] | None = None) -> Path:
    """Write `trials.csv`, `report.md`, figures and `best.yaml` to the search's folder.

    Args:
        search: A `Search`, finished or not.
        run: Result of `Search.train_best`, to include in the report.

    Returns:
        Path of `report.md`.

    Raises:
        ValueError: If no trial has a score.
    """
    check_type("search", search, Search, "a `Search`")
    rows = trial_rows(search)
    config = search.best_config()
    write_atomically(search.path / "trials.csv", _csv(rows).encode())
    write_atomically(search.path / "best.yaml", _yaml(search, config).encode())
    cost = "epoch_seconds" if search.hypermodel.cost == "seconds" else "training_flops"
    done = [row for row in rows if row["status"] == "completed"]
    front = pareto(done, cost)
    drawn = figures.draw(search, done, front, cost)
    page = _page(search, rows, done, front, cost, drawn, run)
    write_atomically(search.path / "report.md", page.encode())
    return search.path / "report.md"


def _csv(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _yaml(search, config):
    """Return a `TrainConfig` as a file for `keras-sd train --config`."""
    plain = {name: value for name, value in dataclasses.asdict(config).items() if value is not None}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}
    plain["model_arguments"] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in plain["model_arguments"].items()
    }
    title = f"# The best of {len(search.completed())} trials. keras-sd train --config best.yaml\n"
    return title + yaml.safe_dump(plain, sort_keys=False)


def _page(search, rows, done, front, cost, drawn, run):
    hypermodel = search.hypermodel
    best = next(row for row in done if row["trial"] == search.completed()[0].trial_id)
    names = list(hypermodel.tuned)
    failed = sum(row["status"] == "failed" for row in rows)
    lines = [
        f"# Search: {hypermodel.base.model} on {hypermodel.dataset.name}",
        "",
        f"{len(done)} trials of at most {search.epochs} epochs have a score, {failed} failed, "
        f"{len(rows) - len(done) - failed} have not ended. Errors are validation errors in the epoch with the best "
        f"score. {_objective(hypermodel)}",
        "",
        "## The best",
        "",
        f"Trial {best['trial']}: {describe({name: best[name] for name in names if best[name] is not None})}. "
        f"Validation error {100 * best['val_error']:.2f} %, {best['parameters']:,.0f} parameters, "
        f"{best['training_flops'] / 1e6:,.1f} MFLOPs to train one image, {best['epoch_seconds']:.1f} s an epoch. "
        "`keras-sd train --config best.yaml` trains it.",
        *(_in_full(*run) if run else ()),
        "",
        "## What was searched",
        "",
        *_table(("Hyperparameter", "Values"), [(name, one) for name, one in hypermodel.tuned.items()]),
        "",
        *_fixed(hypermodel),
        f"## Error and cost ({figures.LABELS[cost]})",
        "",
        "Trials for which no other has both a lower error and a lower cost:",
        "",
        *_table(
            ("Trial", "Error (%)", figures.LABELS[cost], *names),
            [(r["trial"], _percent(r), _short(figures.scaled(r, cost)), *(_short(r[n]) for n in names)) for r in front],
        ),
        "",
        "## Figures",
        "",
        *(line for title, file in drawn.items() for line in (f"![{title}]({file})", "")),
        "## Trials",
        "",
        *_table(
            ("Trial", "Error (%)", "Score", "Parameters", "Epochs", *names),
            [
                (r["trial"], _percent(r), _short(r["score"]), f"{r['parameters']:,.0f}", r["epochs"])
                + tuple(_short(r[name]) for name in names)
                for r in sorted(done, key=lambda row: row["score"])
            ],
        ),
    ]
    if any(row["started_from"] for row in rows):
        lines += [
            "",
            "Some trials started from the weights of others (`started_from` in `trials.csv`), so they trained longer.",
        ]
    return "\n".join(lines) + "\n"


def _objective(hypermodel):
    if hypermodel.cost is None:
        return "The score is that error."
    cost = figures.LABELS["epoch_seconds" if hypermodel.cost == "seconds" else "training_flops"]
    weight = hypermodel.cost_weight
    return f"The score is the error (as a fraction) plus {weight:g} for each doubling of the cost, {cost}."


def _in_full(folder, results):
    if results["status"] != RunStatus.COMPLETE:
        return ("", f"Its full training has the status {results['status']}; it is in `{folder.path.name}`.")
    return (
        "",
        f"Full training: test accuracy {results['test_accuracy']:.4f} (validation "
        f"{results['validation_accuracy']:.4f}, epoch {results['best_epoch']}), in `{folder.path.name}`.",
    )


def _fixed(hypermodel):
    limits = {name: value for name, value in dataclasses.asdict(hypermodel.budget).items() if value is not None}
    fixed = [f"Fixed: {describe(hypermodel.fixed)}."] if hypermodel.fixed else []
    lines = fixed + [f"Budget: {name} {value:,.0f}." for name, value in limits.items()]
    return [*lines, ""] if lines else []


def _table(headings, rows):
    lines = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "or") for cell in line) + " |" for line in lines]


def _percent(row):
    return f"{100 * row['val_error']:.2f}"


def _short(value):
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
