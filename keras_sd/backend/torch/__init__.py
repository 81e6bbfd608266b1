"""Operations on PyTorch beyond `keras.ops`; the package of each engine has the same names."""

from keras_sd.backend.torch import devices
from keras_sd.backend.torch.dense import dense_block
from keras_sd.backend.torch.determinism import enable_determinism
from keras_sd.backend.torch.gates import choose, cond, float64, survivors
from keras_sd.backend.torch.gradients import gradients
from keras_sd.backend.torch.loops import COMPILES_DYNAMIC_LOOPS, map_chunks, recomputed, scan, take_rows
from keras_sd.backend.torch.operations import average_pool, conv2d, fused_batch_normalization

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
