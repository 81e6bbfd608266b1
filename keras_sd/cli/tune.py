"""`keras-sd tune`."""

import contextlib
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_sd.cli.console import INTERRUPTED, PREEMPTED, tell_error, usage_errors
from keras_sd.cli.running import tell
from keras_sd.tuning.record import Record
from keras_sd.utils.checks import refusal
from keras_sd.utils.processors import cores

Option = typer.Option


def tune(
    model: Annotated[str | None, Option(help="Name of a model, or ResNet or DenseNet for any size.")] = None,
    data: Annotated[str | None, Option(help="Name of a data set, such as digits or cifar10.")] = None,
    recipe: Annotated[str | None, Option(help="Recipe for the settings that are not searched.")] = None,
    config: Annotated[Path | None, Option(help="Settings: a YAML or JSON file, or a run's config.json.")] = None,
    settings: Annotated[list[str] | None, Option("--set", help="KEY=VALUE, one setting; may be repeated.")] = None,
    search: Annotated[
        list[str] | None,
        Option(help="NAME=LOW:HIGH, NAME=A,B,C, NAME=on, NAME=off or NAME=VALUE; may be repeated."),
    ] = None,
    tuner: Annotated[str | None, Option(help="bayesian, hyperband, random or grid.", show_default="bayesian")] = None,
    trials: Annotated[int | None, Option(help="Maximum trials.", show_default="20; all of hyperband and grid")] = None,
    epochs: Annotated[int | None, Option(help="Maximum epochs of a trial.", show_default="the recipe's")] = None,
    budget_params: Annotated[float | None, Option(help="Maximum parameters, such as 1e6.")] = None,
    budget_flops: Annotated[float | None, Option(help="Maximum FLOPs of an image's forward pass.")] = None,
    objective: Annotated[str | None, Option(help="error, error+flops or error+seconds.", show_default="error")] = None,
    cost_weight: Annotated[
        float | None, Option(help="Error reduction worth a doubling of the cost.", show_default="0.01")
    ] = None,
    patience: Annotated[int | None, Option(help="Epochs without a better score before a trial ends.")] = None,
    warm_start: Annotated[
        bool, Option("--warm-start", help="Start from the weights of the best trial of the same architecture.")
    ] = False,
    final_epochs: Annotated[
        int | None, Option(help="Epochs of the best trial's full training; 0 to skip it.", show_default="the recipe's")
    ] = None,
    seed: Annotated[int | None, Option(help="Random seed of the search and its trainings.", show_default="0")] = None,
    data_dir: Annotated[Path | None, Option(help="Directory of TensorFlow Datasets.")] = None,
    out: Annotated[Path | None, Option(help="New folder for the search.", show_default="runs/tune-NUMBER")] = None,
    resume: Annotated[bool, Option("--resume", help="Resume the search in --out with its own settings.")] = False,
    workers: Annotated[int | None, Option(min=1, help="Processes that train in parallel on this machine.")] = None,
    role: Annotated[str | None, Option(help="chief or worker, for several machines that share --out.")] = None,
    address: Annotated[str | None, Option(help="HOST:PORT of the chief.", show_default="a free port")] = None,
    lease: Annotated[
        float | None, Option(help="Seconds until a silent worker's trial is reassigned.", show_default="60")
    ] = None,
    connect_timeout: Annotated[float, Option(help="Seconds that a worker waits for the chief.")] = 60,
) -> None:
    """Search survival probability, growth rate and more; write a report and the best model's run to a folder.

    After any interruption, --resume --out FOLDER continues; finished trials are neither lost nor trained again.
    Exit codes: 0 complete, 1 failed, 2 bad input, 75 stopped by SIGTERM, 130 by Ctrl-C.
    """
    from keras_sd.runs import networks
    from keras_sd.training import overrides
    from keras_sd.tuning import workers as processes

    asked = {
        "search": search or None,
        "tuner": tuner,
        "trials": trials,
        "epochs": epochs,
        "budget_params": budget_params,
        "budget_flops": budget_flops,
        "objective": objective,
        "cost_weight": cost_weight,
        "patience": patience,
        "warm_start": warm_start or None,
        "final_epochs": final_epochs,
        "lease": lease,
    }
    with contextlib.ExitStack() as held:
        with usage_errors():
            place = _place(role, address, workers, out)
            if role == "worker":
                processes.wait_for_chief(place, connect_timeout)
            named = overrides.Overrides(
                model=model,
                data=data,
                recipe=recipe,
                seed=seed,
                data_dir=str(data_dir.resolve()) if data_dir else None,
                file=overrides.read(config) if config else {},
                settings=overrides.parse_all(settings),
            )
            if role == "worker" or (resume and Record.is_at(out)):
                record = Record.read(out, named, asked)
            else:
                record = Record.new(out, networks.configure(named), asked)
            hypermodel = record.hypermodel(data_dir)
            if role != "worker":
                if place and not workers:
                    processes.check_port(place)
                held.enter_context(record.locked())
                record.write()
            if place is not None:
                held.enter_context(processes.part_of("worker" if role == "worker" else "chief", place))
            found = record.make_search(hypermodel, typer.echo)
        with _failures(record.path):
            if role == "worker":
                with processes.watched(place):
                    found.search()
                return
            try:
                _run(found, place, record.path, workers)
            except KeyboardInterrupt:
                if found.completed():
                    report(found)
                raise
            finish(found, record)


def _place(role, address, workers, out):
    """Return the chief's address; `None` for a search in this process only."""
    from keras_sd.tuning import workers as processes

    if role not in (None, "chief", "worker"):
        raise refusal("role", "chief or worker", role)
    if role is not None and address is None:
        raise refusal("address", f"HOST:PORT for the role {role}", None)
    if role is not None and workers is not None:
        raise refusal("workers", f"left out for the role {role}: workers are started by other commands", workers)
    if role == "worker" and out is None:
        raise refusal("out", "the folder of the search, for a worker", None)
    if role is None and workers is None:
        if address is not None:
            raise refusal("address", "left out without --workers and --role", address)
        return None
    if address is None:
        return "127.0.0.1", processes.free_port()
    place = processes.parse_address(address)
    if role != "worker":
        processes.check_port(place)
    return place


@contextlib.contextmanager
def _failures(path):
    """Turn the interruption or failure of a search into one line and an exit code."""
    import grpc

    from keras_sd.training.interruption import Preempted, noticing
    from keras_sd.utils.files import DamagedFileError

    resume = f"`keras-sd tune --resume --out {shlex.quote(str(path))}` resumes it"
    try:
        with noticing():
            yield
    except KeyboardInterrupt:
        typer.echo(f"interrupted; {resume}")
        raise typer.Exit(INTERRUPTED) from None
    except Preempted:
        typer.echo(f"stopped by SIGTERM; {resume}")
        raise typer.Exit(PREEMPTED) from None
    except typer.Exit:
        raise
    except DamagedFileError as error:
        tell_error(error)
        raise typer.Exit(2) from error
    except (RuntimeError, ValueError, OSError, grpc.RpcError) as error:
        text = "the chief does not answer" if isinstance(error, grpc.RpcError) else " ".join(str(error).split())
        tell_error(f"{text}; {resume}")
        raise typer.Exit(1) from error


def _run(search, place, path, workers):
    """Run the remaining trials, in this process or in workers."""
    from keras_sd.tuning import serve

    if place is None:
        search.search()
        return
    if search.is_over():
        return
    children = [_start_worker(place, path, workers) for _ in range(workers or 0)]
    try:
        serve(search, place, lambda: bool(children) and all(child.poll() is not None for child in children))
    finally:
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0 if sys.exc_info()[0] else 10)
            child.terminate()
            child.wait()


def _start_worker(place, path, workers):
    code = "from keras_sd_command import main; main()"
    address = f"{place[0]}:{place[1]}"
    command = [sys.executable, "-c", code, "tune", "--role", "worker", "--address", address, "--out", str(path)]
    threads = {"TF_NUM_INTRAOP_THREADS": str(max(1, cores() // workers))}  # they share the cores
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KERASTUNER_")}
    return subprocess.Popen(command, env={**threads, **inherited})


def report(search: Any) -> None:
    """Write the report of a search and print its path."""
    from keras_sd.tuning import write_report

    typer.echo(f"report: {write_report(search)}")


def finish(search: Any, record: Any) -> None:
    """Write the report, train the best trial in full, and add it to the report."""
    from keras_sd.training.progress_bar import Lines
    from keras_sd.tuning import write_report

    report(search)
    if record.final_epochs == 0:
        return
    run = search.train_best(record.final_epochs, [Lines()])
    write_report(search, run)
    folder, results = run
    tell(results, folder)
