"""Run contestants against each other, each in its own process, only one of them computing at a time.

The processes stay alive and take turns, so that other work on the machine affects all of them alike, and values of
the same turn can be divided. First step and peak memory need fresh processes: each repeat starts new ones.
"""

import contextlib
import dataclasses
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from . import machine
from .task import CONTESTANTS, ENGINES, INFERENCE_ONLY, MEASUREMENTS, Task

# Variables of every worker. First steps are measured, so none may find what an earlier process compiled; and all
# contestants share the GPU, so none may reserve memory that it does not need.
_ENVIRONMENT = {
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


class WorkerError(RuntimeError):
    """A worker failed or died; the message ends with what it printed last."""


class Worker:
    """One contestant in a fresh process; a context manager.

    Args:
        name: one of `CONTESTANTS`.
        task: the `Task`.
    """

    def __init__(self, name, task):
        self.name, self.task = name, task

    def __enter__(self):
        from keras_sd.utils import jax_environment

        self._log = tempfile.TemporaryFile("w+")
        engine = {"KERAS_BACKEND": ENGINES[self.name]} if self.name in ENGINES else {}
        variables = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, **_ENVIRONMENT, **engine}
        jax_environment.shorten_compilation(variables)
        script = pathlib.Path(__file__).with_name("worker.py")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=variables,
        )
        return self

    def __exit__(self, *exception):
        if exception[0] is not None:
            self._process.kill()
        self._process.communicate()  # a worker exits when its stdin ends
        self._log.close()

    def open(self):
        """Import the contestant's packages and check the task."""
        return self.ask("open", name=self.name, task=dataclasses.asdict(self.task))

    def ask(self, do, **arguments):
        """Send a request and wait for the answer.

        Raises:
            ValueError: The worker refused the task.
            WorkerError: The worker failed or died.
        """
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise WorkerError(f"The worker of {self.name} died in {do!r} (status {status}).\n{self._printed()}")
        reply = json.loads(line)
        if reply.get("kind") == "Unsupported":
            raise NotImplementedError(reply["error"])
        if do in ("open", "build") and reply.get("kind") == "ValueError":
            raise ValueError(reply["error"])
        if "error" in reply:
            message = f"{self.name} failed in {do!r}: {reply['kind']}: {reply['error']}"
            raise WorkerError(f"{message}\n{self._printed()}")
        return reply["answer"]

    def _printed(self, characters=2000):
        self._log.seek(0)
        return self._log.read()[-characters:]


@dataclasses.dataclass
class Result:
    """The result of a run.

    `samples[contestant][quantity]` is a list of values, paired by position between the contestants: seconds,
    bytes for the quantities named `memory...`, a fraction of the time for `waiting`. `absent[contestant]` says why one
    did not take part. `others_fraction` is the fraction of the cores that other processes used during the run.
    """

    task: Task
    contestants: tuple
    samples: dict = dataclasses.field(default_factory=dict)
    absent: dict = dataclasses.field(default_factory=dict)
    versions: dict = dataclasses.field(default_factory=dict)
    parameters: dict = dataclasses.field(default_factory=dict)
    losses: dict = dataclasses.field(default_factory=dict)
    others_fraction: float | None = None

    def add(self, contestant, quantity, value):
        self.samples.setdefault(contestant, {}).setdefault(quantity, []).append(value)

    @property
    def quantities(self):
        return list(dict.fromkeys(name for values in self.samples.values() for name in values))

    def median(self, contestant, quantity):
        """Return the median of a quantity, or `None` if it was not measured."""
        values = self.samples.get(contestant, {}).get(quantity)
        return statistics.median(values) if values else None

    def ratio(self, contestant, peer, quantity):
        """Return median and quartiles of the paired ratios contestant / peer, `None` if one was not measured."""
        ours, theirs = (self.samples.get(name, {}).get(quantity) for name in (contestant, peer))
        if not ours or not theirs:
            return None
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if ratios[1:] else ratios * 3
        return {"median": middle, "low": low, "high": high, "pairs": len(ratios)}


def run(task, contestants, what=("step",), processes=2, rounds=5, steps=5, progress=lambda text: None):
    """Measure a task.

    Args:
        task: the `Task`.
        contestants: names of `CONTESTANTS`; those that cannot take part are named in the result's `absent`.
        what: names of `MEASUREMENTS`.
        processes: number of repetitions in fresh processes.
        rounds: turns of each contestant within a process.
        steps: training steps (predictions) in a turn; its value is their median.
        progress: function called with a line of text on the progress.

    Returns:
        A `Result`.

    Raises:
        ValueError: An argument is not allowed; nothing has been built then.
        WorkerError: A contestant failed.
    """
    _check_names("what", what, MEASUREMENTS)
    _check_names("contestants", contestants, CONTESTANTS)
    for name, number in {"processes": processes, "rounds": rounds, "steps": steps}.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1; received {number!r}.")
    if "inference" in what and task.threads is None:  # the default number of threads suits training batches
        task = dataclasses.replace(task, threads=0)
    result = Result(task, tuple(dict.fromkeys(contestants)))
    for name in result.contestants:
        package = ENGINES.get(name, CONTESTANTS[name])
        if importlib.util.find_spec(package) is None:
            result.absent[name] = f"the package {package} is not installed"
        elif name in INFERENCE_ONLY and not set(what) <= {"inference", "import"}:
            result.absent[name] = "it infers only: --what inference"
    others = machine.OthersShare()
    for repeat in range(processes):
        with contextlib.ExitStack() as stack:
            progress(f"process {repeat + 1} of {processes}: importing")
            workers = _open_workers(stack, result)
            _run_repeat(result, workers, what, rounds, steps, progress)
    result.others_fraction = others.value()
    return result


def _check_names(argument, names, allowed):
    if unknown := [name for name in names if name not in allowed]:
        raise ValueError(f"{argument} must be among {', '.join(allowed)}; received {unknown[0]!r}.")
    if not names:
        raise ValueError(f"{argument} must name at least one of {', '.join(allowed)}; received none.")


def _open_workers(stack, result):
    workers, place = [], None
    for name in result.contestants:
        if name in result.absent or name not in CONTESTANTS:  # "tf.data", of photographs, has no process
            continue
        worker = stack.enter_context(Worker(name, result.task))
        try:
            opened = worker.open()
        except NotImplementedError as error:
            result.absent[name] = str(error)
            continue
        where = "GPU" if opened["on_gpu"] else "CPU"
        place = place or where
        if where != place:
            result.absent[name] = f"it computes on the {where}, {workers[0].name} on the {place}"
            continue
        result.versions.update(opened["versions"])
        result.add(name, "import", opened["import_seconds"])
        workers.append(worker)
    return workers


def _run_repeat(result, workers, what, rounds, steps, progress):
    """Take all measurements of one set of processes."""
    if set(what) <= {"import"}:
        return
    built = []
    for worker in workers:
        progress(f"{worker.name}: building")
        try:
            result.parameters[worker.name] = worker.ask("build")["parameters"]
        except NotImplementedError as error:
            result.absent[worker.name] = str(error)
            continue
        built.append(worker)
        if {"step", "first", "memory"} & set(what):
            result.add(worker.name, "first", worker.ask("first", batch_size=result.task.batch_size)["seconds"])
    workers = built
    if {"step", "memory"} & set(what):
        progress("training steps")
        for worker, answer in _turns(workers, rounds if "step" in what else 1, "step", steps):
            result.add(worker.name, "step", statistics.median(answer["seconds"]))
            result.losses[worker.name] = answer["loss"]
        for worker in workers:
            for part, size in worker.ask("memory").items():
                result.add(worker.name, f"memory {part}", size)
    if "inference" in what:
        for batch_size in result.task.inference_batch_sizes:
            progress(f"inference, batch {batch_size}")
            for worker in workers:
                worker.ask("prepare_inference", batch_size=batch_size)
            for worker, answer in _turns(workers, rounds, "infer", steps):
                result.add(worker.name, f"inference {batch_size}", statistics.median(answer["seconds"]))
    if "input" in what:
        progress("input")
        for worker in workers:
            if CONTESTANTS[worker.name] == "keras_sd":  # baselines have no input pipeline
                for _ in range(rounds):
                    waiting = worker.ask("input", batch_size=result.task.batch_size, count=steps)
                    result.add(worker.name, "waiting", waiting)
    if "photographs" in what:
        progress("photographs")
        for worker in workers:
            if worker.name == "ours":
                _read_photographs(result, worker, rounds, steps)


def _read_photographs(result, worker, rounds, steps):
    """Measure batches of photographs by our pipeline and a plain one, in alternating turns in one process."""
    if "tf.data" not in result.contestants:
        result.contestants = (*result.contestants, "tf.data")
    for turn in range(rounds):
        kinds = worker.ask("photographs", batch_size=result.task.batch_size, count=steps, turn=turn)
        for kind, seconds in kinds.items():
            for name, value in seconds.items():
                result.add(name, f"photographs {kind}", value)


def _turns(workers, rounds, do, count):
    """Yield the answers of alternating workers; every second round is reversed, so that none is always first."""
    for index in range(rounds):
        for worker in workers[:: -1 if index % 2 else 1]:
            yield worker, worker.ask(do, count=count)
