"""Records of runs as JSON, and tables of them."""

import datetime
import importlib.metadata
import math
import platform

from rich.table import Table

from . import machine
from .task import Task

MOST_OTHERS = 0.1  # fraction of the cores above which the machine is called too busy


def record(result, command):
    """Return a run as a dictionary that JSON can hold: how and where it was run, and all measurements.

    Args:
        result: the `harness.Result`.
        command: the command line that ran it.
    """
    names = [name for name in result.contestants if name not in result.absent]
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "others_fraction": result.others_fraction,
        "versions": {
            "python": platform.python_version(),
            "keras_sd": importlib.metadata.version("keras_sd"),
            **result.versions,
        },
        "task": {field: getattr(result.task, field) for field in Task.__dataclass_fields__},
        "absent": result.absent,
        "parameters": result.parameters,
        "last_loss": {name: _finite(loss) for name, loss in result.losses.items()},
        "median": {name: {q: result.median(name, q) for q in result.samples[name]} for name in names},
        "ratio": {peer: {q: result.ratio(names[0], peer, q) for q in result.samples[peer]} for peer in names[1:]},
        "samples": result.samples,
    }


def _finite(number):
    """Return a finite number unchanged, else `None`: JSON has no NaN."""
    return number if math.isfinite(number) else None


def table(run):
    """Return a rich table of a record: the contestants' medians, and the ratios of the first to each other one."""
    task, (first, *peers) = run["task"], run["median"]
    title = f"{task['model']}, batch {task['batch_size']}, p_L {task['survival_probability']}, {task['policy']}"
    grid = Table(title=title, caption=_caption(run), caption_justify="left")
    grid.add_column("quantity")
    grid.add_column("contestant")
    grid.add_column("median", justify="right")
    grid.add_column(f"{first} / baseline", justify="right")
    for quantity, value in run["median"][first].items():
        grid.add_section()
        grid.add_row(label(quantity), first, amount(quantity, value, task), "")
        for peer in peers:
            median = amount(quantity, run["median"][peer].get(quantity), task)
            grid.add_row("", peer, median, ratio_text(run["ratio"][peer].get(quantity)))
    return grid


def _caption(run):
    lines = [environment_text(run), busy_text(run), "ratios: median of the pairs of each turn (quartiles)"]
    lines += [f"{name} is missing: {reason}" for name, reason in run["absent"].items()]
    lines += [f"{name}: the last loss is not finite" for name, loss in run["last_loss"].items() if loss is None]
    return "\n".join(lines)


def environment_text(run):
    """Return machine, versions and date in one line."""
    where, versions = run["machine"], ", ".join(f"{name} {value}" for name, value in run["versions"].items())
    gpu = f"{where['gpu']}; " if where.get("gpu") else ""  # older records do not name it
    return f"{gpu}{where['processor']}, {where['cores']} cores, {where['system']}; {versions}; {run['date'][:10]}"


def busy_text(run):
    """Return the fraction of the cores that other processes used, with a warning above a tenth."""
    others = run["others_fraction"]
    if others is None:
        return "use of the cores by others is unknown"
    warning = ": too busy, measure again" if others > MOST_OTHERS else ""
    return f"others used {others:.0%} of the cores{warning}"


LABELS = {
    "import": "import",
    "first": "build + first step",
    "step": "training step",
    "waiting": "fraction of the time spent waiting for input",
    "photographs folder": "batch of photographs, files",
    "photographs records": "batch of photographs, TFRecords",
    "photographs rand_augment": "batch of photographs, files, RandAugment (the baseline without)",
    "memory peak": "peak memory",
    "memory gpu": "peak GPU memory",
    "memory above_import": "peak memory above importing",
}


def label(quantity):
    """Return a quantity in words."""
    return LABELS.get(quantity) or quantity.replace("inference", "inference, batch")


def amount(quantity, value, task=None):
    """Return a value with its unit; for steps and predictions, also the examples per second."""
    if value is None:
        return "-"
    if quantity.startswith("memory"):
        return f"{value / 1e9:.2f} GB"
    if quantity == "waiting":
        return f"{value:.1%}"
    text = f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms"
    batch_size = task["batch_size"] if task and quantity.startswith(("step", "photographs")) else None
    if quantity.startswith("inference"):
        batch_size = int(quantity.split()[1])
    return f"{text} ({_without_exponent(batch_size / value)}/s)" if batch_size else text


def _without_exponent(number):
    return f"{number:.3g}" if number < 999.5 else f"{number:,.0f}"


def ratio_text(ratio):
    """Return a ratio, with its quartiles if there is more than one pair."""
    if ratio is None:
        return "-"
    if ratio["pairs"] == 1:
        return f"{ratio['median']:.2f}"
    return f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def operations_table(title, rows, most=25):
    """Return a rich table of a profile's rows (see `profiling.profile`)."""
    total = sum(milliseconds for _, _, milliseconds in rows) or 1.0
    grid = Table(title=title, caption=f"{total:.1f} ms of operations per step, summed over the executor's threads")
    for column, justify in {
        "operation": "left",
        "calls per step": "right",
        "ms per step": "right",
        "fraction": "right",
    }.items():
        grid.add_column(column, justify=justify, overflow="fold")
    for name, calls, milliseconds in rows[:most]:
        grid.add_row(name, f"{calls:.1f}", f"{milliseconds:.2f}", f"{milliseconds / total:.1%}")
    return grid
