"""Operations that give the same bits in every run."""

import tensorflow as tf


def enable_determinism() -> None:
    """Use only deterministic operations for the rest of the process.

    TensorFlow then refuses an operation that has no deterministic form, and runs random maps of `tf.data` one after
    another.
    """
    tf.config.experimental.enable_op_determinism()
