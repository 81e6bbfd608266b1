"""Folded models compute what the models compute, with less."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sd import applications
from keras_sd.layers import DenseBlock, StochasticDepthResidual, StochasticDepthStack
from keras_sd.models.fold import fold

RNG = np.random.default_rng(0)

NETWORKS = {
    "stacked": lambda: applications.ResNet(depth=14, input_shape=(8, 8, 3), survival_probability=0.5),
    "block by block": lambda: applications.ResNet(
        depth=14, input_shape=(8, 8, 3), survival_probability=0.5, stacked=False
    ),
    "scaled in training": lambda: applications.ResNet(
        depth=14, input_shape=(8, 8, 3), survival_probability=0.5, scaling="training"
    ),
    "bottlenecks": lambda: applications.ResNet(
        blocks=(2, 2), filters=(4, 8), block="bottleneck", shortcut="projection", use_bias=True, input_shape=(8, 8, 3)
    ),
    "pre-activation": lambda: applications.ResNet(
        blocks=(2, 3),
        filters=(4, 8),
        block="preactivation",
        shortcut="projection",
        stride_in="middle",
        use_bias=True,
        survival_probability=0.7,
        input_shape=(8, 8, 3),
    ),
    "plain": lambda: applications.PlainNet(depth=14, input_shape=(8, 8, 3)),
    "dense": lambda: applications.DenseNet(depth=22, growth_rate=4, survival_probability=0.5, input_shape=(8, 8, 3)),
    "dense, basic": lambda: applications.DenseNet(
        depth=13, growth_rate=4, bottleneck=False, survival_probability=0.5, input_shape=(8, 8, 3)
    ),
    "perceptrons": lambda: applications.MLP(input_shape=(4, 4, 1), widths=(8,)),
}


def randomized(model):
    """The model with statistics and scales that are not those of a fresh one."""
    for weight in model.weights:
        if "variance" in weight.name:
            weight.assign(RNG.uniform(0.5, 2, weight.shape))
        elif "gamma" in weight.name:
            weight.assign(RNG.uniform(0.5, 1, weight.shape))
        elif any(part in weight.name for part in ("beta", "bias", "mean")):
            weight.assign(RNG.normal(0, 0.2, weight.shape))
    return model


def images(model, count=3):
    return RNG.normal(size=(count, *model.input_shape[1:])).astype("float32")


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_equal(name, tmp_path):
    model = randomized(NETWORKS[name]())
    folded, x = fold(model), images(model)
    before = [w.copy() for w in model.get_weights()]
    np.testing.assert_allclose(folded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-6)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    folded.save(tmp_path / "folded.keras")
    loaded = keras.saving.load_model(tmp_path / "folded.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), folded.predict(x, verbose=0))


@pytest.mark.parametrize("name", ["dense", "dense, basic"])
def test_large_batches(name):
    """So large that dense blocks work them in chunks, the last of which is smaller."""
    model = randomized(NETWORKS[name]())
    folded, x = fold(model), images(model, count=300)
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(folded.predict(x, batch_size=300, verbose=0), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(folded(x), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["stacked", "block by block", "bottlenecks", "plain"])
def test_no_normalization_is_left_behind_a_convolution(name):
    folded = fold(NETWORKS[name]())
    assert not [layer for layer in folded._flatten_layers() if isinstance(layer, layers.BatchNormalization)]
    assert not [weight.path for weight in folded.weights if "moving" in weight.path]


def test_survival_probabilities_go_into_the_branches():
    folded = fold(NETWORKS["stacked"]())
    for layer in folded.layers:
        if isinstance(layer, StochasticDepthResidual):
            assert layer.survival_probability == 1
        if isinstance(layer, StochasticDepthStack):
            assert set(layer.survival_probabilities) == {1.0}


def test_a_convolution_with_other_readers_keeps_its_outputs():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(2, 1)(inputs)
    outputs = layers.Add()([x, layers.BatchNormalization()(x)])
    model = randomized(keras.Model(inputs, outputs))
    x = images(model)
    np.testing.assert_allclose(fold(model).predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_a_convolution_with_an_activation_is_not_folded_into():
    inputs = keras.Input((6, 6, 2))
    outputs = layers.BatchNormalization()(layers.Conv2D(3, 1, activation="relu")(inputs))
    model = randomized(keras.Model(inputs, outputs))
    x = images(model)
    np.testing.assert_allclose(fold(model).predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_a_branch_that_takes_no_factor_keeps_its_survival_probability():
    branch = keras.Sequential([layers.Conv2D(2, 1), layers.ReLU()])
    inputs = keras.Input((6, 6, 2))
    model = keras.Model(inputs, StochasticDepthResidual(branch, survival_probability=0.3)(inputs))
    x = images(model)
    np.testing.assert_allclose(fold(model).predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_half_precision_stays():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = fold(applications.DenseNet(depth=10, growth_rate=4, input_shape=(8, 8, 3), include_top=False))
    assert [layer.compute_dtype for layer in model.layers if "block" in layer.name] == ["bfloat16"] * 3
    assert not any(isinstance(layer, DenseBlock) for layer in model.layers)


def test_truncated_depth_is_the_network_with_blocks_shut():
    branch = keras.Sequential([layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization()])
    inputs = keras.Input((6, 6, 4))
    stack = StochasticDepthStack(branch, 5, [0.9, 0.8, 0.7, 0.6, 0.5])
    model = randomized(keras.Model(inputs, stack(inputs)))
    x = images(model)
    expected = stack(x, gates=[0.9, 0.8, 0, 0, 0])
    np.testing.assert_allclose(fold(model, depth=2).predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(fold(model, depth=0).predict(x, verbose=0), x)


@pytest.mark.parametrize("name", ["stacked", "block by block"])
def test_depth_is_taken_from_all_stages(name):
    model = NETWORKS[name]()  # two blocks in each of three stages, the first of two of them fixed
    for depth, expected in ((6, [2, 2, 2]), (2, [0, 1, 1]), (4, None)):
        kept = {1: 0, 2: 0, 3: 0}
        for layer in fold(model, depth=depth).layers:
            if layer.name.startswith("stage"):
                kept[int(layer.name[5])] += getattr(layer, "depth", 1)
        assert sum(kept.values()) == depth
        if expected is not None:
            assert list(kept.values()) == expected


@pytest.mark.parametrize("depth", [1, 7, -1, 2.0, True, "3"])
def test_impossible_depths_are_refused(depth):
    with pytest.raises(ValueError, match=r"`depth` must be an integer from 2 .* to 6 .*Received: depth="):
        fold(NETWORKS["stacked"](), depth=depth)
