"""Deterministic operations."""

import tensorflow as tf


def enable_determinism() -> None:
    """Use only deterministic operations for the rest of the process; they are bit-identical in every run.

    TensorFlow then refuses operations without a deterministic implementation, and runs random maps of `tf.data`
    sequentially.
    """
    tf.config.experimental.enable_op_determinism()
