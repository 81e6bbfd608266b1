"""Several devices on TensorFlow: a mirrored strategy on one host."""

import contextlib
from typing import Any

import tensorflow as tf

from keras_sd.utils.checks import refusal

# Where the result of an operation has at most this many numbers, splitting it over threads costs more than it saves.
# On two cores ResNet-110 at batch 8 (131,072) gains from one thread an operation, at batch 64 it loses; between them
# rough measurements are inconclusive.
LITTLE_WORK = 131_072

connect = None  # several processes: MultiWorkerMirroredStrategy does not go with Keras 3 (keras issue 20585)


def accelerators() -> list[str]:
    """Names of the GPUs."""
    return [f"gpu:{i}" for i in range(len(tf.config.list_physical_devices("GPU")))]


def split_cpu(count: int) -> None:
    """Split the CPU into this many devices."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:  # TensorFlow has begun to use the CPU as it was
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise refusal("devices", "given before TensorFlow computes", f"cpu:{count}") from error


def limit_threads(count: int) -> None:
    """Let each operation use at most this many threads of the CPU, others have the rest."""
    try:
        tf.config.threading.set_intra_op_parallelism_threads(count)
    except RuntimeError as error:
        raise refusal("threads", "given before TensorFlow computes", count) from error


def cpus() -> list[str]:
    """Names of the devices of the CPU."""
    return [f"cpu:{i}" for i in range(len(tf.config.list_logical_devices("CPU")))]


def scope(names: list[str]) -> contextlib.AbstractContextManager:
    """The context in which a model that is made and trained uses these devices."""
    return tf.distribute.MirroredStrategy(names).scope()


def place(batches: tf.data.Dataset, replicas: int, can_split: bool) -> Any:
    """Batches as the trainer is to be given them: as they are, as the strategy splits them."""
    return batches
