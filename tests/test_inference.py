"""Folded models compute what the models compute, with less."""

import keras
import numpy as np
import pytest
from helpers import randomize
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from keras_sd import applications
from keras_sd.layers import DenseBlock, StochasticDepthResidual, StochasticDepthStack
from keras_sd.models.fold import fold
from keras_sd.weights import Preprocessing

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


def images(model, count=3):
    return RNG.normal(size=(count, *model.input_shape[1:])).astype("float32")


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_equal(name, tmp_path):
    model = randomize(NETWORKS[name]())
    folded, x = fold(model), images(model)
    before = [w.copy() for w in model.get_weights()]
    np.testing.assert_allclose(folded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-6)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    folded.save(tmp_path / "folded.keras")
    loaded = keras.saving.load_model(tmp_path / "folded.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), folded.predict(x, verbose=0))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", "dense, basic"])
def test_large_batches(name):
    """So large that dense blocks work them in chunks, the last of which is smaller."""
    model = randomize(NETWORKS[name]())
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
    model = randomize(keras.Model(inputs, outputs))
    x = images(model)
    np.testing.assert_allclose(fold(model).predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_a_convolution_with_an_activation_is_not_folded_into():
    inputs = keras.Input((6, 6, 2))
    outputs = layers.BatchNormalization()(layers.Conv2D(3, 1, activation="relu")(inputs))
    model = randomize(keras.Model(inputs, outputs))
    x = images(model)
    np.testing.assert_allclose(fold(model).predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_a_branch_that_takes_no_factor_keeps_its_survival_probability():
    branch = keras.Sequential([layers.Conv2D(2, 1), layers.ReLU()])
    inputs = keras.Input((6, 6, 2))
    model = keras.Model(inputs, StochasticDepthResidual(branch, survival_probability=0.3)(inputs))
    x = images(model)
    np.testing.assert_allclose(fold(model).predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


# ----------------------------------------------------------------------------------------- what is folded, and what not

SHAPE = (6, 6, 4)


def chain(*parts, shape=SHAPE):
    """A functional model of layers in a row."""
    inputs = x = keras.Input(shape)
    for part in parts:
        x = part(x)
    return keras.Model(inputs, x)


def conv(filters=4, **kwargs):
    return layers.Conv2D(filters, 3, padding="same", **kwargs)


def norm(**kwargs):
    return layers.BatchNormalization(**kwargs)


def graph(function):
    """A functional model of a function of its input."""
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, function(inputs))


def shared_convolution(x):
    layer = conv()
    return layers.Add()([norm()(layer(x)), layer(ops.relu(x))])


def tapped_convolution(x):
    y = conv()(x)
    return [y, norm()(y)]


class Squared(layers.Conv2D):
    """A convolution by class, and none by what it computes."""

    def call(self, inputs):
        return ops.square(super().call(inputs))


def adapted():
    layer = layers.Normalization()
    layer.adapt(RNG.normal(3, 2, (20, *SHAPE)))
    return layer


def bgr(channels="BGR"):
    return Preprocessing(
        size=8, interpolation=None, channels=channels, scale=1.0, mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 3.0)
    )


def sequential(*parts):
    return keras.Sequential(list(parts))


def residual(*parts, **kwargs):
    return StochasticDepthResidual(sequential(*parts), **kwargs)


def stack(*parts):
    return StochasticDepthStack(sequential(*parts), 3, [0.9, 0.7, 0.5])


# A model, and how many batch normalizations are left.
CASES = {
    "equal names in nested layers": (lambda: chain(sequential(residual(conv(), layers.ReLU(), conv()))), 0),
    "a branch in a branch": (lambda: chain(residual(conv(), sequential(conv(), norm(), layers.ReLU()), conv())), 0),
    "rows as channels": (lambda: chain(conv(6), norm(axis=1)), 1),
    "rows as features": (lambda: chain(layers.Dense(6), norm(axis=2)), 1),
    "negative axis": (lambda: chain(conv(), norm(axis=3), layers.Dense(6), norm(axis=-1)), 0),
    "sequential": (lambda: sequential(keras.Input(SHAPE), conv(), norm(), layers.ReLU(), conv(), norm()), 0),
    "nested models": (lambda: sequential(keras.Input(SHAPE), chain(conv(), norm()), sequential(conv(), norm())), 0),
    "no scale, absorbed": (lambda: chain(residual(conv(), norm(scale=False))), 0),
    "no scale, alone": (lambda: chain(residual(conv(), layers.ReLU(), norm(scale=False))), 1),
    "no offset, alone": (lambda: chain(residual(conv(), layers.ReLU(), norm(center=False))), 1),
    "stack of wrapped layers": (lambda: chain(stack(layers.TimeDistributed(layers.Dense(4)), conv(), norm())), 0),
    "stack of residuals": (lambda: chain(stack(residual(conv(), layers.ReLU(), conv()), conv(), norm())), 0),
    "several outputs": (lambda: graph(tapped_convolution), 1),
    "a convolution called twice": (lambda: graph(shared_convolution), 1),
    "statistics of the batch": (lambda: graph(lambda x: norm()(conv()(x), training=True)), 1),
    "statistics that move not": (lambda: graph(lambda x: norm()(conv()(x), training=False)), 0),
    "a gate": (lambda: graph(lambda x: residual(conv(), norm())(x, gates=1.0)), 1),
    "operations": (lambda: graph(lambda x: ops.flip(x, 1) + norm()(conv()(x))), 0),
    "a subclass": (lambda: chain(Squared(4, 3, padding="same"), norm()), 1),
    "a lambda": (lambda: chain(layers.Lambda(lambda x: x * 2), conv(), norm()), 0),
    "half precision": (lambda: chain(conv(dtype="mixed_bfloat16"), norm(dtype="float32")), 1),
    "adapted": (lambda: chain(adapted(), conv(), norm()), 0),
    "BGR": (lambda: applications.ResNet(depth=8, input_shape=(8, 8, 3), rescale=bgr()), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_equal_whatever_is_folded(name):
    make, left = CASES[name]
    model = make()
    model = model if name == "adapted" else randomize(model)
    folded, x = fold(model), images(model)
    assert_equal_outputs(folded(x), model(x))
    assert sum(isinstance(part, layers.BatchNormalization) for part in folded._flatten_layers()) == left
    assert isinstance(folded, keras.Sequential) is isinstance(model, keras.Sequential)


def assert_equal_outputs(received, expected):
    for a, b in zip(keras.tree.flatten(received), keras.tree.flatten(expected), strict=True):
        assert a.dtype == b.dtype
        a, b = (keras.ops.convert_to_numpy(keras.ops.cast(t, "float32")) for t in (a, b))
        assert np.abs(b).max() > 0.01
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


def random_layer(rng, depth):
    """A layer that keeps the shape (6, 6, 6), whose axes could be taken for one another; nested while depth is left."""
    nested = [
        lambda: keras.Sequential(random_chain(rng, depth - 1)),
        lambda: chain(*random_chain(rng, depth - 1), shape=(6, 6, 6)),
        lambda: StochasticDepthResidual(
            keras.Sequential(random_chain(rng, depth - 1)),
            keras.Sequential(random_chain(rng, 0)) if rng.random() < 0.3 else None,
            rng.choice([0.5, 1.0]),
            scaling=str(rng.choice(["inference", "training"])),
        ),
        lambda: StochasticDepthStack(keras.Sequential(random_chain(rng, depth - 1)), 2, [0.8, 0.4]),
    ]
    flat = [
        lambda: conv(6, use_bias=bool(rng.random() < 0.5)),
        lambda: layers.Dense(6, activation=rng.choice([None, "relu"])),
        lambda: norm(axis=int(rng.choice([1, 2, 3, -1])), scale=bool(rng.random() < 0.7)),
        norm,
        lambda: layers.PReLU(),
        lambda: layers.DepthwiseConv2D(3, padding="same"),
        lambda: keras.Sequential([DenseBlock(2, 3, survival_probabilities=0.5), conv(6)]),
    ]
    return rng.choice(np.array([*flat, *flat[:4], *(nested * 2 if depth else [])], object))()


def random_chain(rng, depth):
    return [random_layer(rng, depth) for _ in range(rng.integers(1, 4))]


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=12, derandomize=True, deadline=None, database=None)
def test_random_nested_models_keep_their_outputs(seed):
    rng = np.random.default_rng(seed)
    model = randomize(chain(conv(6), norm(), *random_chain(rng, 2), shape=(6, 6, 6)))
    x = images(model, 2)
    assert_equal_outputs(fold(model)(x), model(x))


def test_a_policy_of_the_session_changes_nothing():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = randomize(chain(residual(conv(), norm()), stack(conv(), norm())))
    keras.config.set_dtype_policy("float32")
    folded, x = fold(model), images(model)
    assert {part.dtype_policy.name for part in folded.layers[1:]} == {"mixed_bfloat16"}
    np.testing.assert_allclose(*(keras.ops.cast(m(x), "float32") for m in (folded, model)), rtol=0.05, atol=0.1)


def test_blocks_of_nested_models_count():
    backbone = applications.ResNet(depth=14, input_shape=(8, 8, 3), include_top=False)
    model = keras.Sequential([keras.Input((8, 8, 3)), backbone, layers.GlobalAveragePooling2D()])
    with pytest.raises(ValueError, match=r"from 2 .* to 6"):
        fold(model, depth=7)
    x = images(model)
    expected = fold(backbone, depth=3)(x)
    np.testing.assert_allclose(fold(model, depth=3)(x), np.mean(np.asarray(expected), (1, 2)), rtol=1e-4, atol=1e-6)


class OwnCall(keras.Model):
    def call(self, inputs):
        return inputs


@pytest.mark.parametrize(
    ("make", "error"), [(lambda: "model", TypeError), (OwnCall, TypeError), (lambda: sequential(conv()), ValueError)]
)
def test_what_is_no_graph_is_refused(make, error):
    with pytest.raises(error, match="`model` must be"):
        fold(make())


def test_half_precision_stays():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = fold(applications.DenseNet(depth=10, growth_rate=4, input_shape=(8, 8, 3), include_top=False))
    assert [layer.compute_dtype for layer in model.layers if "block" in layer.name] == ["bfloat16"] * 3
    assert not any(isinstance(layer, DenseBlock) for layer in model.layers)


@pytest.mark.parametrize(
    ("scaling", "depth", "gates"),
    [
        ("inference", 5, [0.9, 0.8, 0.7, 0.6, 0.5]),
        # All five gates add up to 3.5, the first four to 3; the first one is at most 1.
        ("inference", 4, [1, 0.8 * 7 / 6, 0.7 * 7 / 6, 0.7, 0]),
        ("inference", 2, [1, 1, 0, 0, 0]),
        ("training", 4, [1 / 0.9, 1.25, 1.25, 1.25, 0]),
        ("training", 2, [1 / 0.9, 1 / 0.8, 0, 0, 0]),
    ],
)
def test_truncated_depth_is_the_network_with_blocks_shut_and_the_others_weighted_for_them(scaling, depth, gates):
    branch = keras.Sequential([layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization()])
    inputs = keras.Input((6, 6, 4))
    stack = StochasticDepthStack(branch, 5, [0.9, 0.8, 0.7, 0.6, 0.5], scaling=scaling)
    model = randomize(keras.Model(inputs, stack(inputs)))
    x = images(model)
    expected = stack(x, gates=gates)
    np.testing.assert_allclose(fold(model, depth=depth).predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
    if [*map(int, keras.__version__.split(".")[:2])] >= [3, 15]:  # which has models without a layer
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
