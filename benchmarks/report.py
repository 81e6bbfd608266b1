"""Records of runs as JSON, and the tables made of them."""

import datetime
import importlib.metadata
import math
import os
import pathlib
import platform

from rich.table import Table

from .task import Task


def record(result, command):
    """A run as a dictionary that JSON can hold: how it was run, where, and everything that was measured.

    Args:
        result: the `harness.Result`.
        command: the command line that ran it.
    """
    names = [name for name in result.contestants if name not in result.absent]
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
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
        "ratio": {
            peer: {q: result.ratio(names[0], peer, q) for q in result.samples[peer]} for peer in names[1:]
        },
        "samples": result.samples,
    }


def _finite(number):
    """JSON knows no NaN: `None` stands for a loss that is no number."""
    return number if math.isfinite(number) else None


def machine():
    """What the numbers depend on: processor, cores that may be used, operating system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "system": platform.system(),
        "kind": platform.machine(),
    }


def _processor():
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def table(run):
    """A rich table of a record: the contestants' medians, and ratios of the first to each other one."""
    task, names = run["task"], list(run["median"])
    title = (
        f"{task['model']}, batch {task['batch_size']}, p_L {task['survival_probability']}, {task['policy']}"
    )
    grid = Table(title=title, caption=_caption(run), caption_justify="left")
    grid.add_column("median")
    for name in names:
        grid.add_column(name, justify="right")
    for peer in names[1:]:
        grid.add_column(f"{names[0]} / {peer}", justify="right")
    for quantity in run["median"][names[0]]:
        values = [amount(quantity, run["median"][name].get(quantity), task) for name in names]
        ratios = [ratio_text(run["ratio"][peer].get(quantity)) for peer in names[1:]]
        grid.add_row(label(quantity), *values, *ratios)
    return grid


def _caption(run):
    lines = [environment_text(run), "ratios: median of pairs of the same turn (quartiles)"]
    lines += [f"{name} is missing: {reason}" for name, reason in run["absent"].items()]
    lines += [
        f"{name}: the last loss is no number" for name, loss in run["last_loss"].items() if loss is None
    ]
    return "\n".join(lines)


def environment_text(run):
    """One line: machine, versions and date."""
    where, versions = run["machine"], ", ".join(f"{name} {value}" for name, value in run["versions"].items())
    return f"{where['processor']}, {where['cores']} cores, {where['system']}; {versions}; {run['date'][:10]}"


LABELS = {
    "import": "import",
    "first": "build + first step",
    "step": "training step",
    "memory peak": "peak memory",
    "memory above_import": "peak memory above importing",
}


def label(quantity):
    """A quantity in words."""
    return LABELS.get(quantity) or quantity.replace("inference", "inference, batch")


def amount(quantity, value, task=None):
    """A value with its unit; for steps and predictions the examples a second as well."""
    if value is None:
        return "-"
    if quantity.startswith("memory"):
        return f"{value / 1e9:.2f} GB"
    text = f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms"
    batch_size = {"step": task and task["batch_size"]}.get(quantity)
    if quantity.startswith("inference"):
        batch_size = int(quantity.split()[1])
    return f"{text} ({batch_size / value:.3g}/s)" if batch_size else text


def ratio_text(ratio):
    """A ratio with its quartiles."""
    if ratio is None:
        return "-"
    return f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def operations_table(title, rows, most=25):
    """A rich table of a profile's rows (see `profiling.profile`)."""
    total = sum(milliseconds for _, _, milliseconds in rows) or 1.0
    grid = Table(
        title=title, caption=f"{total:.1f} ms of operations a step, summed over the executor's threads"
    )
    for column, justify in {
        "operation": "left",
        "calls a step": "right",
        "ms a step": "right",
        "share": "right",
    }.items():
        grid.add_column(column, justify=justify, overflow="fold")
    for name, calls, milliseconds in rows[:most]:
        grid.add_row(name, f"{calls:.1f}", f"{milliseconds:.2f}", f"{milliseconds / total:.1%}")
    return grid
