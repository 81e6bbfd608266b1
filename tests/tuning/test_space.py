"""From arguments to hyperparameters."""

import keras_tuner
import pytest

from keras_sd.tuning import space

ALLOWED = {"survival_probability", "growth_rate", "depth", "bottleneck", "bottleneck_width", "learning_rate", "blocks"}
ALLOWED |= {"nesterov", "batch_size", "granularity"}


def resolve(**arguments):
    return space.resolve(arguments, "DenseNet", ALLOWED)


def declared(tuned, defaults=None):
    hp = keras_tuner.HyperParameters()
    values = {name: one.declare(hp, (defaults or {}).get(name), tuned) for name, one in tuned.items()}
    return hp, values


def test_survival_probability_and_growth_rate_are_searched_by_default():
    fixed, tuned = resolve()
    assert fixed == {}
    assert {n: (t.low, t.high) for n, t in tuned.items()} == {
        "survival_probability": (0.3, 1.0),
        "growth_rate": (8, 24),
    }


def test_rows_can_be_switched_bounded_listed_and_fixed():
    fixed, tuned = resolve(
        survival_probability=False, growth_rate=(4, 6), depth=True, learning_rate=0.1, batch_size=[16, 32]
    )
    assert fixed == {"learning_rate": 0.1}
    assert set(tuned) == {"growth_rate", "depth", "batch_size"}
    assert tuned["growth_rate"].values(9) == [4, 5, 6]
    assert tuned["depth"].values(9) == [16, 22, 28, 34, 40]
    assert tuned["batch_size"].values() == [16, 32]


def test_fields_without_a_row_can_be_searched_by_name():
    fixed, tuned = resolve(nesterov=[True, False], blocks=[(2, 2, 2), [3, 3, 3]], growth_rate=8)
    assert fixed == {"growth_rate": 8}
    hp, values = declared(tuned, {"blocks": (3, 3, 3)})
    assert values["nesterov"] is True
    assert values["blocks"] == (3, 3, 3)
    assert hp.values["blocks"] == "(3, 3, 3)"


def test_a_log_range_has_its_values_in_equal_ratios():
    _, tuned = resolve(learning_rate=(0.01, 1))
    assert tuned["learning_rate"].values(3) == [0.01, 0.1, 1.0]


def test_a_default_outside_of_the_range_is_replaced():
    _, tuned = resolve(growth_rate=(4, 6), depth=(10, 22))
    hp, values = declared(tuned, {"growth_rate": 12, "depth": 12, "survival_probability": 0.5})
    assert values == {"survival_probability": 0.5, "growth_rate": 4, "depth": 10}
    assert hp.values == values


def test_a_conditional_hyperparameter_matters_only_where_its_condition_holds():
    _, tuned = resolve(bottleneck=True, bottleneck_width=True)
    assert "bottleneck" not in tuned  # True is a value of it
    _, tuned = resolve(bottleneck=[True, False], bottleneck_width=True)
    hp, values = declared(tuned, {"bottleneck": False})
    assert values["bottleneck_width"] is None
    assert "bottleneck_width" not in hp.values
    hp, values = declared(tuned, {"bottleneck": True, "bottleneck_width": 4})
    assert values["bottleneck_width"] == hp.values["bottleneck_width"] == 4
    fixed, tuned = resolve(bottleneck=False, bottleneck_width=[2, 4])
    assert fixed == {"bottleneck": False}
    assert "bottleneck_width" not in tuned
    assert resolve(bottleneck=True, bottleneck_width=[2, 4])[1]["bottleneck_width"].only_if is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"growth_rat": (8, 24)}, "`hyperparameter` must be a known name, such as growth_rate"),
        ({"growth_rate": (24, 8)}, r"`growth_rate` must be a range in the order \(low, high\)"),
        ({"growth_rate": []}, r"`growth_rate` must be at least one choice"),
        ({"growth_rate": [8, 8]}, "must be choices that differ"),
        ({"growth_rate": (8, 12, 24)}, "must be a range of two numbers"),
        ({"learning_rate": (0, 0.1)}, "must be a range above 0"),
        ({"learning_rate": (float("nan"), 0.1)}, "must be a range in the order"),
        ({"survival_probability": 0.5, "growth_rate": 12}, "leaves nothing to search"),
        ({"survival_probability": False, "growth_rate": (12, 12)}, "leaves nothing to search"),
    ],
)
def test_what_cannot_be_searched_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        resolve(**arguments)
