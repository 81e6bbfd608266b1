"""A process with one contestant that answers requests in JSON, one per line of stdin.

Run as a script by `harness.Worker`. Each request is an object whose "do" names a method of `Contestant` and
whose other keys are its arguments; each answer is an object with "answer" or "error". The process exits when
stdin ends.
"""

import importlib
import importlib.util
import json
import os
import pathlib
import sys
import tempfile
import time
import traceback

WARM_UP = 2  # calls that are not timed, after the first


class Contestant:
    """The requests that the harness can make."""

    def __init__(self, package):
        self.package = package

    def open(self, name, task):
        """Import the framework and check the task; nothing is built."""
        runners = importlib.import_module(f"{self.package}.runners")
        tasks = importlib.import_module(f"{self.package}.task")
        started = time.perf_counter()
        importlib.import_module(tasks.CONTESTANTS[name])
        seconds = time.perf_counter() - started
        self.runner = runners.RUNNERS[name](tasks.Task(**task))
        self.bytes_after_import = peak_bytes()
        self.machine = importlib.import_module(f"{self.package}.machine")
        self.on_gpu = not self.runner.is_on_cpu and self.machine.has_gpu(self.runner.engine)
        return {"import_seconds": seconds, "versions": self.runner.versions(), "on_gpu": self.on_gpu}

    def build(self):
        """Build the model."""
        seconds, parameters = _timed(self.runner.build)
        self.build_seconds = seconds
        return {"seconds": seconds, "parameters": parameters}

    def first(self, batch_size):
        """Time building and the first training step; then run the warm-up steps."""
        self.runner.set_batch(batch_size)
        seconds, loss = _timed(self.runner.train_step)
        for _ in range(WARM_UP):
            self.runner.train_step()
        return {"seconds": self.build_seconds + seconds, "loss": loss}

    def step(self, count):
        """Time training steps."""
        timed = [_timed(self.runner.train_step) for _ in range(count)]
        return {"seconds": [seconds for seconds, _ in timed], "loss": timed[-1][1]}

    def memory(self):
        """Return the peak memory so far: of the GPU, or of the process with its increase since importing."""
        if self.on_gpu:
            return {"gpu": self.machine.gpu_peak_bytes(self.runner.engine)}
        peak = peak_bytes()
        return {"peak": peak, "above_import": peak - self.bytes_after_import}

    def prepare_inference(self, batch_size):
        """Prepare model and batch for inference, and warm up."""
        self.runner.prepare_inference()
        self.runner.set_batch(batch_size)
        for _ in range(1 + WARM_UP):
            self.runner.infer()

    def infer(self, count):
        """Time predictions of one batch."""
        return {"seconds": [_timed(self.runner.infer)[0] for _ in range(count)]}

    def input(self, batch_size, count):
        """Return the fraction of the time of training steps that is spent waiting for batches."""
        batches, waits, steps = self.runner.training_batches(batch_size), [], []
        for _ in range(1 + WARM_UP + count):
            wait, batch = _timed(lambda: next(batches))
            waits.append(wait)
            steps.append(_timed(lambda batch=batch: self.runner.train_on(batch))[0])
        waited = sum(waits[-count:])
        return waited / (waited + sum(steps[-count:]))

    def photographs(self, batch_size, count, turn):
        """Return seconds per batch of photographs, by kind and by pipeline: keras_sd's and plain `tf.data`."""
        peers = importlib.import_module(f"{self.package}.input_peers")
        if turn == 0:
            self._folder = tempfile.TemporaryDirectory()
            self._pipelines = peers.Pipelines(self._folder.name, batch_size)
        return {kind: self._pipelines.seconds(kind, count, backwards=turn % 2 == 1) for kind in peers.KINDS}

    def profile(self, directory, count):
        """Trace training steps into the directory, and return the rows of the table of operations."""
        profiling = importlib.import_module(f"{self.package}.profiling")
        return profiling.profile(self.runner.train_step, directory, count)


def peak_bytes():
    """Return the peak resident memory of this process in bytes.

    Read from /proc if it exists: `ru_maxrss` of a process starts at that of its parent.
    """
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _timed(function):
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def answer(contestant, request):
    """Return the answer to a request; an exception becomes an "error" with its kind."""
    try:
        return {"answer": getattr(contestant, request.pop("do"))(**request)}
    except Exception as error:  # the harness raises it again on its side
        traceback.print_exc()
        return {"error": str(error) or repr(error), "kind": type(error).__name__}


def main():
    """Serve until stdin ends. Output of the frameworks is sent to stderr, separate from the answers."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    contestant = Contestant(_load_package())
    for line in sys.stdin:
        print(json.dumps(answer(contestant, json.loads(line))), file=answers)


def _load_package():
    """Load this directory as a separate package; return its name.

    Under the name keras_sd.benchmarks, a worker that measures PyTorch would import keras_sd and TensorFlow.
    """
    here, name = pathlib.Path(__file__).parent, "keras_sd_benchmarks"
    spec = importlib.util.spec_from_file_location(name, here / "__init__.py", submodule_search_locations=[str(here)])
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return name


if __name__ == "__main__":
    main()
