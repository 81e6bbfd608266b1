"""Gates of stochastic depth: which blocks, or examples, survive a training step.

Functions of probabilities and a seed generator, under the layers and tested without them. All draws are float32
(or wider): half precision would round survival probabilities and repeat draws.
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
    """A seed generator of a layer's own.

    An explicit seed is mixed with the name of the layer: a model that hands the same seed to each of its blocks
    would otherwise open and shut all of them together.
    """
    if seed is None:
        return keras.random.SeedGenerator()
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise refusal("seed", "an integer in [0, 2**32) or None", seed)
    return keras.random.SeedGenerator(zlib.crc32(f"{seed}/{name}".encode()) & 0x7FFFFFFF)


def draw_independent(probabilities: Any, shape: tuple, seed: keras.random.SeedGenerator) -> Tensor:
    """Booleans of `shape`, each true with the survival probability that stands at its place.

    Args:
        probabilities: Survival probabilities, an array that broadcasts to `shape`.
        shape: Shape of the result.
        seed: Seed generator.
    """
    return keras.random.uniform(shape, dtype="float32", seed=seed) < ops.convert_to_tensor(probabilities, "float32")


def draw_systematic(probabilities: Sequence[float], seed: keras.random.SeedGenerator) -> Survivors:
    """Draw (nearly) the same number of survivors every time, with the marginal probabilities asked for.

    Systematic sampling over a random order: with the probabilities cumulated in that order, the blocks in whose
    intervals the points `u, u + 1, u + 2, ...` fall survive, for one offset `u` in [0, 1). An interval is never
    longer than 1, so no block is drawn twice. Where the sum of the probabilities is not whole, the number of survivors
    is its floor or its ceiling; the result has the length of the ceiling.

    Args:
        probabilities: Survival probabilities, one for each block.
        seed: Seed generator.

    Returns:
        `Survivors` of a fixed length. The spare row of a draw that has the floor names a block that does not survive,
        and is not live.
    """
    # Whole where only the rounding of the probabilities keeps it from that.
    depth, expected = len(probabilities), round(math.fsum(probabilities), 9)
    count = max(1, math.ceil(expected))
    order = ops.argsort(keras.random.uniform((depth,), dtype="float32", seed=seed))
    offset = keras.random.uniform((), dtype="float32", seed=seed)
    # float64: in float32 the points near a whole sum would fall over its edge.
    with backend.float64():
        ends = ops.cumsum(ops.take(ops.convert_to_tensor(probabilities, "float64"), order))
        points = ops.cast(offset, "float64") + ops.arange(count, dtype="float64")
        # The last end is the sum, but for rounding; points beyond it are spare.
        # As `searchsorted`, which older Kerases compile for NumPy arrays only.
        before = ops.sum(ops.cast(ends <= ops.expand_dims(points, -1), "int32"), axis=-1)
        places = ops.minimum(before, depth - 1)
        live = points < expected
    drawn = ops.take(order, places)
    # As `ops.scatter`, which is a loop on PyTorch.
    survives = ops.any((ops.expand_dims(drawn, -1) == ops.arange(depth)) & ops.expand_dims(live, -1), axis=0)
    spare = ops.cast(ops.argmin(ops.cast(survives, "int32")), drawn.dtype)
    drawn = ops.where(live, drawn, spare)
    ranks = ops.argsort(drawn)
    rows = ops.cast(ops.take(drawn, ranks), "int32")
    return Survivors(count, rows, None if count == expected else ops.take(live, ranks))


def subset_size(probability: Any, batch_size: Any) -> Any:
    """Examples of a batch that a branch runs on: `round(p * batch)`, at least one. A tensor of int32, or numbers
    where the size of the batch is one."""
    # float64: in float32, 0.7 of 5 examples would be less than the 3.5 that round up.
    if isinstance(batch_size, int):
        sizes = np.maximum(np.round(np.asarray(probability, "float64") * batch_size), 1).astype("int32")
        return sizes if sizes.ndim else int(sizes)
    size = ops.round(ops.convert_to_tensor(probability, "float64") * ops.cast(batch_size, "float64"))
    return ops.maximum(ops.cast(size, "int32"), 1)


def draw_order(shape: tuple, seed: keras.random.SeedGenerator) -> Tensor:
    """Random orders along the last axis, to take subsets from. A tensor of int32."""
    return ops.cast(ops.argsort(keras.random.uniform(shape, dtype="float32", seed=seed)), "int32")
