"""Several devices, and several processes, on JAX: batches are split over all devices of all processes.

A step is one program over all devices, so batch statistics, gates and dropout are the same as on one device.
"""

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any

import jax
import keras

from keras_sd.utils.checks import refusal

if TYPE_CHECKING:  # importing TensorFlow takes seconds
    import tensorflow as tf

LITTLE_WORK = 0  # size below which one thread per operation is faster: never

_GREETING = "keras-sd"


def connect(coordinator: str, count: int, index: int, timeout: int) -> None:
    """Connect this process to the others.

    Args:
        coordinator: "HOST:PORT", the address at which process 0 listens.
        count: Integer, number of processes.
        index: Integer, index of this process.
        timeout: Integer, seconds to wait for the others.

    Raises:
        ConnectionError: If the others cannot be reached in time.
    """
    # JAX itself would abort the process if others do not connect.
    end = time.monotonic() + timeout
    (_join if index else _gather)(coordinator, count, index, end)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # Like `keras.distribution.initialize`, which has no timeout; a run sets its own seeds. JAX's own detection of a
    # scheduler would give each process one device only.
    jax.distributed.initialize(
        coordinator, count, index, cluster_detection_method="deactivate", initialization_timeout=timeout
    )


def _gather(coordinator, count, _, end):
    """Process 0: wait until all others have reported, then let them continue."""
    _, port = _address(coordinator)
    waiting = {}
    try:
        with contextlib.ExitStack() as opened:
            server = opened.enter_context(socket.create_server(("", port)))
            while len(waiting) < count - 1:
                server.settimeout(max(0.01, end - time.monotonic()))
                connection = opened.enter_context(server.accept()[0])
                hello = _heard(connection)
                if len(hello) != 3 or hello[0] != _GREETING:
                    continue
                if hello[2] != str(count) or hello[1] in waiting:
                    connection.sendall(f"process {hello[1]} of {hello[2]} is of another run, or a duplicate".encode())
                    continue
                waiting[hello[1]] = connection
            for connection in waiting.values():
                connection.sendall(_GREETING.encode())
    except OSError as error:
        missing = ", ".join(str(i) for i in range(1, count) if str(i) not in waiting)
        allowed = f"an address that all {count} processes reach in time; {missing} did not connect ({error})"
        raise refusal("coordinator", allowed, coordinator, ConnectionError) from error


def _heard(connection):
    """Return the words that a connected process sends; an empty list if it sends nothing in time."""
    connection.settimeout(5)
    try:
        return connection.recv(64).decode(errors="replace").split()
    except OSError:
        return []


def _join(coordinator, count, index, end):
    """Other processes: report to process 0, and wait until it lets them continue."""
    answer = None
    while answer is None:
        left = max(0.01, end - time.monotonic())
        try:
            with socket.create_connection(_address(coordinator), timeout=left) as connection:
                connection.sendall(f"{_GREETING} {index} {count}".encode())
                answer = connection.recv(256).decode(errors="replace")
        except OSError as error:
            if time.monotonic() >= end:
                allowed = f"the address of process 0, which must be running; it was not reached in time ({error})"
                raise refusal("coordinator", allowed, coordinator, ConnectionError) from error
            time.sleep(0.2)
    if answer != _GREETING:
        allowed = f"that of a process 0 that accepts this process; it answered: {answer or 'nothing'}"
        raise refusal("coordinator", allowed, coordinator, ConnectionError)


def _address(coordinator):
    host, _, port = coordinator.rpartition(":")
    return host.strip("[]"), int(port)


def accelerators() -> list[str]:
    """Return the names of the GPUs or TPUs of all processes; without any, those of the CPU's devices."""
    return keras.distribution.list_devices()


def split_cpu(count: int) -> None:
    """Split the CPU of this process into this many devices."""
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:  # JAX has already initialized the CPU
        if jax.local_device_count("cpu") != count:
            raise refusal("devices", "set before JAX initializes the CPU", f"cpu:{count}") from error


def limit_threads(count: int) -> None:
    """Raise a `ValueError`: XLA has no such setting."""
    raise refusal("threads", "left out on the backend 'jax'", count)


def cpus() -> list[str]:
    """Return the names of the CPU devices of all processes."""
    return keras.distribution.list_devices("cpu")


def scope(names: list[str]) -> contextlib.AbstractContextManager:
    """Return a context in which models are built and trained on these devices."""
    return keras.distribution.DataParallel(devices=names, auto_shard_dataset=False).scope()


def place(batches: "tf.data.Dataset", replicas: int, can_split: bool) -> Any:
    """Return the batches for the trainer of this process.

    Args:
        batches: A `tf.data.Dataset`.
        replicas: Integer, number of devices of all processes.
        can_split: Boolean, whether the sizes of all batches are multiples of `replicas`. Otherwise each device gets all
            examples: the averages over them are the same.
    """
    import tensorflow as tf

    processes, index = jax.process_count(), jax.process_index()

    def of_this_process(x):
        if not can_split:
            return tf.concat([x] * (replicas // processes), 0)
        size = tf.shape(x)[0] // processes
        return x[index * size : (index + 1) * size]

    return batches.map(lambda *tensors: tuple(of_this_process(x) for x in tensors), tf.data.AUTOTUNE)
