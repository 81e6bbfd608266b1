"""Everything that depends on the Keras backend: loops over blocks, gates, fused kernels, devices.

The rest of the package is written with `keras.ops` and the functions below, so that support of another
backend is one more module here.
"""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_sd.backend.tensorflow import (
        COMPILES_DYNAMIC_LOOPS,
        fused_batch_normalization,
        map_chunks,
        recomputed,
        scan,
        take_rows,
    )
    from keras_sd.backend.tensorflow_dense import dense_block
    from keras_sd.backend.tensorflow_gates import choose, cond, float64, survivors
elif keras.backend.backend() == "jax":
    from keras_sd.backend.jax import (
        COMPILES_DYNAMIC_LOOPS,
        choose,
        cond,
        dense_block,
        float64,
        fused_batch_normalization,
        map_chunks,
        recomputed,
        scan,
        survivors,
        take_rows,
    )
else:
    raise ImportError(
        f"keras_sd runs on the backends tensorflow and jax of Keras. Received: {keras.backend.backend()!r}. "
        'Set KERAS_BACKEND="tensorflow" (or "jax") before Keras is imported.'
    )

__all__ = [
    "COMPILES_DYNAMIC_LOOPS",
    "choose",
    "cond",
    "dense_block",
    "float64",
    "fused_batch_normalization",
    "map_chunks",
    "recomputed",
    "scan",
    "survivors",
    "take_rows",
]
