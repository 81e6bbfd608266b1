"""Several devices on TensorFlow: a mirrored strategy on one host."""

import contextlib
from typing import Any

import tensorflow as tf

from keras_sd.backend.one_process import any_process, from_first  # noqa: F401, as in all engines' modules
from keras_sd.utils.checks import refusal

# If the result of an operation has at most this many numbers, splitting it over threads costs more than it saves.
# On two cores, ResNet-110 is faster with one thread per operation at batch size 8 (131,072 numbers), and slower at 64;
# measurements between them are too rough to be conclusive.
LITTLE_WORK = 131_072

connect = None  # no several processes: MultiWorkerMirroredStrategy does not work with Keras 3 (keras issue 20585)


def accelerators() -> list[str]:
    """Return the names of the GPUs."""
    return [f"gpu:{i}" for i in range(len(tf.config.list_physical_devices("GPU")))]


def on_gpu() -> bool:
    """Return whether operations run on a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))


def split_cpu(count: int) -> None:
    """Split the CPU into this many devices."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:  # TensorFlow has already initialized the CPU
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise refusal("devices", "set before TensorFlow initializes the CPU", f"cpu:{count}") from error


def limit_threads(count: int) -> None:
    """Let each operation use at most this many threads of the CPU, and leave the rest to other operations."""
    try:
        tf.config.threading.set_intra_op_parallelism_threads(count)
    except RuntimeError as error:
        raise refusal("threads", "set before TensorFlow initializes the CPU", count) from error


def cpus() -> list[str]:
    """Return the names of the devices of the CPU."""
    return [f"cpu:{i}" for i in range(len(tf.config.list_logical_devices("CPU")))]


def scope(names: list[str]) -> contextlib.AbstractContextManager:
    """Return a context in which models are built and trained on these devices."""
    return tf.distribute.MirroredStrategy(names).scope()


def place(batches: tf.data.Dataset, replicas: int, can_split: bool) -> Any:
    """Return the batches for the trainer, unchanged: the strategy splits them."""
    return batches
