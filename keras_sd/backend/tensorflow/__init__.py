"""Operations on TensorFlow beyond `keras.ops`; the package of each engine has the same names."""

from keras.ops import average_pool
from keras.ops import conv as conv2d

from keras_sd.backend.tensorflow import devices
from keras_sd.backend.tensorflow.dense import dense_block
from keras_sd.backend.tensorflow.determinism import enable_determinism
from keras_sd.backend.tensorflow.gates import choose, cond, float64, survivors
from keras_sd.backend.tensorflow.gradients import gradients
from keras_sd.backend.tensorflow.loops import (
    COMPILES_DYNAMIC_LOOPS,
    fused_batch_normalization,
    map_chunks,
    recomputed,
    scan,
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
