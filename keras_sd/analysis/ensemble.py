"""The ensemble of 2^L networks in a network of L blocks, and the calibration of probabilities."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from keras_sd.analysis.sub_networks import SubNetworks
from keras_sd.utils.checks import check_integer, check_type

MOST_BLOCKS = 20  # limit for listing all patterns, a million


def all_gates(depth: int) -> np.ndarray:
    """Return all patterns of gates, an array of zeros and ones of shape (2^depth, depth).

    Raises:
        ValueError: There are too many blocks to list all patterns.
    """
    check_integer("depth", depth, maximum=MOST_BLOCKS)
    return np.array(list(itertools.product((0.0, 1.0), repeat=depth)), "float32")


def pattern_probabilities(gates: np.ndarray, survival_probabilities: Sequence[float]) -> np.ndarray:
    """Return the probability of each pattern: the product of `p_l` over open and `1 - p_l` over closed gates.

    Args:
        gates: Array of zeros and ones, (patterns, blocks).
        survival_probabilities: One number for each block.

    Returns:
        Array of shape (patterns,).
    """
    p = np.asarray(survival_probabilities, "float64")
    return np.prod(np.where(np.asarray(gates) != 0, p, 1 - p), axis=1)


def draw_gates(survival_probabilities: Sequence[float], count: int, seed: int = 0) -> np.ndarray:
    """Draw patterns of gates as in training, an array of zeros and ones of shape (count, blocks)."""
    p = np.asarray(survival_probabilities, "float64")
    return (np.random.default_rng(seed).random((count, len(p))) < p).astype("float32")


def running_means(predictions: Iterable[np.ndarray], sizes: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the mean of the first M predictions, for each M in `sizes`.

    Args:
        predictions: Iterable of arrays; the largest size determines how many are used.
        sizes: Increasing positive integers.

    Yields:
        Pairs `(M, mean)`.
    """
    total: Any = 0.0
    wanted = set(sizes)
    for number, prediction in enumerate(itertools.islice(predictions, max(sizes)), 1):
        total = total + np.asarray(prediction, "float64")
        if number in wanted:
            yield number, total / number


def expectation(
    networks: SubNetworks, x: np.ndarray, survival_probabilities: Sequence[float], batch_size: int = 256
) -> np.ndarray:
    """Return the mean prediction of all 2^L networks, weighted by their probability in training.

    Args:
        networks: `SubNetworks` of at most 20 blocks.
        x: Array of examples.
        survival_probabilities: One number for each block.
        batch_size: Batch size of the predictions.

    Returns:
        Array of predictions.
    """
    check_type("networks", networks, SubNetworks, "`SubNetworks`")
    gates = all_gates(len(networks.blocks))
    chances = pattern_probabilities(gates, survival_probabilities)
    return sum(c * networks.predict(x, g, batch_size) for g, c in zip(gates, chances) if c > 0)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error: mean gap between confidence and accuracy over equal bins of confidence.

    Args:
        probabilities: Array of shape (examples, classes).
        labels: Integers of shape (examples,).
        bins: Number of bins of (0, 1].

    Returns:
        Float in [0, 1].

    Reference:
        [Guo et al., 2017](https://arxiv.org/abs/1706.04599), equation 3
    """
    probabilities = np.asarray(probabilities, "float64")
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == np.asarray(labels).ravel()
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(place, confidence - correct, bins)  # for each bin, count times the difference of the means
    return float(np.abs(gap).sum() / len(confidence))
