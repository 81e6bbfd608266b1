"""Gates of stochastic depth: which blocks, or examples, survive a training step.

These are functions of probabilities and a seed generator, independent of the layers. All draws are float32 or wider:
half precision would round survival probabilities and repeat draws.
"""

import math
import zlib
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sd import backend
from keras_sd.backend.survivors import Survivors
from keras_sd.utils.aliases import Tensor
from keras_sd.utils.checks import refusal

GATES = ("independent", "systematic")
GRANULARITIES = ("batch", "sample", "subset")
SCALINGS = ("inference", "training")


def seed_generator(seed: int | None, name: str) -> keras.random.SeedGenerator:
    """Return a seed generator for one layer.

    An explicit seed is mixed with the layer's name: otherwise all blocks of a model that are given the same seed
    would be dropped together.
    """
    if seed is None:
        return keras.random.SeedGenerator()
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise refusal("seed", "an integer in [0, 2**32) or None", seed)
    return keras.random.SeedGenerator(zlib.crc32(f"{seed}/{name}".encode()) & 0x7FFFFFFF)


def draw_independent(probabilities: Any, shape: tuple, seed: keras.random.SeedGenerator) -> Tensor:
    """Draw Booleans of the given shape, each true with the survival probability at its position.

    Args:
        probabilities: Survival probabilities, an array that broadcasts to `shape`.
        shape: Shape of the result.
        seed: Seed generator.
    """
    return keras.random.uniform(shape, dtype="float32", seed=seed) < ops.convert_to_tensor(probabilities, "float32")


def draw_systematic(probabilities: Sequence[float], seed: keras.random.SeedGenerator) -> Survivors:
    """Draw (nearly) the same number of survivors every time, with the given marginal probabilities.

    This is systematic sampling over a random order: cumulative sums of the probabilities in that order give each block
    an interval, and a block survives if one of the points `u, u + 1, u + 2, ...` falls into it, for one offset `u` in
    [0, 1). No interval is longer than 1, so no block is drawn twice. If the sum of the probabilities is not whole, the
    number of survivors is its floor or its ceiling; the length of the result is the ceiling.

    Args:
        probabilities: Survival probabilities, one for each block.
        seed: Seed generator.

    Returns:
        `Survivors` of a fixed length. If only the floor was drawn, the spare row names a block that does not survive
        and is marked as not live.
    """
    # Rounded, so that a sum that is whole except for rounding errors counts as whole.
    depth, expected = len(probabilities), round(math.fsum(probabilities), 9)
    count = max(1, math.ceil(expected))
    order = ops.argsort(keras.random.uniform((depth,), dtype="float32", seed=seed))
    offset = keras.random.uniform((), dtype="float32", seed=seed)
    # float64: in float32 points near a whole sum would exceed it.
    with backend.float64():
        ends = ops.cumsum(ops.take(ops.convert_to_tensor(probabilities, "float64"), order))
        points = ops.cast(offset, "float64") + ops.arange(count, dtype="float64")
        # The last end is the sum, except for rounding; points beyond it are spare.
        # Instead of `searchsorted`, which older versions of Keras compile for NumPy arrays only.
        before = ops.sum(ops.cast(ends <= ops.expand_dims(points, -1), "int32"), axis=-1)
        places = ops.minimum(before, depth - 1)
        live = points < expected
    drawn = ops.take(order, places)
    # Instead of `ops.scatter`, which is a loop on PyTorch.
    survives = ops.any((ops.expand_dims(drawn, -1) == ops.arange(depth)) & ops.expand_dims(live, -1), axis=0)
    spare = ops.cast(ops.argmin(ops.cast(survives, "int32")), drawn.dtype)
    drawn = ops.where(live, drawn, spare)
    ranks = ops.argsort(drawn)
    rows = ops.cast(ops.take(drawn, ranks), "int32")
    return Survivors(count, rows, None if count == expected else ops.take(live, ranks))


def subset_size(probability: Any, batch_size: Any) -> Any:
    """Return the number of examples that a branch runs on: `round(p * batch)`, at least one.

    The result is a tensor of int32, or plain numbers if the batch size is a plain number.
    """
    # float64: in float32, 0.7 * 5 would be less than 3.5, which rounds up.
    if isinstance(batch_size, int):
        sizes = np.maximum(np.round(np.asarray(probability, "float64") * batch_size), 1).astype("int32")
        return sizes if sizes.ndim else int(sizes)
    size = ops.round(ops.convert_to_tensor(probability, "float64") * ops.cast(batch_size, "float64"))
    return ops.maximum(ops.cast(size, "int32"), 1)


def draw_order(shape: tuple, seed: keras.random.SeedGenerator) -> Tensor:
    """Return random permutations along the last axis, a tensor of int32, for drawing subsets."""
    return ops.cast(ops.argsort(keras.random.uniform(shape, dtype="float32", seed=seed)), "int32")
