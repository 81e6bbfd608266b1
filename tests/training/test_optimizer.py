"""The papers' optimiser against its formula and PyTorch's, and the learning rate by step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_sd.training import SGD, StepSchedule

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


def test_loss_scaling_leaves_the_decay_alone():
    variable = keras.Variable(np.ones((3, 2)))
    optimizer = keras.optimizers.LossScaleOptimizer(SGD(RATE, l2=L2), initial_scale=1024.0)
    optimizer.build([variable])
    for gradient in gradients():
        optimizer.apply([tf.constant(gradient * 1024)], [variable])
    np.testing.assert_allclose(variable.numpy(), by_formula(np.ones((3, 2), "float32"), gradients()), rtol=1e-5)


def test_configuration_round_trip():
    optimizer = SGD(StepSchedule(0.1, 100, warmup_steps=7), momentum=0.8, nesterov=False, l2=3e-4)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(copy) is SGD
    assert copy.get_config() == optimizer.get_config()
    assert copy.l2 == 3e-4
    assert copy._learning_rate.get_config() == optimizer._learning_rate.get_config()


@pytest.mark.parametrize("l2", [-1e-4, float("nan"), float("inf"), "a", None])
def test_a_bad_decay_is_refused(l2):
    with pytest.raises(ValueError, match=r"l2 is .*; it must be a number of at least 0"):
        SGD(l2=l2)


def rates(schedule, steps):
    return [round(float(schedule(step)), 6) for step in range(steps)]


def test_the_rate_falls_at_half_and_three_quarters():
    assert rates(StepSchedule(0.1, 8), 8) == [0.1] * 4 + [0.01] * 2 + [0.001] * 2
    assert rates(StepSchedule(0.5, 6, milestones=(0.5,), factor=0.2), 6) == [0.5] * 3 + [0.1] * 3


def test_the_rate_rises_in_the_warm_up():
    assert rates(StepSchedule(0.4, 12, warmup_steps=4), 12) == [0.1, 0.2, 0.3] + [0.4] * 3 + [0.04] * 3 + [0.004] * 3
