"""`keras-sd bench`: first step, training step, inference and memory, compared with baselines."""

import contextlib
import dataclasses
import json
import pathlib
import shlex
import sys
from typing import Annotated

import typer
from rich.console import Console

from keras_sd.cli.console import usage_errors
from keras_sd.utils.checks import check_integer, refusal

_PAGE = pathlib.Path("docs/performance.md")
_console = Console()


def bench(
    model: Annotated[str | None, typer.Argument(help="Name of the model (see `keras-sd models`).")] = None,
    batch_size: Annotated[int, typer.Option(help="Batch size of a training step.")] = 64,
    survival_probability: Annotated[float, typer.Option(help="Survival probability of the last block.")] = 1.0,
    policy: Annotated[str, typer.Option(help="float32, mixed_bfloat16 or mixed_float16.")] = "float32",
    gates: Annotated[str | None, typer.Option(help="Gates of the stacks: independent or systematic.")] = None,
    memory_efficient: Annotated[bool | None, typer.Option(help="Recompute inside dense blocks and stacks.")] = None,
    fold: Annotated[bool, typer.Option("--fold", help="Fold the model before inference.")] = False,
    image_size: Annotated[int | None, typer.Option(help="Height and width in pixels.")] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads per operation of our model.", show_default="as in `train`"),
    ] = None,
    jit_compile: Annotated[
        bool | None, typer.Option(help="Compile training steps of Keras models (XLA).", show_default="Keras's choice")
    ] = None,
    inference_batch_sizes: Annotated[str, typer.Option(help="Comma-separated batch sizes.")] = "1,64",
    against: Annotated[
        str,
        typer.Option(help="Baselines: keras, torch, torch-compiled, ours-constant, ours-jax, ours-torch, onnxruntime."),
    ] = "keras,torch",
    what: Annotated[
        str, typer.Option(help="step, first, memory, inference, input, photographs, import.")
    ] = "step,first,memory",
    processes: Annotated[int, typer.Option(help="Repetitions in fresh processes.")] = 2,
    rounds: Annotated[int, typer.Option(help="Turns of each contestant per process.")] = 5,
    steps: Annotated[int, typer.Option(help="Steps per turn or trace.")] = 5,
    json_path: Annotated[pathlib.Path | None, typer.Option("--json", help="Write all measurements here.")] = None,
    profile: Annotated[pathlib.Path | None, typer.Option(help="Write a trace to this directory instead.")] = None,
    rows: Annotated[str | None, typer.Option("--suite", help="Rows to measure: all, gpu, or names.")] = None,
    page: Annotated[pathlib.Path, typer.Option(help="Page for the tables of the suite.")] = _PAGE,
) -> None:
    """Compare a model with the same network in Keras layers and in PyTorch, in alternating turns."""
    from keras_sd.benchmarks.task import Task

    with _clean_errors():
        if rows:
            _run_suite(_names(rows), page)
            return
        sizes = _numbers("inference_batch_sizes", inference_batch_sizes)
        if model is None:
            raise ValueError("MODEL is missing: name a model, or measure all targets with --suite all.")
        task = Task(model, batch_size, survival_probability, policy, gates, memory_efficient, fold, image_size, sizes)
        task = dataclasses.replace(task, model=_check_model(task), threads=threads, jit_compile=jit_compile)
        if json_path and (json_path.is_dir() or not json_path.parent.is_dir()):
            raise refusal("json", "a file in a directory that exists", str(json_path))
        if profile:
            check_integer("steps", steps)
            import keras

            if keras.backend.backend() != "tensorflow":
                raise refusal("profile", "left out: tracing needs KERAS_BACKEND=tensorflow", str(profile))
            if profile.is_file():
                raise refusal("profile", "a directory", str(profile))
            _profile(task, profile, steps)
            return
        run = _run(task, ("ours", *_names(against)), _names(what), processes, rounds, steps)
    if json_path:
        json_path.write_text(json.dumps(run, indent=1) + "\n")


@contextlib.contextmanager
def _clean_errors():
    """Exit with code 2 on bad arguments; with code 1 and the contestant's output if a contestant fails."""
    from keras_sd.benchmarks import harness

    with usage_errors():
        try:
            yield
        except harness.WorkerError as error:
            typer.echo(f"keras-sd: error: {error}", err=True)
            raise typer.Exit(1) from error


def _check_model(task):
    """Return the model's name as in the table, or refuse the task before a process is started for it."""
    from keras_sd import applications

    row = applications.find(task.model)
    given = {name: getattr(task, name) for name in ("gates", "memory_efficient")}
    given = {name: value for name, value in given.items() if value is not None}
    if task.survival_probability != 1:
        given["survival_probability"] = task.survival_probability
    for name in given:
        if not hasattr(row.spec, name):
            raise refusal(name, f"left out for {row.name}, which has no such argument", given[name])
    dataclasses.replace(row.spec, **given)  # raises on a bad value
    return row.name


def _names(text):
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _numbers(argument, text):
    try:
        return tuple(int(part) for part in _names(text))
    except ValueError:
        raise ValueError(f"{argument} must be comma-separated integers; received {text!r}.") from None


def _run(task, contestants, what, processes, rounds, steps, command=None):
    """Run, print the table, and return the record."""
    from keras_sd.benchmarks import harness, performance_page

    with _console.status("starting") as status:
        result = harness.run(task, contestants, what, processes, rounds, steps, progress=status.update)
    if set(result.contestants) == set(result.absent):
        raise ValueError("; ".join(f"{name} is missing: {reason}" for name, reason in result.absent.items()))
    run = performance_page.record(result, command or shlex.join(["keras-sd", *sys.argv[1:]]))
    _console.print(performance_page.table(run))
    return run


def _run_suite(names, page):
    from keras_sd.benchmarks import suite

    if page.is_dir():
        raise refusal("page", "a file, not a directory", str(page))
    for key, row in suite.find(names).items():
        command = f"keras-sd bench --suite {key}"
        contestants = ("ours", *row.against)
        _console.print(f"{key}: {row.title}")
        run = _run(row.task, contestants, row.what, row.processes, row.rounds, row.steps, command)
        suite.store({key: run}, page)  # after each row: the whole suite takes most of an hour
        for target in row.targets:
            measured, met = target.judge(run)
            _console.print(f"{row.title}: {target.text}: {measured}, {'met' if met else 'not met'}")


def _profile(task, directory, steps):
    """Trace our model, print where a step spends its time, and save the same as `operations.txt`."""
    from keras_sd.benchmarks import harness, performance_page

    with _console.status("tracing"), harness.Worker("ours", task) as worker:
        worker.open()
        directory.mkdir(parents=True, exist_ok=True)
        worker.ask("build")
        worker.ask("first", batch_size=task.batch_size)
        kinds, nodes = worker.ask("profile", directory=str(directory.resolve()), count=steps)
    tables = {"kinds of operations": kinds, "nodes of the graph": nodes}
    with (directory / "operations.txt").open("w") as file:
        for title, rows in tables.items():
            Console(file=file, width=160).print(performance_page.operations_table(f"{task.model}: {title}", rows))
    _console.print(performance_page.operations_table(f"{task.model}: kinds of operations", kinds))
    _console.print(f"Nodes of the graph: {directory / 'operations.txt'}; trace: {directory}", soft_wrap=True)
