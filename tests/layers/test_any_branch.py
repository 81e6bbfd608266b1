"""Branches of any kind and policy: files, copies, losses, gradients in eager execution, Keras's own harness."""

import copy
import gc

import keras
import numpy as np
import pytest
from engines import gradients, only_tensorflow
from keras import layers, ops
from keras.src.testing import TestCase

from keras_sd.layers import (
    DenseBlock,
    FusedBatchNormalization,
    IdentityShortcut,
    StochasticDepthResidual,
    StochasticDepthStack,
    TransitionLayer,
)

X = np.random.default_rng(4).normal(size=(4, 3)).astype("float32")


def functional():
    inputs = keras.Input((3,))
    return keras.Model(inputs, layers.Dense(3)(layers.Dense(3, activation="tanh")(inputs)))


BRANCHES = {
    "functional": functional,
    "nested": lambda: keras.Sequential([functional(), layers.Dense(3)]),
    "spectral normalization": lambda: layers.SpectralNormalization(layers.Dense(3)),
    "time distributed": lambda: keras.Sequential(
        [layers.Reshape((3, 1)), layers.TimeDistributed(layers.Dense(1)), layers.Reshape((3,))]
    ),
    "lambda": lambda: keras.Sequential([layers.Dense(3), layers.Lambda(lambda x: 2 * x)]),
}
KINDS = {
    "residual": lambda branch: StochasticDepthResidual(branch, survival_probability=0.5, seed=1),
    "stack": lambda branch: StochasticDepthStack(branch, 2, 0.5, seed=1),
}


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("branch", BRANCHES)
def test_files_and_copies(kind, branch, tmp_path):
    inputs = keras.Input((3,))
    layer = KINDS[kind](BRANCHES[branch]())
    model = keras.Model(inputs, layer(inputs))
    before = [ops.convert_to_numpy(w) for w in model.trainable_weights]
    layer(X, training=True)  # spectral normalization assigns weights
    config = layer.get_config()
    unchanged = copy.deepcopy(config)
    for _ in range(2):
        type(layer).from_config(config)
    assert config == unchanged
    assert type(layer.branch) is type(layer.branch)
    model.save(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    copies = [
        keras.saving.load_model(tmp_path / "model.keras", safe_mode=False),
        clone,
        copy.deepcopy(model),
        lambda x: copy.deepcopy(layer)(x),
    ]
    for other in copies:
        np.testing.assert_array_equal(other(X), model(X))
    assert len(before) == len(model.trainable_weights) > 0


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_python_in_a_file_is_not_run_unasked(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, StochasticDepthStack(BRANCHES["lambda"](), 2)(inputs))
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="Lambda"):
        keras.saving.load_model(tmp_path / "model.keras")


def test_spectral_normalization_in_a_stack_is_that_of_blocks_one_by_one():
    stack = StochasticDepthStack(BRANCHES["spectral normalization"](), 2, 1.0)
    stack.build(X.shape)
    blocks = [KINDS["residual"](BRANCHES["spectral normalization"]()) for _ in range(2)]
    for block, weights in zip(blocks, stack.unstacked_weights(), strict=True):
        block.build(X.shape)
        for variable, value in zip(block.branch.weights, weights.values(), strict=True):
            variable.assign(value)
    x = X
    for block in blocks:
        x = block(x, training=True, gates=1)
    np.testing.assert_allclose(stack(X, training=True), x, rtol=1e-5, atol=1e-6)
    for block in blocks:
        block.survival_probability = 1
    np.testing.assert_allclose(stack(X), blocks[1](blocks[0](X)), rtol=1e-5, atol=1e-6)
    kernel = next(w for w in stack.trainable_weights if w.name.endswith("kernel"))
    _, _, grads = gradients(lambda x: (ops.sum(stack(x, training=True) ** 2), ()), [X], [kernel], stack.variables)
    assert (np.abs(np.asarray(grads[0])).max((1, 2)) > 0).all()


# ------------------------------------------------------------------------------------------------------- losses


class Penalty(layers.Layer):
    """The identity, with a loss of its own where it is asked for."""

    def __init__(self, when, **kwargs):
        super().__init__(**kwargs)
        self.when = when

    def call(self, inputs, training=False):
        if bool(training) in self.when:
            self.add_loss(ops.sum(inputs))
        return inputs

    def get_config(self):
        return {**super().get_config(), "when": self.when}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "branch",
    [
        lambda: Penalty((True, False)),
        lambda: Penalty((True,)),
        lambda: Penalty((False,)),
        lambda: keras.Sequential([layers.Dense(3), Penalty((True,))]),
        lambda: keras.Sequential([layers.Dense(3, activity_regularizer="l2")]),
        lambda: layers.ActivityRegularization(0.1),
    ],
)
def test_losses_of_a_branch_are_refused_when_it_is_built(kind, branch):
    layer = KINDS[kind](branch())
    with pytest.raises(ValueError, match=r"`branch` must be a layer without losses .*`add_loss`"):
        layer(keras.Input((3,)))


@pytest.mark.parametrize("kind", KINDS)
def test_regularizers_of_weights_are_no_losses_of_a_branch(kind):
    layer = KINDS[kind](keras.Sequential([layers.Dense(3, kernel_regularizer="l2"), Penalty(())]))
    layer(X)
    kernel = next(w for w in layer.weights if w.name.endswith("kernel"))
    np.testing.assert_allclose(sum(layer.losses), 0.01 * np.sum(ops.convert_to_numpy(kernel) ** 2), rtol=1e-5)


# --------------------------------------------------------------------------------------- gradients without graph


@only_tensorflow
@pytest.mark.parametrize(
    ("make", "gates"),
    [
        (lambda: StochasticDepthResidual(layers.Dense(3)), 0.0),
        (lambda: StochasticDepthStack(layers.Dense(3), 2), [0.0, 0.0]),
        (lambda: StochasticDepthStack(layers.Dense(3), 2), [0.0, 1.0]),
        (lambda: DenseBlock(2, 2, survival_probabilities=0.5), [0.0, 1.0]),
        (lambda: DenseBlock(2, 2, survival_probabilities=0.5), [0.0, 0.0]),
    ],
)
def test_eager_gradients_are_those_of_a_graph(make, gates):
    import tensorflow as tf

    layer = make()
    x = tf.constant(X[:, None, None] if isinstance(layer, DenseBlock) else X)
    layer.build(x.shape)

    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=True, gates=gates) ** 2)
        return tape.gradient(loss, [v.value for v in layer.trainable_variables])

    before = layer.get_weights()
    eager = step()
    assert all(gradient is not None for gradient in eager)
    layer.set_weights(before)
    for a, b in zip(eager, tf.function(step)(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@only_tensorflow
def test_momentum_moves_on_in_eager_training():
    """Of a block that was dropped after a step in which it survived."""
    weights = []
    for run_eagerly in (True, False):
        block = StochasticDepthResidual(layers.Dense(3, kernel_initializer="ones"), None, 1.0)
        model = keras.Sequential([keras.Input((3,)), block])
        for p in (1.0, 1e-30):
            block.survival_probability = p
            optimizer = keras.optimizers.SGD(0.01, 0.9) if p == 1 else model.optimizer
            model.compile(optimizer, "mse", run_eagerly=run_eagerly)
            model.train_on_batch(X, np.zeros((4, 3)))
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


# ------------------------------------------------------------------------------------------------------ policies


@pytest.mark.parametrize("branch", ["float32", "float16", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("own", ["float32", "float16", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("granularity", ["batch", "sample", "subset"])
def test_a_layer_computes_in_its_own_dtype_whatever_its_parts_do(own, branch, granularity):
    """As `keras.layers.Add` does."""
    expected = keras.layers.Add(dtype=own)([X, X]).dtype
    residual = StochasticDepthResidual(
        layers.Dense(3, dtype=branch), layers.Dense(3, dtype=branch), 0.5, granularity=granularity, dtype=own
    )
    stack = StochasticDepthStack(layers.Dense(3, dtype=branch), 2, 0.5, granularity=granularity, dtype=own)
    for layer, one, none in ((residual, {"gates": 1}, {"gates": 0}), (stack, {"gates": [1, 1]}, {"gates": [0, 0]})):
        for arguments in ({}, {"training": True}, one, none):
            assert layer(X, **arguments).dtype == expected
        assert layer(keras.Input((3,))).dtype == layer.compute_dtype


HARNESS = {
    "residual": (StochasticDepthResidual, {"branch": layers.Conv2D(4, 3, padding="same"), "seed": 1}, 4, 1),
    "residual with a shortcut": (
        StochasticDepthResidual,
        {"branch": layers.Conv2D(6, 1), "shortcut": layers.Conv2D(6, 1), "granularity": "sample"},
        6,
        1,
    ),
    "stack": (StochasticDepthStack, {"branch": layers.Conv2D(4, 3, padding="same"), "depth": 2}, 4, 1),
    "dense block": (DenseBlock, {"num_layers": 2, "growth_rate": 2, "dropout_rate": 0.1}, 8, 1),
    "transition": (TransitionLayer, {"pool_size": 1}, 2, 0),
    "shortcut": (IdentityShortcut, {"filters": 6}, 6, 0),
    "normalization": (FusedBatchNormalization, {}, 4, 0),
}


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
@pytest.mark.parametrize("name", HARNESS)
def test_the_harness_of_keras(name):
    layer, arguments, channels, seeds = HARNESS[name]
    TestCase("run").run_layer_test(
        layer,
        # A branch is a layer, and one layer has one place: each that the harness makes gets its own.
        _Fresh(arguments),
        input_shape=(2, 5, 5, 4),
        expected_output_shape=(2, 5, 5, channels),
        expected_num_seed_generators=seeds,
        expected_num_losses=0,
        supports_masking=name == "normalization",
    )


class _Fresh(dict):
    """Arguments of a layer that are made anew, layers among them, each time that they are unpacked."""

    def __getitem__(self, key):
        value = super().__getitem__(key)
        return type(value).from_config(value.get_config()) if isinstance(value, layers.Layer) else value


# ------------------------------------------------------------------------------------------------------ warnings


@pytest.mark.slow
@only_tensorflow
def test_many_dense_blocks_give_no_advice_on_retracing(caplog):
    from keras_sd.backend import gradients as make_gradients
    from keras_sd.backend.tensorflow import kernels

    x = np.ones((2, 5, 3, 7), "float32")  # of no other test, whose kernels would be there
    for i in range(6):  # a step each, of the same kernels
        DenseBlock(1, 1, None, epsilon=1e-3 * (i + 1))(x, training=True)
        make_gradients(lambda x: ops.sum(x**2))(x)
    kernels._COMPILER.submit(gc.isenabled).result()  # all kernels before it are compiled
    assert "retracing" not in caplog.text


# --------------------------------------------------------------------------------------------------------- names


def test_blocks_go_by_position_where_names_are_counters():
    def branch():
        return keras.Sequential([keras.Sequential([layers.Dense(3), layers.Dense(3)]), layers.Dense(3, name="last")])

    layers.Dense(3)  # counts
    first, second = StochasticDepthStack(branch(), 2, 1.0), StochasticDepthStack(branch(), 2, 1.0)
    for stack in (first, second):
        stack.build(X.shape)
    assert first.unstacked_weights()[0].keys() != second.unstacked_weights()[0].keys()
    for i, weights in enumerate(first.unstacked_weights()):
        second.assign_block(i, weights)
    np.testing.assert_array_equal(first(X), second(X))
    renamed = {name.replace("last", "first"): w for name, w in first.unstacked_weights()[0].items()}
    with pytest.raises(ValueError, match="must be of the names and shapes"):
        second.assign_block(0, renamed)
    for index in (-1, 2, 0.5, True):
        with pytest.raises(ValueError, match=f"`index` must be an integer from 0 to 1. Received: index={index}"):
            second.assign_block(index, weights)


# ----------------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("layer", "argument", "value"),
    [
        (lambda **kwargs: StochasticDepthStack(layers.Dense(3), **{"depth": 2, **kwargs}), "unroll", float("nan")),
        (lambda **kwargs: StochasticDepthStack(layers.Dense(3), **{"depth": 2, **kwargs}), "unroll", 1),
        (lambda **kwargs: StochasticDepthStack(layers.Dense(3), **{"depth": 2, **kwargs}), "memory_efficient", 1),
        (lambda **kwargs: StochasticDepthStack(layers.Dense(3), **{"depth": 2, **kwargs}), "depth", 2**40),
        (lambda **kwargs: StochasticDepthStack(layers.Dense(3), **{"depth": 2, **kwargs}), "seed", 10**30),
        (lambda **kwargs: StochasticDepthResidual(layers.Dense(3), **kwargs), "seed", 10**30),
        (lambda **kwargs: DenseBlock(**{"num_layers": 2, "growth_rate": 2, **kwargs}), "num_layers", 2**40),
        (lambda **kwargs: DenseBlock(2, 2, **kwargs), "memory_efficient", 1),
        (lambda **kwargs: DenseBlock(2, 2, **kwargs), "data_format", 0),
        (lambda **kwargs: DenseBlock(2, 2, **kwargs), "data_format", ""),
        (lambda **kwargs: DenseBlock(2, 2, **kwargs), "epsilon", float("inf")),
        (lambda **kwargs: DenseBlock(2, 2, **kwargs), "epsilon", 10**400),
        (lambda **kwargs: IdentityShortcut(4, **kwargs), "data_format", 0),
        (FusedBatchNormalization, "momentum", float("nan")),
        (FusedBatchNormalization, "momentum", 1.5),
        (FusedBatchNormalization, "epsilon", -1),
        (FusedBatchNormalization, "epsilon", "small"),
    ],
)
def test_arguments_without_meaning_are_refused(layer, argument, value):
    with pytest.raises(ValueError, match=f"^`{argument}` must be .*Received: {argument}="):
        layer(**{argument: value})
