"""Frequencies, counts and independence of gates, over many draws."""

import math

import keras
import numpy as np
import pytest
from engines import ON_TORCH, repeated
from keras import ops

from keras_sd.layers import gates

DRAWS = 2_000 if ON_TORCH else 10_000  # one by one there


def many(draw, generator, count=DRAWS):
    """`count` results of a function of no arguments that draws from a seed generator, in one compiled loop."""
    return repeated(draw, [generator.state], count)


def assert_frequencies(drawn, probabilities):
    """Relative frequencies along the first axis are within four standard errors of their probabilities."""
    p = np.asarray(probabilities)
    error = np.sqrt(p * (1 - p) / len(drawn))
    np.testing.assert_array_less(np.abs(drawn.mean(0) - p), 4 * error + 1e-9)


def systematic(probabilities, count=DRAWS, seed=0):
    """Draws as booleans for each block, the indices that were drawn, and which of them are live."""
    generator = keras.random.SeedGenerator(seed)

    def draw():
        survivors = gates.draw_systematic(probabilities, generator)
        return survivors.rows, ops.ones_like(survivors.rows, "bool") if survivors.live is None else survivors.live

    rows, live = many(draw, generator, count)
    drawn = np.zeros((count, len(probabilities)), bool)
    for block in range(len(probabilities)):
        drawn[:, block] = ((rows == block) & live).any(1)
    return drawn, rows, live


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "bfloat16"])
def test_independent_frequencies(policy):
    keras.config.set_dtype_policy(policy)
    p = [0.999, 0.9, 0.75, 0.5, 0.1, 0.003, 1.0]
    generator = keras.random.SeedGenerator(1)
    drawn = many(lambda: gates.draw_independent(p, (len(p),), generator), generator, 10_000)
    assert_frequencies(drawn, p)
    assert drawn[:, -1].all()
    correlation = np.corrcoef(drawn[:, :-1].T) - np.eye(len(p) - 1)
    assert np.abs(correlation).max() < 4.5 / math.sqrt(len(drawn))


def test_independent_gates_resolve_more_than_half_precision():
    """bfloat16 has no number between 0.996 and 1: drawn in it, a survival probability of 0.999 would be 1 or 0.996."""
    keras.config.set_floatx("bfloat16")
    drawn = gates.draw_independent([0.999], (400_000,), keras.random.SeedGenerator(0))
    assert_frequencies(ops.convert_to_numpy(drawn)[:, None], [0.999])


@pytest.mark.parametrize(
    "probabilities",
    [
        [0.875, 0.75, 0.625, 0.5],  # 2.75
        [0.5] * 4,  # whole
        [0.1] * 10,  # whole but for rounding
        [1.0, 0.3, 1.0, 0.7],  # ones, whole
        [1.0, 0.3, 1.0],  # ones, not whole
        [0.01, 0.02],  # mostly nothing
        [0.3],
        [1.0, 1.0],
        [1 - i / 20 for i in range(1, 11)],  # linear
    ],
)
def test_systematic_counts_and_marginals(probabilities):
    drawn, rows, live = systematic(probabilities)
    total = round(math.fsum(probabilities), 9)
    assert rows.shape[1] == math.ceil(total)
    counts = drawn.sum(1)
    assert (counts == live.sum(1)).all()  # no block is drawn twice
    assert set(np.unique(counts)) == {math.floor(total), math.ceil(total)}
    assert (np.diff(rows, axis=1) > 0).all()  # in order, the spare index among them
    assert_frequencies(drawn, probabilities)
    assert counts.mean() == pytest.approx(total, abs=4 * 0.5 / math.sqrt(DRAWS))


def test_the_spare_index_names_a_block_that_does_not_survive():
    drawn, rows, live = systematic([0.875, 0.75, 0.625, 0.5])
    spare = ~live
    assert spare.sum(1).max() == 1
    draws, slots = np.nonzero(spare)
    assert len(draws)
    assert not drawn[draws, rows[draws, slots]].any()


def test_systematic_order_is_random():
    """In a fixed order neighbors would exclude each other: of two with p = 0.5, exactly one."""
    drawn, *_ = systematic([0.5] * 4)
    pairs = drawn.T.astype(float) @ drawn / DRAWS
    off = pairs[~np.eye(4, dtype=bool)]
    np.testing.assert_allclose(off, 1 / 6, atol=4 * math.sqrt(1 / 6 * 5 / 6 / DRAWS))  # 2 of 4: each pair alike


def test_a_vanishing_sum_still_has_a_slot():
    drawn, rows, _ = systematic([1e-12, 1e-12], 10)
    assert rows.shape == (10, 1)
    assert not drawn.any()


@pytest.mark.parametrize("seed", [0, 7])
def test_the_same_seed_in_layers_of_other_names_draws_other_gates(seed):
    one, two = (gates.seed_generator(seed, name) for name in ("block1", "block2"))
    again = gates.seed_generator(seed, "block1")
    a, b, c = (
        ops.convert_to_numpy(gates.draw_independent(0.5, (DRAWS,), generator)).astype(float)
        for generator in (one, two, again)
    )
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / math.sqrt(DRAWS)
    np.testing.assert_array_equal(a, c)


def test_generators_without_a_seed_differ():
    states = {tuple(ops.convert_to_numpy(gates.seed_generator(None, "block").state)) for _ in range(10)}
    assert len(states) == 10


def test_bad_seed():
    for seed in ("a", 1.5, True, [1], -1, 2**32, 10**30):
        with pytest.raises(ValueError, match=r"`seed` must be an integer in \[0, 2\*\*32\) or None. Received: seed="):
            gates.seed_generator(seed, "block")


def test_subset_size():
    for p in (0.01, 0.1, 0.5, 0.7, 0.9, 1.0):
        sizes = [int(gates.subset_size(p, batch)) for batch in range(1, 33)]
        assert sizes == [max(1, round(p * batch)) for batch in range(1, 33)]


def test_orders_are_permutations():
    orders = ops.convert_to_numpy(gates.draw_order((50, 7), keras.random.SeedGenerator(0)))
    np.testing.assert_array_equal(np.sort(orders), np.tile(np.arange(7), (50, 1)))
    assert len({tuple(order) for order in orders}) > 45
