"""Operations that give the same bits in every run."""

import keras


def enable_determinism():
    """Has the backend use deterministic operations only, for the rest of the process.

    TensorFlow then refuses an operation that has no deterministic form, and runs random maps of `tf.data` one after
    another. JAX on CPU is deterministic as it is; on GPU its flags are XLA's, set before it starts.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
