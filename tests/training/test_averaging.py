"""Averaged weights, and batch normalization recalibrated: statistics against NumPy's of what the layers receive."""

import keras
import numpy as np
import pytest

from keras_sd import applications, layers, training
from keras_sd.training.averaging import averaged, recalibrate

P, EPSILON = 0.25, 1e-3


@pytest.fixture
def batches():
    generator = np.random.default_rng(0)
    return [generator.normal(i, 1 + i, size=(8, 4, 4, 3)).astype("float32") for i in range(3)]


def moments(x):
    return x.mean((0, 1, 2)), x.var((0, 1, 2))


def normalize(x):
    mean, variance = moments(x)
    return (x - mean) / np.sqrt(variance + EPSILON)


def average(values):
    return [np.mean(part, 0) for part in zip(*values)]


def norm(**arguments):
    return keras.layers.BatchNormalization(epsilon=EPSILON, **arguments)


def statistics(layer):
    return [layer.moving_mean.numpy(), layer.moving_variance.numpy()]


def check(found, expected):
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_statistics_are_the_plain_average_over_batches(batches):
    layer = norm(momentum=0.99)
    model = keras.Sequential([keras.Input((4, 4, 3)), layer])
    assert recalibrate(model, ((batch, None) for batch in batches)) == 3
    check(statistics(layer), average([moments(batch) for batch in batches]))
    assert layer.momentum == 0.99


@pytest.mark.parametrize("scaling", ["inference", "training"])
def test_a_residual_block_is_weighed_as_in_inference(batches, scaling):
    inner, outer = norm(), norm()
    block = layers.StochasticDepthResidual(inner, survival_probability=P, scaling=scaling)
    model = keras.Sequential([keras.Input((4, 4, 3)), block, outer])
    recalibrate(model, batches)
    check(statistics(inner), average([moments(batch) for batch in batches]))
    weight = P if scaling == "inference" else 1.0
    sums = [np.maximum(batch + weight * normalize(batch), 0) for batch in batches]
    check(statistics(outer), average([moments(x) for x in sums]))


@pytest.mark.parametrize("scaling", ["inference", "training"])
def test_a_stack_is_weighed_as_in_inference(batches, scaling):
    stack = layers.StochasticDepthStack(
        norm(name="norm"), depth=2, survival_probabilities=(0.75, P), activation=None, scaling=scaling
    )
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, stack(inputs))
    recalibrate(model, batches)
    first, second = stack.unstacked_weights()
    check([first["moving_mean"], first["moving_variance"]], average([moments(batch) for batch in batches]))
    weight = 0.75 if scaling == "inference" else 1.0
    between = [batch + weight * normalize(batch) for batch in batches]
    check([second["moving_mean"], second["moving_variance"]], average([moments(x) for x in between]))


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [{}, {"survival_probabilities": P}, {"dropout_rate": 0.5}], ids=str)
def test_a_dense_block_is_weighed_as_in_inference(batches, arguments):
    """What the transition receives when the recalibrated network is tested, is what its statistics are of."""
    block = layers.DenseBlock(2, growth_rate=2, epsilon=EPSILON, **arguments)
    transition = layers.TransitionLayer(epsilon=EPSILON)
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, transition(block(inputs)))
    recalibrate(model, batches[:1])
    received = keras.Model(inputs, block.output).predict(batches[0], verbose=0)
    weights = transition.weights_by_name
    found = [weights[f"norm/{name}"].numpy() for name in ("moving_mean", "moving_variance")]
    check(found, moments(received))
    assert block.dropout_rate == arguments.get("dropout_rate", 0)
    assert block.momentum == 0.99


def test_dropout_is_off(batches):
    layer = norm()
    dropout = keras.layers.Dropout(0.5)
    recalibrate(keras.Sequential([keras.Input((4, 4, 3)), dropout, layer]), batches)
    check(statistics(layer), average([moments(batch) for batch in batches]))
    assert dropout.rate == 0.5


def test_what_is_frozen_stays(batches):
    frozen, layer = norm(), norm()
    frozen.trainable = False
    recalibrate(keras.Sequential([keras.Input((4, 4, 3)), frozen, layer]), batches)
    check(statistics(frozen), (np.zeros(3), np.ones(3)))
    check(statistics(layer), average([moments(batch / np.sqrt(1 + EPSILON)) for batch in batches]))


@pytest.mark.slow
def test_a_network_after_stochastic_training(batches, tmp_path):
    """Only statistics change; a second pass finds the same; the model is saved, loaded and trained as before."""
    model = applications.ResNet(
        depth=14, input_shape=(4, 4, 3), filters=(4, 4, 8), stem_filters=4, survival_probability=0.5, seed=1
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    labels = np.arange(8) % 10
    for batch in batches:
        model.train_on_batch(batch, labels)
    before = [w.numpy() for w in model.trainable_weights]
    recalibrate(model, batches)
    for weight, value in zip(model.trainable_weights, before):
        np.testing.assert_array_equal(weight.numpy(), value)
    first = model.predict(batches[0], verbose=0)
    recalibrate(model, batches)
    np.testing.assert_allclose(model.predict(batches[0], verbose=0), first, rtol=1e-4, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(batches[0], verbose=0), model.predict(batches[0], verbose=0))
    statistic = next(v for v in model.non_trainable_variables if v.path.endswith("moving_mean"))
    settled = statistic.numpy()
    model.train_on_batch(batches[0], labels)
    assert 0 < np.abs(statistic.numpy() - settled).max() < np.abs(settled).max()  # moved by its own momentum again


def test_no_batches_are_refused():
    with pytest.raises(ValueError, match="`batches` must be at least one batch"):
        recalibrate(keras.Sequential([keras.Input((4, 4, 3)), norm()]), [])


@pytest.fixture(params=["float32", "mixed_float16"])
def trained(request):
    keras.config.set_dtype_policy(request.param)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])
    model.compile(training.SGD(0.1, use_ema=True, ema_momentum=0.5), "sparse_categorical_crossentropy")
    for _ in range(3):
        model.train_on_batch(np.ones((4, 3)), np.zeros(4))
    return model


def test_the_average_takes_the_place_of_the_weights_for_a_while(trained):
    last = trained.get_weights()
    inner = getattr(trained.optimizer, "inner_optimizer", trained.optimizer)
    average = [v.numpy() for v in inner._model_variables_moving_average]
    with averaged(trained) as model:
        assert model is trained
        for weight, expected in zip(model.get_weights(), average):
            np.testing.assert_array_equal(weight, expected)
    for weight, expected in zip(trained.get_weights(), last):
        np.testing.assert_array_equal(weight, expected)
    assert any((a != b).any() for a, b in zip(average, last))


def test_the_weights_come_back_after_an_error(trained):
    last = trained.get_weights()
    with pytest.raises(RuntimeError), averaged(trained):
        raise RuntimeError
    np.testing.assert_array_equal(trained.get_weights()[0], last[0])


def test_without_an_average_there_is_an_error():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    for optimizer in (training.SGD(0.1), training.SGD(0.1, use_ema=True)):  # none, or none yet
        model.compile(optimizer, "mse")
        with (
            pytest.raises(ValueError, match=r"`model` must be trained with an optimizer that averages"),
            averaged(model),
        ):
            pass


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_statistics_in_half_precision(batches, policy):
    keras.config.set_dtype_policy(policy)
    inner, outer = norm(), norm()
    block = layers.StochasticDepthResidual(inner, survival_probability=P)
    recalibrate(keras.Sequential([keras.Input((4, 4, 3)), block, outer]), batches)
    sums = [np.maximum(batch + P * normalize(batch), 0) for batch in batches]
    for one, other in zip(statistics(outer), average([moments(x) for x in sums])):
        np.testing.assert_allclose(one, other, rtol=0.02)
