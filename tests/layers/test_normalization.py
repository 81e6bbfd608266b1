"""The fused layer against Keras's own, which defines the right numbers."""

import keras
import numpy as np
import pytest
from engines import gradients
from keras import ops

from keras_sd import backend
from keras_sd.layers import FusedBatchNormalization

RNG = np.random.default_rng(3)
# Mean far from 0 and batch small: the biased and the unbiased variance differ by 1/15.
X = (RNG.normal(size=(2, 4, 2, 5)) * 3 + 1).astype("float32")
TOLERANCE = {"float32": 2e-5, "float64": 1e-12, "mixed_bfloat16": 4e-2, "mixed_float16": 4e-3, "float16": 1e-2}


def pair(input_shape=X.shape, **arguments):
    """The layer and its parent with equal, telling weights."""
    ours, theirs = FusedBatchNormalization(**arguments), keras.layers.BatchNormalization(**arguments)
    rng = np.random.default_rng(1)
    for layer in (ours, theirs):
        layer.build(input_shape)
    values = [np.exp(rng.normal(size=w.shape) / 2) for w in theirs.weights]
    for layer in (ours, theirs):
        layer.set_weights(values)
    return ours, theirs


def step(layer, x, training):
    """Outputs, moving statistics afterwards, gradients by the input and the weights."""

    def loss(x):
        y = layer(x, training=training)
        assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
        weights = ops.convert_to_tensor(np.linspace(0.5, 2, y.shape[-1], dtype="float32"))
        return ops.sum(ops.cast(y, "float32") ** 2 * weights), y

    y, by_x, by_weights = gradients(loss, [x], layer.trainable_weights, layer.variables)
    return [ops.convert_to_numpy(t).astype("float64") for t in (y, *layer.non_trainable_weights, *by_x, *by_weights)]


def assert_equal_steps(layers, x, training, tolerance):
    for ours, theirs in zip(*(step(layer, x, training) for layer in layers), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance * max(1, np.abs(theirs).max()))


@pytest.fixture
def kernel_calls(monkeypatch):
    """Counts the calls of the kernel: equal numbers prove nothing where the parent did the work."""
    calls, kernel = [], backend.fused_batch_normalization
    monkeypatch.setattr(backend, "fused_batch_normalization", lambda *a, **k: calls.append(1) or kernel(*a, **k))
    return calls


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("channels", [5, 16])  # on CPUs, TensorFlow computes the first in float32
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16", "float16"])
def test_numbers_of_the_parent(policy, channels, training, kernel_calls):
    x = np.tile(X, 4)[..., :channels]
    assert_equal_steps(pair(x.shape, dtype=policy), x, training, TOLERANCE[policy])
    assert kernel_calls


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("scale", "center"), [(False, True), (True, False), (False, False)])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "float16"])
def test_without_scale_or_center(scale, center, policy, training, kernel_calls):
    assert_equal_steps(pair(scale=scale, center=center, dtype=policy), X, training, TOLERANCE[policy])
    assert kernel_calls


def test_statistics_by_hand():
    layer = FusedBatchNormalization(momentum=0.9)
    layer(X, training=True)
    np.testing.assert_allclose(layer.moving_mean, 0.1 * X.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * X.var((0, 1, 2)), rtol=1e-5)  # biased


def test_several_steps_with_other_constants():
    layers = pair(momentum=0.5, epsilon=0.1)
    for _ in range(3):
        assert_equal_steps(layers, X, True, 2e-5)


def test_one_value_a_channel():
    """The unbiased variance would divide by 0."""
    assert_equal_steps(pair((1, 1, 1, 3)), RNG.normal(size=(1, 1, 1, 3)).astype("float32"), True, 1e-5)


def test_frozen_uses_and_keeps_moving_statistics(kernel_calls):
    layers = pair()
    for layer in layers:
        layer.trainable = False
    before = layers[0].get_weights()
    assert_equal_steps(layers, X, True, 2e-5)
    for a, b in zip(before, layers[0].get_weights()):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(layers[0](X, training=True), layers[0](X, training=False))
    assert kernel_calls


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({}, (6, 5)),
        ({}, (3, 4, 5)),
        ({"axis": 1}, (2, 4, 3, 5)),
        ({"axis": 2}, (2, 4, 3, 5)),
        ({}, (2, 2, 2, 3, 4)),
        ({"dtype": "float64"}, (2, 4, 3, 5)),
    ],
)
def test_where_the_kernel_does_not_apply(arguments, shape, kernel_calls):
    x = RNG.normal(size=shape).astype(arguments.get("dtype", "float32"))
    for training in (True, False):
        assert_equal_steps(pair(shape, **arguments), x, training, 1e-6)
    assert not kernel_calls


def test_a_mask_is_heeded():
    mask = ops.convert_to_tensor([[[True, False]] * 4, [[False, True]] * 4])
    ours, theirs = pair()
    np.testing.assert_allclose(ours(X, training=True, mask=mask), theirs(X, training=True, mask=mask), rtol=1e-5)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)


def test_configuration_of_the_parent():
    layer = FusedBatchNormalization(momentum=0.7, epsilon=0.01, center=False, name="norm")
    parent = keras.layers.BatchNormalization(momentum=0.7, epsilon=0.01, center=False, name="norm")
    config, expected = layer.get_config(), parent.get_config()
    assert config == expected
    assert FusedBatchNormalization.from_config(expected).get_config() == expected


@pytest.mark.parametrize("shape", [(4, 3, 2), (4,)])
def test_contract(check_layer, shape):
    check_layer(lambda **kwargs: FusedBatchNormalization(momentum=0.8, **kwargs), shape)
