"""Lesions of a network: single and random deletions of blocks, and pairs of blocks to exchange."""

import itertools

import numpy as np

from keras_sd.analysis.sub_networks import Block, SubNetworks
from keras_sd.utils.checks import check_flag, check_integer, check_type


def deletions(networks: SubNetworks) -> list[tuple[Block, np.ndarray]]:
    """Return gates that delete one block, for each removable block.

    Args:
        networks: `SubNetworks`.

    Returns:
        List of pairs of a `Block` and an array of gates.

    Reference:
        [Veit et al., 2016](https://arxiv.org/abs/1605.06431), section 4.1
    """
    check_type("networks", networks, SubNetworks, "`SubNetworks`")
    found = []
    for index, block in enumerate(networks.blocks):
        if block.removable:
            gates = networks.full.copy()
            gates[index] = 0
            found.append((block, gates))
    return found


def random_deletions(
    networks: SubNetworks, count: int, draws: int, seed: int = 0, keeps_shape: bool = True
) -> np.ndarray:
    """Return gates that delete `count` random blocks.

    Args:
        networks: `SubNetworks`.
        count: Number of blocks to delete.
        draws: Number of draws.
        seed: Random seed, an integer.
        keeps_shape: Whether to draw only from blocks that keep the shape.

    Returns:
        Array of shape (draws, blocks).

    Raises:
        ValueError: `count` is larger than the number of blocks to draw from.
    """
    check_type("networks", networks, SubNetworks, "`SubNetworks`")
    check_integer("draws", draws)
    check_flag("keeps_shape", keeps_shape)
    pool = [i for i, b in enumerate(networks.blocks) if b.removable and (b.keeps_shape or not keeps_shape)]
    check_integer("count", count, 0, len(pool))
    random = np.random.default_rng([seed, count])
    gates = np.tile(networks.full, (draws, 1))
    for row in gates:
        row[random.choice(pool, count, replace=False)] = 0
    return gates


def exchangeable(blocks: list[Block]) -> list[tuple[Block, Block]]:
    """Return pairs of blocks of equal form, in network order: blocks of one stage that keep the shape.

    Dense layers form no pairs, since each reads more features than the one before.

    Args:
        blocks: List of `Block`s.

    Returns:
        List of pairs.
    """

    def form(block):
        return [(tuple(w.shape) if row is None else tuple(w.shape[1:])) for w, row in block.kernels()]

    pool = [b for b in blocks if b.keeps_shape and b.kind != "dense"]
    return [(a, b) for a, b in itertools.combinations(pool, 2) if type(a.layer) is type(b.layer) and form(a) == form(b)]
