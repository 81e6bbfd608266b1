"""Operations on JAX beyond `keras.ops`; the package of each engine has the same names."""

from keras.ops import average_pool
from keras.ops import conv as conv2d

from keras_sd.backend.jax import devices
from keras_sd.backend.jax.dense import dense_block
from keras_sd.backend.jax.determinism import enable_determinism
from keras_sd.backend.jax.gradients import gradients
from keras_sd.backend.jax.loops import (
    COMPILES_DYNAMIC_LOOPS,
    choose,
    cond,
    float64,
    fused_batch_normalization,
    map_chunks,
    recomputed,
    scan,
    survivors,
    take_rows,
)

__all__ = [
    "COMPILES_DYNAMIC_LOOPS",
    "average_pool",
    "choose",
    "cond",
    "conv2d",
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
