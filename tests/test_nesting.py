"""Helpers that walk layers find those inside nested models: compared with the same on the model that is nested."""

import keras
import numpy as np
import pytest
from helpers import randomize

import keras_sd
from keras_sd import analysis, applications
from keras_sd.layers import StochasticDepthResidual, StochasticDepthStack
from keras_sd.training.averaging import recalibrate
from keras_sd.training.callbacks import expected_depth, gated_blocks

SHAPE = (8, 8, 1)


def backbone(**arguments):
    arguments = {"blocks": (2, 1), "filters": (4, 8), "stem_filters": 4, "input_shape": SHAPE, **arguments}
    return randomize(applications.ResNet(include_top=False, **arguments))


def head():
    return [keras.layers.GlobalAveragePooling2D(name="pool"), keras.layers.Dense(3, "softmax", name="head")]


def functional(base):
    inputs = x = keras.Input(SHAPE)
    for layer in (base, *head()):
        x = layer(x)
    return keras.Model(inputs, x)


class Subclassed(keras.Model):
    def __init__(self, base):
        super().__init__()
        self.base, (self.pool, self.classifier) = base, head()

    def call(self, inputs, training=False):
        return self.classifier(self.pool(self.base(inputs, training=training)))


def subclassed(base):
    model = Subclassed(base)
    model(np.zeros((1, *SHAPE), "float32"))
    return model


GRAPHS = {
    "functional": functional,
    "sequential": lambda base: keras.Sequential([keras.Input(SHAPE), base, *head()]),
    "sequential without input": lambda base: keras.Sequential([base, *head()]),
    "twice": lambda base: keras.Sequential([keras.Sequential([keras.Input(SHAPE), base]), *head()]),
}
ALL = {**GRAPHS, "subclassed": subclassed}
kinds = pytest.mark.parametrize("kind", ALL)
two_kinds = pytest.mark.parametrize("kind", ["sequential", "subclassed"])  # where each takes seconds
graphs = pytest.mark.parametrize("kind", GRAPHS)


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(6, *SHAPE)).astype("float32")


@pytest.mark.slow
@kinds
def test_recalibration_draws_nothing(kind, x):
    found = []
    base = backbone(survival_probability=0.5, survival_schedule="uniform")
    alone = keras.models.clone_model(base)
    alone.set_weights(base.get_weights())
    augmented = keras.Sequential([keras.Input(SHAPE), keras.layers.RandomFlip(), ALL[kind](base)])
    for model, calibrated in ((alone, alone), (augmented, base)):
        recalibrate(model, [x])
        found.append(calibrated.get_weights())
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert any((one != other).any() for one, other in zip(found[0], randomize(alone).get_weights()))


@pytest.mark.slow
def test_recalibration_reaches_blocks_inside_blocks(x):
    def block(**arguments):
        layers = [keras.layers.BatchNormalization(name="norm"), keras.layers.Dropout(0.5)]
        return StochasticDepthResidual(keras.Sequential(layers), **{"survival_probability": 0.5, **arguments})

    inputs = keras.Input(SHAPE)
    outputs = block(name="a")(inputs)
    outputs = StochasticDepthResidual(keras.Sequential([block(name="inner")]), survival_probability=0.5)(outputs)
    outputs = StochasticDepthStack(keras.Sequential([block(name="inside")]), 2, 0.5)(outputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization()(outputs))
    found = []
    for _ in range(3):
        recalibrate(model, [x])
        found.append(model.layers[-1].get_weights())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    np.testing.assert_allclose(found[0], found[2], rtol=1e-5)


@kinds
def test_blocks_and_their_survival(kind):
    base = backbone(survival_probability=0.4)
    model = ALL[kind](base)
    assert [b.name for b in analysis.blocks(model)] == [b.name for b in analysis.blocks(base)]
    assert gated_blocks(model) == gated_blocks(base)
    assert expected_depth(model) == expected_depth(base)


@pytest.mark.slow
@two_kinds
def test_subnetworks_and_signals(kind, x):
    base = backbone(survival_probability=0.4)
    model, features = ALL[kind](base), base.predict(x, verbose=0)
    networks, alone = analysis.SubNetworks(model), analysis.SubNetworks(base)
    classifier = model.layers[-1]
    for gates in (None, [1, 0, 1], [0, 0, 0]):
        expected = classifier(alone.predict(x, gates).mean((1, 2)))
        np.testing.assert_allclose(networks.predict(x, gates), expected, atol=1e-5)
    np.testing.assert_array_equal(base.predict(x, verbose=0), features)  # the model itself has no gates
    for (block, signal), (_, expected) in zip(analysis.signals(model, x), analysis.signals(base, x), strict=True):
        np.testing.assert_allclose(signal, expected, atol=1e-5, err_msg=block.name)


@pytest.mark.slow
@two_kinds
def test_gradients_and_paths(kind, x):
    y = np.arange(6) % 3
    model = ALL[kind](backbone())
    assert (analysis.GradientProbe(model, x, y).read() > 0).all()
    gradient = analysis.PathGradients(model)
    assert np.linalg.norm(gradient(x, y, [1, 0, 1]) - gradient(x, y, [0, 0, 0])) > 0


@kinds
def test_freezing(kind):
    base = backbone()
    model = keras_sd.freeze(ALL[kind](base))
    assert all("norm" not in weight.path for weight in model.trainable_weights)
    assert len(keras_sd.unfreeze(model).trainable_weights) == len(base.trainable_weights) + 2


@graphs
def test_freezing_up_to_a_layer_inside(kind):
    base, twin = backbone(), backbone()
    model = keras_sd.freeze(GRAPHS[kind](base), "stage2_block1", batch_norm=False)
    keras_sd.freeze(twin, "stage2_block1", batch_norm=False)
    assert [layer.trainable for layer in base.layers] == [layer.trainable for layer in twin.layers]
    assert len(model.trainable_weights) == 2
    with pytest.raises(ValueError, match=r"`upto` must be None or the name of a layer.*stage2_block1"):
        keras_sd.freeze(model, "stage9")


def test_a_name_in_two_nested_models_is_refused():
    inputs = keras.Input(SHAPE)
    branches = []
    for name in ("left", "right"):
        base = backbone()
        base.name = name
        branches.append(base(inputs))
    model = keras.Model(inputs, keras.layers.Add()(branches))
    with pytest.raises(ValueError, match=r"`upto` must be the name of one layer; .'left', 'right'. all contain one"):
        keras_sd.freeze(model, "stem_conv")


@graphs
def test_pyramids(kind, x):
    base = backbone()
    pyramid = keras_sd.feature_pyramid(GRAPHS[kind](base))
    found, expected = pyramid(x), keras_sd.feature_pyramid(base)(x)
    assert list(found) == list(expected) == ["P0", "P1"]
    for level, value in found.items():
        np.testing.assert_allclose(value, expected[level], atol=1e-5)


@graphs
def test_costs(kind):
    base = backbone(survival_probability=0.5)
    model = GRAPHS[kind](base)
    for expected in (False, True):
        assert analysis.flops(model, expected=expected) == analysis.flops(base, expected=expected) + 2 * 8 * 3


def test_what_is_called_twice_costs_twice():
    base, inputs = backbone(), keras.Input(SHAPE)
    two = keras.Model(inputs, keras.layers.Add()([base(inputs), base(keras.layers.ReLU()(inputs))]))
    assert analysis.flops(two) == 2 * analysis.flops(base)
    attention = keras.layers.MultiHeadAttention(1, 2)
    inputs = keras.Input((4, 2))
    with pytest.raises(ValueError, match="Multiply-adds of a MultiHeadAttention are not known"):
        analysis.flops(keras.Model(inputs, attention(inputs, inputs)))


def test_reuse_in_a_nested_densenet():
    base = applications.DenseNet(blocks=(2, 2), growth_rate=2, input_shape=SHAPE, include_top=False)
    found = analysis.reuse_map(keras.Sequential([base, *head()]))
    assert list(found) == ["stage1_block", "stage2_block"]
    np.testing.assert_array_equal(found["stage1_block"], analysis.reuse_map(base)["stage1_block"])
