"""Hypermodels build what they say, inside of their budget, and train it."""

import dataclasses
import math

import keras
import keras_tuner
import pytest

from keras_sd import applications, training, tuning
from keras_sd.analysis.cost import flops
from keras_sd.tuning import budget
from keras_sd.tuning.hypermodels import Scoring


def dense(digits, config, **arguments):
    return tuning.StochasticDenseNet(digits, config=config, **{"depth": 10, "growth_rate": (2, 8), **arguments})


def parameters(growth_rate, depth=10):
    model = applications.DenseNet(weights=None, input_shape=(8, 8, 1), classes=10, depth=depth, growth_rate=growth_rate)
    return sum(weight.numpy().size for weight in model.trainable_weights)


def test_what_a_network_costs_is_known_without_its_weights(digits, config):
    hypermodel = dense(digits, config)
    configured = hypermodel.configure({"growth_rate": 3, "survival_probability": 0.5})
    model = hypermodel.build_model(configured)
    expected = sum(weight.numpy().size for weight in model.trainable_weights), flops(model)
    assert budget.measure(configured, (8, 8, 1), 10) == expected
    residual = tuning.StochasticDepthResNet(digits, model="ResNet20", config=config)
    assert budget.measure(residual.base, (8, 8, 1), 10)[0] == 269_722 - 2 * 9 * 16  # one channel in place of three


def test_the_model_is_that_of_the_values(digits, config):
    hypermodel = dense(digits, config, learning_rate=0.07, granularity=["batch", "sample"])
    hp = keras_tuner.HyperParameters()
    hp.values = {"growth_rate": 5, "survival_probability": 0.4, "granularity": "sample"}
    model = hypermodel.build(hp)
    assert sum(weight.numpy().size for weight in model.trainable_weights) == parameters(5)
    configured = hypermodel.configure(hypermodel.values(hp))
    assert (configured.survival_probability, configured.learning_rate) == (0.4, 0.07)
    assert configured.model_arguments == {"depth": 10, "growth_rate": 5, "granularity": "sample"}
    probabilities = [layer.survival_probabilities for layer in model.layers if hasattr(layer, "survival_probabilities")]
    assert min(map(min, probabilities)) == pytest.approx(0.4)
    assert isinstance(model.optimizer, training.SGD)


def test_the_model_of_a_trial_is_that_of_the_command_train(digits, config):
    from keras_sd.runs.networks import build

    hypermodel = dense(digits, config)
    configured = hypermodel.configure({"growth_rate": 4, "survival_probability": 0.6})
    commanded = build(configured, digits)
    keras.utils.set_random_seed(configured.seed)
    own = hypermodel.build_model(configured)
    assert [layer.get_config() for layer in own.layers[1:]] == [layer.get_config() for layer in commanded.layers[1:]]
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(own.weights, commanded.weights, strict=True))


def test_models_have_the_dtype_policy_of_the_configuration(digits, config):
    config = dataclasses.replace(config, policy="mixed_bfloat16")
    model = dense(digits, config).build(keras_tuner.HyperParameters())
    assert {layer.compute_dtype for layer in model.layers[1:-2]} == {"bfloat16"}
    assert keras.config.dtype_policy().name == "float32"


def test_a_configuration_outside_of_the_budget_is_refused_and_not_trained(digits, config):
    limit = parameters(5)
    hypermodel = dense(digits, config, max_parameters=limit)
    assert hypermodel.accepts({"growth_rate": 5})
    assert not hypermodel.accepts({"growth_rate": 6})
    hp = keras_tuner.HyperParameters()
    hp.values = {"growth_rate": 6, "survival_probability": 0.5}
    model = hypermodel.build(hp)
    before = [weight.numpy().copy() for weight in model.weights]
    with pytest.raises(keras_tuner.errors.FailedTrialError, match=f"max_parameters is {limit:,}"):
        hypermodel.fit(hp, model, epochs=1)
    assert all((weight.numpy() == old).all() for weight, old in zip(model.weights, before))


def test_the_first_configuration_is_inside_of_a_tight_budget(digits, config):
    hypermodel = dense(digits, config, growth_rate=(2, 16), max_parameters=parameters(3))
    hp = keras_tuner.HyperParameters()
    hypermodel.declare_hyperparameters(hp)
    assert hypermodel.accepts(hp.values)


@pytest.mark.parametrize("limits", [{"max_parameters": 100}, {"max_flops": 1000.0}])
def test_a_budget_that_nothing_meets_is_an_error_at_once(digits, config, limits):
    with pytest.raises(ValueError, match=r"max_\w+ is .*in the cheapest configuration: .*growth_rate=2"):
        dense(digits, config, **limits)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_parameters": -1}, "`max_parameters` must be"),
        ({"cost": "money"}, "`cost` must be None or one of"),
        ({"cost_weight": -1}, "`cost_weight` must be"),
        ({"model": "ResNet20"}, "`model` must be"),
        ({"model": "DenseNetBC10"}, "DenseNetBC100"),
        ({"depth": (11, 17)}, "depth"),
        ({"survival_probability": (0.0, 1.0)}, "survival_probability"),
        ({"batch_size": [16, 100_000]}, "`batch_size` must be between"),
        ({"epochs": (1, 5)}, "`hyperparameter` must be"),
        ({"growth_rat": 3}, "such as growth_rate"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_trained(digits, config, arguments, message):
    with pytest.raises(ValueError, match=message):
        dense(digits, config, **arguments)


@pytest.mark.slow
def test_fit_records_error_score_and_cost_of_each_epoch(digits, config):
    hypermodel = dense(digits, config, cost="flops", cost_weight=0.5)
    hp = keras_tuner.HyperParameters()
    model = hypermodel.build(hp)
    logs = hypermodel.fit(hp, model, epochs=2).history
    expected = 3 * flops(model, expected=True)
    assert logs["training_flops"] == [expected] * 2
    assert logs["val_error"] == [1 - accuracy for accuracy in logs["val_accuracy"]]
    weighted = 0.5 * math.log2(expected / 1e9)
    assert logs["score"] == pytest.approx([error + weighted for error in logs["val_error"]])
    assert logs["epoch_seconds"][1] <= logs["epoch_seconds"][0]


def test_the_score_of_seconds_is_that_of_the_fastest_epoch(digits, config, monkeypatch):
    from keras_sd.tuning import hypermodels

    times = iter([0.0, 8.0, 8.0, 10.0])
    monkeypatch.setattr(hypermodels.time, "perf_counter", lambda: next(times))
    scoring = Scoring("seconds", 0.01)
    scoring.parameters, scoring.training_flops = 1, 1
    for expected in (0.1 + 0.01 * 3, 0.1 + 0.01 * 1):
        logs = {"val_accuracy": 0.9}
        scoring.on_epoch_begin(0)
        scoring.on_epoch_end(0, logs)
        assert logs["score"] == pytest.approx(expected)


def test_architectures_are_equal_where_weights_fit(digits, config):
    hypermodel = dense(digits, config, granularity=["batch", "sample"], learning_rate=True)
    first = {"growth_rate": 4, "survival_probability": 0.5, "granularity": "batch", "learning_rate": 0.1}
    same = {**first, "survival_probability": 0.9, "granularity": "sample", "learning_rate": 0.2}
    assert hypermodel.architecture(first) == hypermodel.architecture(same)
    assert hypermodel.architecture(first) != hypermodel.architecture({**first, "growth_rate": 5})
