"""The papers' optimizer against its formula and PyTorch's, and the learning rate by step."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import only_tensorflow

import keras_sd
from keras_sd import training
from keras_sd.training import LAMB, SGD, OneCycleSchedule, StepSchedule, resolve
from keras_sd.training.checkpoint import capture
from keras_sd.training.learning_rates import learning_rates

L2, RATE, MOMENTUM = 0.1, 0.05, 0.9


def gradients(steps=4, shape=(3, 2)):
    return np.random.default_rng(0).normal(size=(steps, *shape)).astype("float32")


def by_formula(weight, gradients):
    velocity = np.zeros_like(weight)
    for gradient in gradients:
        gradient = gradient + L2 * weight
        velocity = MOMENTUM * velocity - RATE * gradient
        weight = weight + MOMENTUM * velocity - RATE * gradient
    return weight


def test_decay_enters_the_momentum():
    variable = keras.Variable(np.ones((3, 2)))
    optimizer = SGD(RATE, momentum=MOMENTUM, l2=L2)
    for gradient in gradients():
        optimizer.apply([tf.constant(gradient)], [variable])
    np.testing.assert_allclose(variable.numpy(), by_formula(np.ones((3, 2), "float32"), gradients()), rtol=1e-5)


@pytest.mark.torch
def test_steps_equal_pytorchs():
    import torch

    weight = torch.ones(3, 2, requires_grad=True)
    peer = torch.optim.SGD([weight], RATE, momentum=MOMENTUM, nesterov=True, weight_decay=L2)
    variable = keras.Variable(np.ones((3, 2)))
    optimizer = SGD(RATE, momentum=MOMENTUM, l2=L2)
    for gradient in gradients():
        weight.grad = torch.from_numpy(gradient)
        peer.step()
        optimizer.apply([tf.constant(gradient)], [variable])
        np.testing.assert_allclose(variable.numpy(), weight.detach().numpy(), rtol=1e-5)


@only_tensorflow  # which has gradients of some rows
def test_rows_without_a_gradient_decay_too():
    """A stack's gradient names the rows of its survivors; the result is that of a dense gradient."""
    rows = np.array([3, 1])
    sparse, dense = keras.Variable(np.ones((4, 2))), keras.Variable(np.ones((4, 2)))
    optimizers = SGD(RATE, l2=L2), SGD(RATE, l2=L2)
    for gradient in gradients(shape=(2, 2)):
        full = np.zeros((4, 2), "float32")
        full[rows] = gradient
        slices = tf.IndexedSlices(tf.constant(gradient), tf.constant(rows), tf.constant([4, 2]))
        optimizers[0].apply([slices], [sparse])
        optimizers[1].apply([tf.constant(full)], [dense])
    np.testing.assert_allclose(sparse.numpy(), dense.numpy(), rtol=1e-6)
    assert (sparse.numpy()[[0, 2]] < 1).all()


@only_tensorflow  # JAX scales losses in compiled steps only
def test_loss_scaling_leaves_the_decay_alone():
    variable = keras.Variable(np.ones((3, 2)))
    optimizer = keras.optimizers.LossScaleOptimizer(SGD(RATE, l2=L2), initial_scale=1024.0)
    optimizer.build([variable])
    for gradient in gradients():
        optimizer.apply([tf.constant(gradient * 1024)], [variable])
    np.testing.assert_allclose(variable.numpy(), by_formula(np.ones((3, 2), "float32"), gradients()), rtol=1e-5)


def named(name, value=1.0):
    return keras.Variable(np.full((3, 2), value), name=name)


def test_norm_and_bias_can_be_exempt():
    """Also the scales of a stack, which are a matrix, and go by the name of their place in the block."""
    variables = [named("kernel"), named("gamma"), named("bias"), named("norm1_beta"), named("gamma_kernel")]
    optimizer = SGD(RATE, momentum=0.0, nesterov=False, l2=L2, decay_norm_and_bias=False)
    optimizer.apply([tf.zeros((3, 2))] * 5, variables)
    decayed = [bool((v.numpy() < 1).all()) for v in variables]
    assert decayed == [True, False, False, False, True]


def test_what_should_not_decay_is_listed():
    """In a stack, too, where it has two axes; no more and no less than what the optimizer leaves out."""
    branch = keras.Sequential([keras.layers.Conv2D(3, 3, padding="same"), keras.layers.BatchNormalization()])
    inputs = keras.Input((4, 4, 3))
    x = keras_sd.layers.StochasticDepthStack(branch, 2, 1.0)(inputs)
    x = keras.layers.LayerNormalization()(keras_sd.layers.DenseBlock(1, 2)(x))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    listed = training.norm_and_bias_variables(model)
    kernels = [v for v in model.trainable_variables if v.name.endswith("kernel")]
    assert {id(v) for v in listed} == {id(v) for v in model.trainable_variables} - {id(v) for v in kernels}
    assert [v.shape for v in listed[:3]] == [(2, 3)] * 3
    before = {id(v): v.numpy() + 1 for v in model.trainable_variables}
    for variable in model.trainable_variables:
        variable.assign(before[id(variable)])
    optimizer = SGD(RATE, l2=L2, decay_norm_and_bias=False)
    optimizer.apply([tf.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
    kept = {id(v) for v in model.trainable_variables if np.array_equal(v.numpy(), before[id(v)])}
    assert kept == {id(v) for v in listed}
    with pytest.raises(TypeError, match="`model` must be a Keras model or layer"):
        training.norm_and_bias_variables(3)


def lamb_by_formula(weight, gradients, l2, decays):
    """You et al. 2020, algorithm 2, on one layer, phi the identity."""
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    for step, gradient in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        update = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-6)
        if decays:
            update = update + l2 * weight
            update *= np.linalg.norm(weight) / np.linalg.norm(update)
        weight = weight - RATE * update
    return weight


@pytest.mark.parametrize("name", ["kernel", "gamma"])
def test_lamb_is_the_papers(name):
    variable = named(name, 2.0)
    optimizer = LAMB(RATE, l2=L2, decay_norm_and_bias=False)
    for gradient in gradients():
        optimizer.apply([tf.constant(gradient)], [variable])
    expected = lamb_by_formula(np.full((3, 2), 2.0), gradients().astype("float64"), L2, name == "kernel")
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-4)


def test_lamb_at_zero_does_not_divide_by_it():
    variable = named("kernel", 0.0)
    LAMB(RATE, l2=L2).apply([tf.zeros((3, 2))], [variable])
    assert (variable.numpy() == 0).all()


@pytest.mark.parametrize("kind", [SGD, LAMB])
def test_the_average_stays_beside_the_weights(kind):
    """Keras would put it in their place when `fit` ends, and the last weights would be lost."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(kind(RATE, use_ema=True, ema_momentum=0.5), "mse")
    x, y = np.ones((4, 3), "float32"), np.zeros((4, 1), "float32")
    weights = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: weights.append(capture(model, ["model"])["model"][0])
    )
    model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[record])
    np.testing.assert_array_equal(model.get_weights()[0], weights[-1])
    average = weights[0]
    for weight in weights[1:]:
        average = (average + weight) / 2
    np.testing.assert_allclose(model.optimizer._model_variables_moving_average[0].numpy(), average, rtol=1e-5)


def test_configuration_of_lamb_round_trip():
    optimizer = LAMB(0.1, l2=0.02, decay_norm_and_bias=True, beta_1=0.8)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(copy) is LAMB
    assert copy.get_config() == optimizer.get_config()
    assert (copy.l2, copy.decay_norm_and_bias, copy.beta_1) == (0.02, True, 0.8)


def test_configuration_round_trip():
    optimizer = SGD(StepSchedule(0.1, 100, warmup_steps=7), momentum=0.8, nesterov=False, l2=3e-4)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(copy) is SGD
    assert copy.get_config() == optimizer.get_config()
    assert copy.l2 == 3e-4
    assert copy._learning_rate.get_config() == optimizer._learning_rate.get_config()


@pytest.mark.parametrize("l2", [-1e-4, float("nan"), float("inf"), "a", None])
def test_a_bad_decay_is_refused(l2):
    with pytest.raises(ValueError, match=r"`l2` must be a number of at least 0. Received: l2="):
        SGD(l2=l2)


def rates(schedule, steps):
    return [round(float(schedule(step)), 6) for step in range(steps)]


def test_the_rate_falls_at_half_and_three_quarters():
    assert rates(StepSchedule(0.1, 8), 8) == [0.1] * 4 + [0.01] * 2 + [0.001] * 2
    assert rates(StepSchedule(0.5, 6, milestones=(0.5,), factor=0.2), 6) == [0.5] * 3 + [0.1] * 3


def test_the_rate_rises_in_the_warm_up():
    assert rates(StepSchedule(0.4, 12, warmup_steps=4), 12) == [0.1, 0.2, 0.3] + [0.4] * 3 + [0.04] * 3 + [0.004] * 3


def test_one_cycle_rises_and_falls_in_lines():
    schedule = OneCycleSchedule(1.0, total_steps=10, warmup_steps=4, start=0.2)
    assert rates(schedule, 10) == [0.2, 0.4, 0.6, 0.8, 1.0, 0.833333, 0.666667, 0.5, 0.333333, 0.166667]
    assert float(schedule(10)) == 0
    assert rates(OneCycleSchedule(1.0, 4, 0), 4) == [1.0, 0.75, 0.5, 0.25]
    assert OneCycleSchedule.from_config(schedule.get_config()).get_config() == schedule.get_config()


def test_the_cosine_follows_its_formula():
    config = resolve("digits", learning_rate=0.4, learning_rate_schedule="cosine", warmup_fraction=0.2)
    schedule = learning_rates(config, 50)
    steps = np.arange(10, 50)
    expected = 0.4 * (1 + np.cos(np.pi * (steps - 10) / 40)) / 2
    np.testing.assert_allclose([float(schedule(int(s))) for s in steps], expected, atol=1e-6)
    warm = [float(schedule(s)) for s in range(11)]
    np.testing.assert_allclose(np.diff(warm), np.full(10, (0.4 - 0.004) / 10), atol=1e-6)
    plain = learning_rates(resolve("digits", learning_rate=0.4, learning_rate_schedule="cosine"), 40)
    np.testing.assert_allclose([float(plain(s)) for s in range(40)], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["step", "cosine", "one_cycle"])
def test_a_warm_up_longer_than_the_training_is_cut(kind):
    config = resolve("digits", learning_rate_schedule=kind, warmup_steps=400)
    values = [float(learning_rates(config, 4)(step)) for step in range(4)]
    assert all(np.isfinite(values))
    assert all(0 <= value <= config.learning_rate * 1.0001 for value in values)
