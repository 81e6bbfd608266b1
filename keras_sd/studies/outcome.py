"""Results of studies: a table, a figure, and a sentence with the number found."""

import csv
import dataclasses
import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_sd.utils.plotting import save_figure

if TYPE_CHECKING:
    from keras_sd.studies import Study


@dataclass
class Outcome:
    """The result of a study.

    Attributes:
        rows: List of dictionaries, the table.
        figure: A `matplotlib.figure.Figure`.
        finding: A sentence with the numbers found.
        holds: Whether the study's criterion is met; `None` if inconclusive.
        numbers: Dictionary of the numbers in the sentence.
        more: Dictionary from the names of further tables to pairs of rows and a figure.
    """

    rows: list
    figure: object
    finding: str
    holds: bool | None
    numbers: dict
    more: dict = field(default_factory=dict)


def has_nan(numbers: Any) -> bool:
    """Return whether a number in nested dictionaries, sequences and data classes is NaN, as after a divergence."""
    return math.isnan(numbers) if isinstance(numbers, float) else any(map(has_nan, _parts(numbers)))


def _parts(numbers):
    if dataclasses.is_dataclass(numbers):
        return vars(numbers).values()
    return numbers.values() if isinstance(numbers, dict) else numbers if isinstance(numbers, list | tuple) else ()


def verdict(outcome: Outcome, quick: bool) -> str:
    """Return the verdict on the study's claim, in a few words."""
    if quick:
        return "too small to judge: a quick run shows what the study does; run it without --quick for a verdict"
    return {True: "it holds", False: "it does not hold", None: "inconclusive"}[outcome.holds]


def write(outcome: Outcome, study: "Study", settings: dict[str, Any]) -> list[Path]:
    """Write NAME.csv, NAME.png and NAME.json, and the further tables likewise.

    Args:
        outcome: An `Outcome`.
        study: The `Study`.
        settings: Dictionary of the study's options; `out` is the directory.

    Returns:
        List of the paths.
    """
    files, name, out = [], study.name, settings["out"]
    for part, (rows, figure) in {name: (outcome.rows, outcome.figure), **outcome.more}.items():
        files += [out / f"{part}.csv", out / f"{part}.png"]
        with files[-2].open("w", newline="") as file:
            columns = dict.fromkeys(column for row in rows for column in row)
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            writer.writerows(rows)
        save_figure(figure, files[-1])
    record = {
        "study": name,
        "claim": study.claim,
        "criterion": study.criterion,
        "finding": outcome.finding,
        "holds": outcome.holds,
        "verdict": verdict(outcome, settings.get("quick", False)),
        "numbers": outcome.numbers,
        "settings": settings,
    }
    files.append(out / f"{name}.json")
    files[-1].write_text(json.dumps(record, indent=2, default=_plain) + "\n")
    return files


def _plain(value):
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else str(value)


def by(rows: Sequence[dict[str, Any]], column: str) -> dict[Any, list[dict[str, Any]]]:
    """Return rows grouped by a column, in a dictionary in order of appearance."""
    groups: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[column], []).append(row)
    return groups


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of a percentage over the seeds of several trainings.

    Attributes:
        mean: Float.
        std: Standard deviation of a sample, a float; `None` for one seed.
        seeds: Number of seeds.
    """

    mean: float
    std: float | None
    seeds: int

    def __str__(self):
        return f"{self.mean:.1f} %" if self.std is None else f"{self.mean:.1f} ± {self.std:.1f} %"


def spread(percents: Iterable[float]) -> Spread:
    """Return the `Spread` of percentages, one of each seed."""
    found = [float(percent) for percent in percents]
    return Spread(statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None, len(found))


def error_bars(spreads: Iterable[Spread]) -> list[float] | None:
    """Return the lengths of error bars, NaN where there is one seed; `None` if there are no others."""
    lengths = [math.nan if one.std is None else one.std for one in spreads]
    return None if all(map(math.isnan, lengths)) else lengths


def is_stochastic(label: str) -> bool:
    """Return whether a label is that of a network trained with stochastic depth."""
    return label.startswith("stochastic") or ", p " in label


def over(seeds: Sized) -> str:
    """Return in words what numbers over these seeds are."""
    return f"mean ± standard deviation over {len(seeds)} seeds" if len(seeds) > 1 else "one seed"


def mean_curve(
    histories: Sequence[Sequence[dict[str, float]]], value: Callable[[dict[str, float]], float]
) -> tuple[list[int], list[float]]:
    """Return the epochs that all seeds have (a diverged training has fewer), and the means of a value over seeds.

    Args:
        histories: For each seed, the rows of its `history.csv`.
        value: Function of such a row.
    """
    means = [statistics.fmean(map(value, rows)) for rows in zip(*histories)]
    return list(range(1, len(means) + 1)), means


def summed_up(
    rows: Sequence[dict[str, Any]], summary: Callable[[list[dict[str, Any]]], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return a summary of each network's rows, in a dictionary by label."""
    return {label: summary(group) for label, group in by(rows, "network").items()}


def errors_of(numbers: dict[str, dict[str, Any]], describe: Callable[[dict[str, Any]], str]) -> str:
    """Return a sentence with the findings about each network.

    Args:
        numbers: Dictionary from labels to findings.
        describe: Function that puts a finding into words.
    """
    return f"Errors, {'; '.join(f'{label}: {describe(found)}' for label, found in numbers.items())}."
