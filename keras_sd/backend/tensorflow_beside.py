"""TensorFlow next to another engine, for reading data and running exported files on the CPU."""

import contextlib

import keras


def leave_gpus_to_the_engine() -> None:
    """Hide GPUs from TensorFlow unless it is the engine: it would reserve nearly all of their memory.

    Call this before TensorFlow computes; if it was used already, its devices do not change.
    """
    if keras.backend.backend() == "tensorflow":
        return
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")
