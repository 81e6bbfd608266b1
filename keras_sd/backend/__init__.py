"""Everything that depends on the engine of Keras: loops over blocks, gates, fused kernels, gradients, devices.

The rest of the package is written with `keras.ops` and the names below. Each engine is a package next to this file;
a new engine is one more package that defines the same names.
"""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_sd.backend.tensorflow import (
        COMPILES_DYNAMIC_LOOPS,
        choose,
        cond,
        dense_block,
        devices,
        enable_determinism,
        float64,
        fused_batch_normalization,
        gradients,
        map_chunks,
        recomputed,
        scan,
        survivors,
        take_rows,
    )
elif keras.backend.backend() == "jax":
    from keras_sd.backend.jax import (
        COMPILES_DYNAMIC_LOOPS,
        choose,
        cond,
        dense_block,
        devices,
        enable_determinism,
        float64,
        fused_batch_normalization,
        gradients,
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
    "devices",
    "enable_determinism",
    "float64",
    "fused_batch_normalization",
    "gradients",
    "map_chunks",
    "recomputed",
    "scan",
    "survivors",
    "take_rows",
]
