"""Everything that depends on the Keras backend: loops over blocks and fused kernels.

The rest of the package is written with `keras.ops` and the functions below, so that support of another
backend is one more module here.
"""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_sd.backend.tensorflow import (
        COMPILES_DYNAMIC_LOOPS,
        affine,
        fused_batch_normalization,
        scan,
        survivors,
        take_rows,
    )
else:
    raise ImportError(
        f"keras_sd runs on the TensorFlow backend of Keras. Received: {keras.backend.backend()!r}. "
        'Set KERAS_BACKEND="tensorflow" before Keras is imported.'
    )

__all__ = ["COMPILES_DYNAMIC_LOOPS", "affine", "fused_batch_normalization", "scan", "survivors", "take_rows"]
