"""Training on several devices: selection of devices, and splitting of batches."""

import contextlib
import functools
import os
import re
from collections.abc import Iterable
from typing import Any

import keras

from keras_sd.backend import devices as backend
from keras_sd.training import cluster
from keras_sd.utils.checks import check_integer, refusal

SYNTAX = "a number, all, cpu:N for N virtual devices, or names such as gpu:0,gpu:1"


class Devices:
    """The devices of a run, including those of other processes.

    Args:
        names: List of device names, such as "gpu:0"; empty for the backend's default.
        processes: Integer, number of processes that train together.
        process: Integer, index of this process.
        peers: Connections to the other processes, as `backend.connect` returns them; `None` for one process.
    """

    def __init__(self, names: Iterable[str] = (), processes: int = 1, process: int = 0, peers: Any = None) -> None:
        self.names = list(names)
        self.processes = processes
        self.process = process
        self.peers = peers

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.process == 0

    def scope(self) -> contextlib.AbstractContextManager:
        """Return the context in which to build and train the model."""
        return backend.scope(self.names) if self.names else contextlib.nullcontext()

    def shard(self, dataset: Any, batch_size: int) -> Any:
        """Return the data set as this process reads it.

        Raises:
            ValueError: The batch size is not a multiple of the number of devices.
        """
        if not self.names:
            return dataset
        if batch_size % len(self.names):
            raise refusal("batch_size", f"a multiple of the {len(self.names)} devices", batch_size)
        return Sharded(dataset, len(self.names), self.processes, self.process)


class Sharded:
    """A data set whose batches are split over devices; all other attributes are those of the data set.

    Args:
        dataset: A `keras_sd.data.Dataset`.
        replicas: Integer, the number of devices.
        processes: Integer, number of processes, each of which reads its part of the batches.
        process: Integer, index of this process.
    """

    def __init__(self, dataset: Any, replicas: int, processes: int = 1, process: int = 0) -> None:
        self._dataset, self._replicas, self._process = dataset, replicas, (process, processes)

        @functools.wraps(dataset.training_batches)
        def training_batches(*args, **kwargs):
            return dataset.training_batches(*args, **kwargs, process=self._process)

        self.training_batches = training_batches

    @property
    def unsplit(self) -> Any:
        """The data set with whole batches, for computations that all processes repeat."""
        return self._dataset

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    def batches(self, part: str, batch_size: int = 256) -> Any:
        """Return one pass over a split, as `Dataset.batches` does."""
        can_split = len(getattr(self._dataset, part)) % self._replicas == 0
        batch_size = max(1, batch_size // self._replicas) * self._replicas
        process = self._process if can_split else (0, 1)
        return backend.place(self._dataset.batches(part, batch_size, process), self._replicas, can_split)


def choose(
    devices: str | None = None,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout: int = 60,
) -> Devices:
    """Return the requested devices, and connect processes. Call this before anything is computed.

    Args:
        devices: String as in `SYNTAX`; `None` for the backend's default: one device, or with several processes all
            their devices.
        coordinator: String "HOST:PORT", the address of process 0; "auto" for SLURM and Kubernetes, whose environment
            variables give address, number and index; `None` for one process.
        num_processes, process_id: Integers, with an address.
        timeout: Integer, seconds to wait for the other processes.

    Returns:
        A `Devices`.

    Raises:
        ValueError: An argument is invalid, or a device does not exist.
        ConnectionError: The other processes cannot be reached.
    """
    if coordinator == "auto":
        _check_unset("with coordinator 'auto'", num_processes, process_id)
        coordinator, num_processes, process_id = cluster.detect(os.environ)
    _check(coordinator, num_processes, process_id)
    kind, value = _parse(devices)
    if coordinator is not None and kind in ("count", "names"):
        raise refusal("devices", "all or cpu:N, of each process, with a coordinator", devices)
    if kind == "cpu":
        backend.split_cpu(value)
    if coordinator is None:
        return Devices(_names(kind, value))
    assert backend.connect is not None  # `_check` ensures this and the next two
    assert num_processes is not None
    assert process_id is not None
    peers = backend.connect(coordinator, num_processes, process_id, timeout)
    return Devices(_names(kind or "all", value), num_processes, process_id, peers)


def set_threads(asked: int | None, work: int | None) -> int | None:
    """Set the number of CPU threads per operation. Call this before anything is computed.

    Args:
        asked: Integer; `None` for one thread if operations are so small that more would be slower, else the backend's
            default.
        work: Integer, size of the largest result of an operation; `None` if it is not known.

    Returns:
        The number that was set, or `None`.

    Raises:
        ValueError: The backend cannot set the number, or not any more.
    """
    if asked is not None:
        backend.limit_threads(check_integer("threads", asked))
        return asked
    is_little = work is not None and work <= backend.LITTLE_WORK
    if not is_little or backend.accelerators() or "TF_NUM_INTRAOP_THREADS" in os.environ:
        return None
    try:
        backend.limit_threads(1)
    except ValueError:  # something was computed before
        return None
    return 1


def _check(coordinator, num_processes, process_id):
    """Raise a `ValueError` unless the arguments describe one of several processes, or all are `None`."""
    if coordinator is None:
        _check_unset("without a coordinator", num_processes, process_id)
        return
    if backend.connect is None:
        backend_name = keras.backend.backend()
        allowed = f"None on the backend {backend_name!r}: several processes train only on JAX (set KERAS_BACKEND=jax)"
        raise refusal("coordinator", allowed, coordinator)
    if not re.fullmatch(r"\S+:\d{1,5}", coordinator) or not 0 < int(coordinator.rpartition(":")[2]) < 65536:
        raise refusal("coordinator", "HOST:PORT, the address of process 0", coordinator)
    if num_processes is None or num_processes < 1:
        raise refusal("num_processes", "at least 1 with a coordinator", num_processes)
    if process_id is None or not 0 <= process_id < num_processes:
        raise refusal("process_id", f"from 0 to {num_processes - 1}", process_id)


def _check_unset(when, num_processes, process_id):
    for name, value in (("num_processes", num_processes), ("process_id", process_id)):
        if value is not None:
            raise refusal(name, f"None {when}", value)


def _parse(text):
    """Return the kind of the request, `None` if there is none, and its value."""
    if text is None:
        return None, None
    if text == "all":
        return "all", None
    if re.fullmatch(r"[1-9]\d*", text):
        return "count", int(text)
    if match := re.fullmatch(r"cpu:([1-9]\d*)", text):
        return "cpu", int(match[1])
    names = text.split(",")
    if len(set(names)) == len(names) and all(re.fullmatch(r"(gpu|tpu|cpu):\d+", name) for name in names):
        return "names", names
    raise refusal("devices", f"{SYNTAX}", text)


def _names(kind, value):
    if kind is None:
        return ()
    if kind == "cpu":
        return backend.cpus()
    there = backend.accelerators()
    said = ", ".join(there) or "none"
    if kind == "count" and value > len(there):
        raise refusal("devices", f"at most {len(there)}, the number there is: {said}", value)
    if kind == "names" and set(value) - set(there):
        raise refusal("devices", f"of those that are there: {said}", ",".join(value))
    if kind == "names":
        return value
    return there[:value] if kind == "count" else there
