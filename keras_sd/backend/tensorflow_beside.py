"""TensorFlow next to another engine: it reads data and runs exported files, both on the CPU."""

import contextlib

import keras


def leave_gpus_to_the_engine() -> None:
    """Hide GPUs from TensorFlow unless it is the engine: it would reserve nearly all of their memory.

    To be called before TensorFlow computes. Where a program has used it already, its devices stay as they are.
    """
    if keras.backend.backend() == "tensorflow":
        return
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")
