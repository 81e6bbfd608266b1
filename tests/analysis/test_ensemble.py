"""Averages over sub-networks against an enumeration by hand, calibration against sums by hand."""

import itertools

import numpy as np
import pytest

from keras_sd.analysis import (
    SubNetworks,
    all_gates,
    blocks,
    calibration_error,
    draw_gates,
    expectation,
    pattern_probabilities,
    running_means,
)


@pytest.mark.slow
def test_the_average_over_all_patterns_is_the_enumeration_by_hand(make, examples):
    """2^4 networks, each computed by shutting branches through their weights, in the unstacked network."""
    arguments = {"blocks": (2, 2), "filters": (4, 8), "stem_filters": 4, "survival_probability": 0.6, "stacked": False}
    model = make("ResNet", **arguments, scaling="training")  # a branch that is open counts once
    networks = SubNetworks(model)
    p = [0.9, 0.8, 0.7, 0.6]
    found = expectation(networks, examples[0], p)
    expected, kept = 0, [b.get_weights() for b in blocks(model)]
    for pattern in itertools.product((0, 1), repeat=4):
        chance = 1.0
        for block, weights, gate, q in zip(blocks(model), kept, pattern, p):
            chance *= q if gate else 1 - q
            last = ("norm2/gamma", "norm2/beta")  # of the last normalization
            block.set_weights({name: w * (gate or name not in last) for name, w in weights.items()})
        expected = expected + chance * model.predict(examples[0], verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_patterns_and_their_probabilities():
    gates = all_gates(3)
    assert len({tuple(g) for g in gates}) == 8
    chances = pattern_probabilities(gates, [0.9, 0.5, 0.2])
    assert chances.sum() == pytest.approx(1)
    assert chances[gates.tolist().index([1, 0, 0])] == pytest.approx(0.9 * 0.5 * 0.8)
    assert gates.T @ chances == pytest.approx([0.9, 0.5, 0.2])
    with pytest.raises(ValueError, match="depth"):
        all_gates(21)


def test_drawn_gates_have_their_marginal_probabilities():
    gates = draw_gates([0.9, 0.5, 0.2], 4000)
    assert set(np.unique(gates)) == {0, 1}
    assert gates.mean(axis=0) == pytest.approx([0.9, 0.5, 0.2], abs=0.03)


def test_running_means():
    values = [1.0, 3.0, 8.0, 4.0, 100.0]
    assert list(running_means(iter(values), [1, 2, 4])) == [(1, 1.0), (2, 2.0), (4, 4.0)]


def test_calibration_error_by_hand():
    # Two bins of confidence: (0.5, 0.6] with one right of two, (0.9, 1] with two right of three.
    confidence = np.array([0.55, 0.6, 0.95, 0.98, 1.0])
    right = np.array([1, 0, 1, 1, 0])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    expected = 2 / 5 * abs(0.575 - 1 / 2) + 3 / 5 * abs((0.95 + 0.98 + 1.0) / 3 - 2 / 3)
    assert calibration_error(probabilities, 1 - right, bins=10) == pytest.approx(expected)
    assert calibration_error(np.eye(3), [0, 1, 2]) == 0
