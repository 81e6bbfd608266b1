"""Several devices, and several processes, on JAX: batches are split over all devices of all processes.

A step is one program over all devices, so batch statistics, gates and dropout are the same as on one device.
"""

import contextlib
from typing import TYPE_CHECKING, Any

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from keras_sd.backend.jax.peers import Peers, meet
from keras_sd.utils.checks import refusal

if TYPE_CHECKING:  # importing TensorFlow takes seconds
    import tensorflow as tf

LITTLE_WORK = 0  # size below which one thread per operation is faster: never
STEPS_TOGETHER = 10  # steps between those after which processes wait for each other

_SENT_AT_ONCE = 2**26  # bytes, which also need memory on the device


def connect(coordinator: str, count: int, index: int, timeout: int) -> Peers:
    """Connect this process to the others.

    Args:
        coordinator: "HOST:PORT", the address at which process 0 listens.
        count: Integer, number of processes.
        index: Integer, index of this process.
        timeout: Integer, seconds to wait for the others.

    Returns:
        The `Peers`.

    Raises:
        ConnectionError: If the others cannot be reached in time.
    """
    # JAX itself would abort the process if others do not connect.
    peers = meet(coordinator, count, index, timeout)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it would replace our handler of SIGTERM
    # Like `keras.distribution.initialize`, which has no timeout; a run sets its own seeds. JAX's own detection of a
    # scheduler would give each process one device only.
    jax.distributed.initialize(
        coordinator, count, index, cluster_detection_method="deactivate", initialization_timeout=timeout
    )
    return peers


def any_process(flag: bool, step: int = 0) -> bool:
    """Return whether the flag is true in any process. All processes must call this after the same steps.

    Args:
        flag: Boolean.
        step: Integer, number of steps made. Processes wait for each other here, so they do this only every
            `STEPS_TOGETHER` steps; after other steps, the result is `False`.
    """
    if jax.process_count() == 1:
        return flag
    return step % STEPS_TOGETHER == 0 and bool(multihost_utils.process_allgather(np.array(flag)).any())


def from_first(content: bytes) -> bytes:
    """Return in every process the bytes that process 0 passes."""
    # The size as bytes, too: JAX has no 64-bit integers by default.
    size = _from_first(np.frombuffer(len(content).to_bytes(8), "uint8"))
    received = np.zeros(int.from_bytes(size.tobytes()), "uint8")
    if jax.process_index() == 0:
        received[:] = np.frombuffer(content, "uint8")
    for start in range(0, len(received), _SENT_AT_ONCE):
        received[start : start + _SENT_AT_ONCE] = _from_first(received[start : start + _SENT_AT_ONCE])
    return received.tobytes()


def _from_first(array):
    return np.asarray(multihost_utils.broadcast_one_to_all(array))


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
        batches: A `tf.data.Dataset` with this process's part of each batch, or with whole batches.
        replicas: Integer, number of devices of all processes.
        can_split: Boolean, whether the batches are parts. Otherwise each device gets all examples: the averages over
            them are the same.
    """
    import tensorflow as tf

    if can_split:
        return batches
    copies = replicas // jax.process_count()
    return batches.map(lambda *tensors: tuple(tf.concat([x] * copies, 0) for x in tensors), tf.data.AUTOTUNE)
