"""Configurations: what is refused, and that they survive files."""

import dataclasses
import json

import pytest

from keras_sd.training import TrainConfig, resolve


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("epochs", 0, "a whole number of at least 1"),
        ("epochs", 1.5, "a whole number of at least 1"),
        ("epochs", True, "a whole number of at least 1"),
        ("batch_size", -4, "a whole number of at least 1"),
        ("steps_per_epoch", 0, "None or a whole number of at least 1"),
        ("image_size", 0, "None or a whole number of at least 1"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", float("nan"), "above 0"),
        ("learning_rate", float("inf"), "above 0"),
        ("survival_probability", 0.0, r"in \(0, 1\]"),
        ("survival_probability", 1.5, r"in \(0, 1\]"),
        ("survival_probability", float("nan"), r"in \(0, 1\]"),
        ("survival_probability", "a", r"in \(0, 1\]"),
        ("survival_schedule", "cubic", "linear, uniform, or numbers"),
        ("survival_warmup", -0.1, r"in \[0, 1\]"),
        ("momentum", 1.1, r"in \[0, 1\]"),
        ("label_smoothing", 1.0, r"in \[0, 1\)"),
        ("warmup_fraction", 1.0, r"in \[0, 1\)"),
        ("ema_momentum", 1.0, r"None or in \(0, 1\)"),
        ("ema_momentum", 0.0, r"None or in \(0, 1\)"),
        ("l2", -1.0, "a number of at least 0"),
        ("mixup", -0.2, "a number of at least 0"),
        ("cutmix", "a", "a number of at least 0"),
        ("milestones", (0.7, 0.5), r"increasing, in \(0, 1\)"),
        ("milestones", ("a",), r"increasing, in \(0, 1\)"),
        ("milestones", 0.5, r"increasing, in \(0, 1\)"),
        ("augmentation", (1,), "None or names of augmentations"),
        ("augmentation", "shift_flip", "None or names of augmentations"),
        ("warmup_steps", -1, "a whole number of at least 0"),
        ("nesterov", 1, "True or False"),
        ("recalibrate", "yes", "True or False"),
        ("model_arguments", 3, "a dictionary"),
        ("optimizer", "adam", "one of sgd, lamb"),
        ("learning_rate_schedule", "linear", "one of step, cosine, one_cycle"),
        ("policy", "float12", "one of float32, mixed_bfloat16"),
        ("seed", -1, r"a whole number in \[0, 2\*\*32\)"),
        ("model", "", "a name"),
        ("loss", "", "a name"),
        ("data_dir", "", "None or a non-empty string"),
        ("survival_schedule", (), "linear, uniform, or numbers"),
        ("survival_schedule", ("a",), "linear, uniform, or numbers"),
        ("survival_schedule", (0.5, 0.0), "linear, uniform, or numbers"),
        ("survival_schedule", {}, "linear, uniform, or numbers"),
        ("optimizer", [], "one of sgd, lamb"),
    ],
)
def test_bad_values_are_refused(field, value, allowed):
    with pytest.raises(ValueError, match=f"`{field}` must be {allowed}"):
        resolve("digits", **{field: value})


def test_one_warm_up_is_enough():
    with pytest.raises(ValueError, match=r"`warmup_fraction` must be 0 with `warmup_steps`"):
        resolve("digits", warmup_steps=5, warmup_fraction=0.1)


def test_mixing_needs_a_loss_of_shares():
    with pytest.raises(ValueError, match=r"`mixup` must be 0 with the loss 'keras_sd>perceptron_loss'"):
        resolve("digits", mixup=0.2, loss="keras_sd>perceptron_loss")
    with pytest.raises(ValueError, match=r"`label_smoothing` must be 0 with the loss 'keras_sd>one_versus_"):
        resolve("digits", label_smoothing=0.1, loss="keras_sd>one_versus_rest")
    assert resolve("digits", mixup=0.2, loss="keras_sd>one_versus_rest").mixup == 0.2


def test_a_configuration_survives_json():
    config = resolve("digits", survival_schedule=(0.9, 0.8), augmentation=(), model_arguments={"filters": [1, 2, 3]})
    assert TrainConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize("values", [3, None, [1], "x", TrainConfig, resolve("digits")])
def test_a_configuration_is_made_of_a_dictionary(values):
    with pytest.raises(
        TypeError, match=r"`values` must be a dictionary of the fields of a TrainConfig\. Received: val"
    ):
        TrainConfig.from_dict(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"`values` must be a dictionary with model, data, epochs, batch_size, learning_rate\. Received"),
        ({"epoch": 3}, r"`setting` must be a known name, such as epochs"),
        ({1: 2}, r"`setting` must be one of .* Received: setting=1"),
    ],
)
def test_fields_that_are_missing_or_unknown_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig.from_dict(values)


def test_a_record_of_before_the_newer_fields_is_read():
    old = {"model": "ResNet20", "data": "digits", "epochs": 3, "batch_size": 8, "learning_rate": 0.1}
    assert TrainConfig.from_dict(old).learning_rate_schedule == "step"


def test_only_augmentations_that_differ_are_handed_on():
    assert resolve("digits").augmentations == {}
    config = resolve("digits", augmentation=(), cutmix=1.0)
    assert config.augmentations == {"augmentation": (), "cutmix": 1.0}
