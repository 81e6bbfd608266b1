"""Configurations: what is refused, and what a recipe resolves to."""

import dataclasses
import json

import pytest

from keras_sd import data
from keras_sd.training import RECIPES, TrainConfig, resolve


def test_each_data_set_has_a_recipe():
    assert set(RECIPES) == set(data.DATASETS)
    for name, recipe in RECIPES.items():
        assert recipe.data == name
        assert resolve(name) == recipe


def test_the_cifar_recipe_is_the_papers():
    recipe = resolve("cifar10")
    assert (recipe.model, recipe.epochs, recipe.batch_size) == ("ResNet110", 500, 128)
    assert (recipe.learning_rate, recipe.momentum, recipe.l2) == (0.1, 0.9, 1e-4)
    assert (recipe.survival_probability, recipe.survival_schedule) == (0.5, "linear")
    assert recipe.milestones == (0.5, 0.75)
    assert recipe.warmup_steps == 400  # He et al. 2016, section 4.2: about 400 iterations


def test_what_is_asked_for_takes_the_place_of_the_recipe():
    config = resolve("digits", epochs=3, seed=None, survival_schedule=(0.9, 0.8))
    assert dataclasses.asdict(config) == {
        **dataclasses.asdict(RECIPES["digits"]),
        "epochs": 3,
        "survival_schedule": (0.9, 0.8),
    }


def test_a_configuration_survives_json():
    config = resolve("digits", survival_schedule=(0.9, 0.8))
    assert TrainConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("epochs", 0, "a whole number of at least 1"),
        ("epochs", 1.5, "a whole number of at least 1"),
        ("epochs", True, "a whole number of at least 1"),
        ("batch_size", -4, "a whole number of at least 1"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", float("nan"), "above 0"),
        ("learning_rate", float("inf"), "above 0"),
        ("survival_probability", 0.0, r"in \(0, 1\]"),
        ("survival_probability", 1.5, r"in \(0, 1\]"),
        ("survival_probability", float("nan"), r"in \(0, 1\]"),
        ("survival_probability", "a", r"in \(0, 1\]"),
        ("momentum", 1.1, r"in \[0, 1\]"),
        ("l2", -1.0, "a number of at least 0"),
        ("milestones", (0.7, 0.5), r"rising, in \(0, 1\)"),
        ("warmup_steps", -1, "a whole number of at least 0"),
        ("policy", "float12", "one of float32, mixed_bfloat16"),
        ("seed", -1, r"a whole number in \[0, 2\*\*32\)"),
    ],
)
def test_bad_values_are_refused(field, value, allowed):
    with pytest.raises(ValueError, match=f"{field} is .*; it must be {allowed}"):
        resolve("digits", **{field: value})


def test_an_unknown_data_set_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"data is 'digit', which is unknown; did you mean digits\?"):
        resolve("digit")
