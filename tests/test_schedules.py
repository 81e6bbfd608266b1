"""Survival schedules against values worked out by hand."""

import math

import numpy as np
import pytest

from keras_sd import schedules


def test_linear_decays_from_the_input_to_the_last_block():
    # p_l = 1 - (l / 4) (1 - 0.5) for l = 1 ... 4
    assert schedules.linear(4, 0.5) == pytest.approx((0.875, 0.75, 0.625, 0.5), abs=1e-15)


@pytest.mark.parametrize("depth", [1, 2, 7, 54, 600])
def test_linear_reaches_the_final_probability_in_the_last_block(depth):
    probabilities = schedules.linear(depth, 0.3)
    assert len(probabilities) == depth
    assert probabilities[-1] == pytest.approx(0.3, abs=1e-15)
    assert probabilities[0] < 1  # the first block is l = 1, not l = 0
    np.testing.assert_allclose(np.diff(probabilities), -0.7 / depth, atol=1e-12)


def test_uniform_is_the_same_for_all_blocks():
    assert schedules.uniform(3, 0.25) == (0.25,) * 3


def test_constant_depth_is_exact():
    assert schedules.linear(600, 1.0) == (1.0,) * 600


def test_expected_depth_of_resnet110():
    # 54 blocks; the sum of 1 - l/108 is 54 - 54 * 55 / 216 = 40.25 (Huang et al., 2016, section 3: "about 40").
    assert schedules.expected_depth(schedules.linear(54, 0.5)) == pytest.approx(40.25, abs=1e-12)


@pytest.mark.parametrize(("depth", "final"), [(1, 0.5), (5, 0.2), (600, 0.5)])
def test_expected_depth_of_the_linear_schedule_is_the_closed_form(depth, final):
    expected = depth - (1 - final) * (depth + 1) / 2
    assert schedules.expected_depth(schedules.linear(depth, final)) == pytest.approx(expected, rel=1e-12)


def test_resolve_takes_names_and_sequences():
    assert schedules.resolve("linear", 2, 0.5) == (0.75, 0.5)
    assert schedules.resolve("uniform", 2, 0.5) == (0.5, 0.5)
    assert schedules.resolve([0.9, 0.1], 2, 0.5) == (0.9, 0.1)


@pytest.mark.parametrize("make", [schedules.linear, schedules.uniform, lambda n, p: schedules.custom(n, [p])])
@pytest.mark.parametrize("depth", [-1, 0, 2**40, 1.5, True, "3", math.nan, None])
def test_bad_depth(make, depth):
    with pytest.raises(ValueError, match=r"`depth` must be an integer from 1 to 100,000. Received: depth="):
        make(depth, 0.5)


@pytest.mark.parametrize(
    "call", [schedules.check_probability, lambda p: schedules.linear(3, p), lambda p: schedules.uniform(3, p)]
)
def test_bad_probability(call):
    for value in (0, 0.0, -0.5, 1.5, math.nan, math.inf, "a", "0.5", None, True, [0.5], 1j):
        with pytest.raises(ValueError, match=r"`survival_probability` must be a number in \(0, 1\]") as error:
            call(value)
        assert repr(value) in str(error.value)


def test_numbers_of_any_kind_are_probabilities():
    for value in (1, 0.5, np.float32(0.5), np.float64(0.5), 5e-324):
        assert schedules.check_probability(value) == float(value)
        assert type(schedules.check_probability(value)) is float


def test_bad_schedule():
    for schedule, message in (
        ([0.5], "3 blocks, not 1 numbers"),
        ([0.5] * 4, "3 blocks, not 4 numbers"),
        ([], "3 blocks, not 0 numbers"),
        ([0.5, 0.0, 0.5], "survival_schedule[1]=0.0"),
        ([0.5, math.nan, 0.5], "survival_schedule[1]=nan"),
        ("cosine", "'cosine'"),
        (None, "None"),
        (0.5, "0.5"),
    ):
        with pytest.raises(ValueError, match="`survival_schedule") as error:
            schedules.resolve(schedule, 3, 0.5)
        assert message in str(error.value)
