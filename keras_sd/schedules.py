"""Survival schedules: the probability that each residual block survives a training step.

Plain numbers, independent of Keras. Blocks are counted from the input, `l = 1 ... L`, downsampling blocks included.
"""

import math
from collections.abc import Sequence
from typing import Any, cast

from keras_sd.utils.checks import check_integer, check_number, refusal

SCHEDULES = ("linear", "uniform")
MAX_DEPTH = 100_000  # far beyond any network; more is a mistake and would exhaust memory


def check_probability(value: Any, name: str = "survival_probability") -> float:
    """Return `value` as a float; raise a `ValueError` unless it is a number in (0, 1]."""
    allowed = "a number in (0, 1] (1 keeps every block; a drop rate d is 1 - d)"
    return check_number(name, value, allowed, lambda probability: 0 < probability <= 1)


def check_depth(name: str, value: Any) -> int:
    """Return a number of blocks as an `int`, or raise a `ValueError` unless it is an integer from 1 to `MAX_DEPTH`."""
    return check_integer(name, value, 1, MAX_DEPTH)


def linear(depth: int, final_probability: float) -> tuple[float, ...]:
    """Return probabilities that decay linearly from 1 at the input to `final_probability` in the last block.

    `p_l = 1 - (l / L) (1 - p_L)`, [Huang et al., 2016](https://arxiv.org/abs/1603.09382), equation 4.
    """
    depth, final = check_depth("depth", depth), check_probability(final_probability)
    return tuple(1.0 - (block / depth) * (1.0 - final) for block in range(1, depth + 1))


def uniform(depth: int, probability: float) -> tuple[float, ...]:
    """Return the same survival probability for every block."""
    return (check_probability(probability),) * check_depth("depth", depth)


def custom(depth: int, probabilities: Sequence[float], name: str = "survival_probabilities") -> tuple[float, ...]:
    """Check a sequence of `depth` survival probabilities and return it as a tuple."""
    depth, probabilities = check_depth("depth", depth), tuple(probabilities)
    if len(probabilities) != depth:
        allowed = f"one number for each of the {depth} blocks, not {len(probabilities)} numbers"
        raise refusal(name, allowed, probabilities)
    return tuple(check_probability(p, f"{name}[{i}]") for i, p in enumerate(probabilities))


def resolve(schedule: str | Sequence[float], depth: int, final_probability: float) -> tuple[float, ...]:
    """Return the survival probabilities of `depth` blocks.

    Args:
        schedule: `"linear"`, `"uniform"`, or a sequence of `depth` probabilities (then
            `final_probability` is not used).
        depth: Number of blocks.
        final_probability: Survival probability of the last block.
    """
    if schedule == "linear":
        return linear(depth, final_probability)
    if schedule == "uniform":
        return uniform(depth, final_probability)
    if isinstance(schedule, str) or not isinstance(schedule, Sequence):
        raise refusal("survival_schedule", f"one of {SCHEDULES} or a sequence of {depth} probabilities", schedule)
    return custom(depth, cast(Sequence[float], schedule), "survival_schedule")


def expected_depth(probabilities: Sequence[float]) -> float:
    """Return the expected number of blocks that survive, the sum of the probabilities (Huang et al., section 3)."""
    return math.fsum(probabilities)
