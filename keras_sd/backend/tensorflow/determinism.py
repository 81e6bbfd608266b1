"""Deterministic operations on TensorFlow: bit-identical results in every run."""

import tensorflow as tf


def enable_determinism() -> None:
    """Use only deterministic operations for the rest of the process.

    TensorFlow then refuses operations without a deterministic implementation, and runs random maps of `tf.data`
    sequentially.
    """
    tf.config.experimental.enable_op_determinism()
