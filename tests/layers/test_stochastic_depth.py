"""The residual block with stochastic depth: by hand, by NumPy, and by what it must not do."""

import keras
import numpy as np
import pytest
from engines import EXPLOSION, ON_TENSORFLOW, ON_TORCH, Bomb, compiled, gradients, is_symbolic, repeated, that_skip
from keras import layers, ops

from keras_sd import backend
from keras_sd.layers import FusedBatchNormalization, IdentityShortcut, StochasticDepthResidual

RNG = np.random.default_rng(5)
X = RNG.normal(size=(4, 6, 5, 3)).astype("float32")


@keras.saving.register_keras_serializable(package="keras_sd_tests")
class Times(layers.Layer):
    """Multiplies by a number, and notes the size of each batch that it is run on."""

    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self.sizes = []

    def call(self, inputs):
        if not ON_TENSORFLOW:
            if not is_symbolic(inputs):
                self.sizes.append(len(inputs))
            return inputs * self.factor
        import tensorflow as tf

        note = tf.py_function(lambda x: self.sizes.append(len(x)) or 0.0, [inputs], tf.float32)
        return inputs * self.factor + ops.cast(0 * tf.ensure_shape(note, ()), inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def conv_branch(filters=3, strides=1, **kwargs):
    return keras.Sequential(
        [
            layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False, name="conv1"),
            FusedBatchNormalization(name="norm1"),
            layers.ReLU(),
            layers.Conv2D(filters, 3, padding="same", use_bias=False, name="conv2"),
            FusedBatchNormalization(name="norm2"),
        ],
        **kwargs,
    )


def array(x):
    return ops.convert_to_numpy(x)


# ------------------------------------------------------------------------------------------------- the formula


def convolve(x, kernel):
    """Convolution with zeros around, one tap of the kernel at a time."""
    h, w = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(padded[:, i : i + h, j : j + w] @ kernel[i, j] for i in range(3) for j in range(3))


def normalize(x, norm, training):
    gamma, beta, mean, variance = (array(w) for w in norm.weights)
    if training:
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return gamma * (x - mean) / np.sqrt(variance + norm.epsilon) + beta


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("gate", [None, 0.0, 1.0, 0.25])
def test_a_block_in_numpy(training, gate):
    block = StochasticDepthResidual(conv_branch(), survival_probability=0.7)
    block.build(X.shape)
    for weight in block.branch.weights:
        spread = RNG.normal(size=weight.shape)
        weight.assign(np.exp(spread / 2) if weight.name == "moving_variance" else spread)
    conv1, norm1, _, conv2, norm2 = block.branch.layers
    hidden = np.maximum(0, normalize(convolve(X, array(conv1.kernel)), norm1, training))
    branch = normalize(convolve(hidden, array(conv2.kernel)), norm2, training)
    if training and gate is None:
        gate, y = 1.0, None
        while y is None or np.array_equal(y, np.maximum(0, X)):  # until it survives
            y = array(block(X, training=True))
    else:
        y = array(block(X, training=training, gates=gate))
    b = 0.7 if gate is None else gate
    np.testing.assert_allclose(y, np.maximum(0, X + b * branch), atol=2e-4)


@pytest.mark.parametrize("scaling", ["inference", "training"])
@pytest.mark.parametrize("granularity", ["batch", "sample", "subset"])
def test_training_and_inference_agree_in_expectation(granularity, scaling):
    p, draws = 0.7, 1000
    block = StochasticDepthResidual(
        layers.Dense(3), None, p, activation=None, granularity=granularity, scaling=scaling, seed=0
    )
    x = X[0, 0]  # five examples: round(0.7 * 5) = 4 of them in a subset
    expected = array(block(x, training=False)) - x
    mean = repeated(lambda: block(x, training=True), block.variables, draws).mean(0) - x
    rate = 0.8 if granularity == "subset" else p
    error = 4 * np.abs(expected / p) * np.sqrt(rate * (1 - rate) / draws) + 1e-5
    np.testing.assert_array_less(np.abs(array(mean) - expected * rate / p), error)


def test_scaling():
    x = np.ones((2, 3), "float32")
    for scaling, survivor, inference in (("inference", 3, 1 + 0.5 * 2), ("training", 1 + 2 / 0.5, 3)):
        block = StochasticDepthResidual(Times(2), None, 0.5, scaling=scaling, seed=1)
        assert {float(block(x, training=True)[0, 0]) for _ in range(30)} == {1.0, survivor}
        np.testing.assert_array_equal(block(x, training=False), inference * x)


def test_certain_survival_is_an_ordinary_block():
    for granularity in ("batch", "sample", "subset"):
        block = StochasticDepthResidual(Times(2), None, 1.0, granularity=granularity)
        for training in (True, False):
            np.testing.assert_array_equal(block(np.ones((2, 3)), training=training), np.full((2, 3), 3.0))


# ---------------------------------------------------------------------------------------------------- skipping


@that_skip
def test_a_dropped_branch_is_not_executed():
    block = StochasticDepthResidual(Bomb(), None, 1e-30)
    for call in (block, compiled(block, block.variables)):
        np.testing.assert_array_equal(call(X, training=True), np.maximum(X, 0))
        np.testing.assert_array_equal(call(X, training=True, gates=0), np.maximum(X, 0))
        np.testing.assert_array_equal(call(X, gates=ops.convert_to_tensor(0.0)), np.maximum(X, 0))
        for arguments in ({"gates": 1}, {"training": False}):
            with pytest.raises(EXPLOSION, match="executed"):
                call(X, **arguments)


@that_skip
def test_a_dropped_branch_is_not_executed_in_fit():
    """A branch that drives its Bomb only after its own weights: gradients are those of nothing, too."""
    inputs = keras.Input(X.shape[1:])
    block = StochasticDepthResidual(keras.Sequential([conv_branch(), Bomb()]), None, 1e-30)
    model = keras.Model(inputs, layers.Dense(1)(block(inputs)))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before = block.branch.get_weights()
    head = model.layers[-1].get_weights()
    model.fit(X, np.ones((4, 6, 5, 1)), epochs=2, verbose=0)
    for a, b in zip(before, block.branch.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(head[0], model.layers[-1].get_weights()[0])


@pytest.mark.parametrize("graph", [False, True])
def test_gradients_and_statistics_of_a_dropped_branch(graph):
    block = StochasticDepthResidual(conv_branch(), None, 0.5)
    block.build(X.shape)

    def of_weights(gate):
        def loss(gate):
            return ops.sum(block(X, training=True, gates=gate) ** 2), ()

        return gradients(loss, [gate], block.trainable_weights, block.variables, graph)[2]

    before = block.get_weights()
    for gradient in of_weights(0.0):
        np.testing.assert_array_equal(gradient, 0)
    for a, b in zip(before, block.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(np.abs(g).max() > 0 for g in of_weights(1.0)[::3])  # kernels
    assert not np.array_equal(before[3], block.get_weights()[3])


# ----------------------------------------------------------------------------------------------------- examples


@pytest.mark.parametrize("scaling", ["inference", "training"])
def test_sample_granularity_gates_each_example(scaling):
    p, count = 0.25, 400
    block = StochasticDepthResidual(Times(3), None, p, None, "sample", scaling, seed=2)
    x = np.ones((count, 2, 2), "float32")
    y = array(block(x, training=True))
    kept = 1 + (3 / p if scaling == "training" else 3)
    assert set(np.unique(y)) == {1.0, kept}
    assert (y.min((1, 2)) == y.max((1, 2))).all()  # one gate for all of an example
    share = (y[:, 0, 0] == kept).mean()
    assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / count)
    assert not np.array_equal(y, array(block(x, training=True)))


def test_a_dropped_example_does_not_see_a_branch_that_overflows():
    block = StochasticDepthResidual(Times(np.inf), None, 0.5, None, "sample", seed=0)
    y = array(block(np.zeros((40, 1), "float32"), training=True))  # inf * 0 is NaN
    assert 0 < np.isnan(y).sum() < 40


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.7])
def test_subset_runs_the_branch_on_exactly_so_many_examples(batch, p):
    branch = Times(3)
    block = StochasticDepthResidual(branch, None, p, None, "subset", seed=2)
    x = 1 + np.arange(batch, dtype="float32")[:, None]
    size = max(1, round(p * batch))
    chosen = set()
    for _ in range(12):
        y = array(block(x, training=True))
        assert (y == 4 * x).sum() == size
        assert (y == x).sum() == batch - size
        chosen.add(tuple(np.flatnonzero(y != x)))
    assert set(branch.sizes) == {size}
    assert len(chosen) > 1 or size == batch
    np.testing.assert_allclose(block(x), x + p * 3 * x, rtol=1e-6)


def test_gradients_of_a_subset():
    block = StochasticDepthResidual(layers.Dense(2, use_bias=False), None, 0.5, None, "subset", seed=0)
    x = RNG.normal(size=(6, 2)).astype("float32")
    block.build(x.shape)

    def loss(x):
        y = block(x, training=True)
        return ops.sum(y), y

    y, (dx,), (dw,) = gradients(loss, [x], [block.branch.kernel], block.variables)
    ran = np.abs(array(y - x)).max(1) > 0
    kernel = array(block.branch.kernel)
    np.testing.assert_allclose(dx, 1 + ran[:, None] * kernel.sum(1), rtol=1e-5)
    np.testing.assert_allclose(dw, np.tile(array(x)[ran].sum(0)[:, None], 2), rtol=1e-5)


# ------------------------------------------------------------------------------------------------------ gates


def test_gates_of_many_steps():
    """Many draws of each of three blocks in one model, given the same seed: right frequencies, no correlation."""

    def one():  # (not `x + 1`: TensorFlow's optimizer breaks the sum `x + (x + 1)` inside of a conditional)
        return layers.Dense(1, kernel_initializer="zeros", bias_initializer="ones")

    probabilities, count = (0.9, 0.5, 0.2), 1_000 if ON_TORCH else 10_000
    blocks = [
        StochasticDepthResidual(one(), None, p, None, seed=7, name=f"block{i}") for i, p in enumerate(probabilities)
    ]
    zero = np.zeros((1, 1), "float32")
    for block in blocks:
        block.build((1, 1))

    def draw():
        return ops.concatenate([block(zero, training=True)[0] for block in blocks], 0)

    drawn = repeated(draw, [v for block in blocks for v in block.variables], count)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    p = np.array(probabilities)
    assert (np.abs(drawn.mean(0) - p) < 4 * np.sqrt(p * (1 - p) / count)).all()
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 4.5 / np.sqrt(count)


def test_seed_repeats_the_draws():
    def draws(name):
        block = StochasticDepthResidual(Times(1), None, 0.5, seed=3, name=name)
        return [float(block(np.ones((1, 1)), training=True)[0, 0]) for _ in range(24)]

    assert draws("a") == draws("a") != draws("b")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_gates_are_float32_under_any_policy(policy):
    """The same seed draws the same gates: a draw in half precision would not."""
    patterns = []
    for dtype in (policy, "float32"):
        block = StochasticDepthResidual(Times(1, dtype=dtype), None, 0.5, None, "sample", seed=3, name="b", dtype=dtype)
        outputs = block(np.ones((300, 1)), training=True)
        assert keras.backend.standardize_dtype(outputs.dtype) == block.compute_dtype
        patterns.append(array(ops.cast(outputs, "float32")))
    np.testing.assert_array_equal(*patterns)


# ---------------------------------------------------------------------------------- any branch, files, bad input


class Composite(layers.Layer):
    """A layer with nothing but `call`, as users write them."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(3, 3, padding="same")
        self.norm = layers.BatchNormalization()

    def call(self, inputs):
        return self.norm(self.conv(inputs))


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = Composite()

    def call(self, inputs, training=None):
        return self.inner(inputs, training=training)


@pytest.mark.parametrize("make", [Composite, Subclassed, lambda: keras.Sequential([Composite()])])
def test_any_layer_or_model_is_a_branch(make):
    block = StochasticDepthResidual(make(), make(), 0.5)
    y = block(X, training=True, gates=1)
    assert y.shape == X.shape
    assert block.compute_output_shape((None, *X.shape[1:])) == (None, *X.shape[1:])
    assert len(block.trainable_weights) == 8
    moving = [w for w in block.non_trainable_weights if w.name == "moving_mean"]
    assert all(np.abs(w).max() > 0 for w in moving)  # they know that this is training


@pytest.mark.parametrize("granularity", ["batch", "sample", "subset"])
@pytest.mark.parametrize("scaling", ["inference", "training"])
def test_contract(check_layer, granularity, scaling):
    check_layer(
        lambda **kwargs: StochasticDepthResidual(
            layers.Conv2D(3, 3, padding="same", dtype=kwargs.get("dtype")),
            survival_probability=0.9,
            granularity=granularity,
            scaling=scaling,
            seed=1,
            **kwargs,
        ),
        (6, 5, 3),
    )


@pytest.mark.slow
def test_contract_with_a_shortcut(check_layer):
    check_layer(
        lambda **kwargs: StochasticDepthResidual(
            layers.Conv2D(6, 3, strides=2, padding="same", dtype=kwargs.get("dtype")),
            IdentityShortcut(6, 2, dtype=kwargs.get("dtype")),
            **kwargs,
        ),
        (5, 4, 3),
    )


@pytest.mark.parametrize("granularity", ["batch", "sample", "subset"])
def test_unknown_sizes(granularity):
    inputs = keras.Input((None, None, 3))
    block = StochasticDepthResidual(conv_branch(6, 2), IdentityShortcut(6, 2), granularity=granularity)
    model = keras.Model(inputs, block(inputs))
    assert model.output_shape == (None, None, None, 6)
    model.compile("sgd", "mse")
    assert np.isfinite(model.train_on_batch(X, np.ones((4, 3, 3, 6))))


def test_bad_arguments():
    branch = Times()
    for name, value in (
        *(("survival_probability", p) for p in (0, 1.5, -0.1, float("nan"), "a", None, True)),
        ("granularity", "example"),
        ("scaling", "none"),
        ("seed", "a"),
        ("branch", "conv"),
        ("shortcut", 3),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must be") as error:
            StochasticDepthResidual(**{"branch": branch, name: value})
        assert f"{name}={value!r}" in str(error.value)


def test_a_branch_that_does_not_fit():
    for branch, shortcut in (
        (layers.Conv2D(3, 3), None),  # smaller
        (layers.Conv2D(1, 1), None),  # would broadcast
        (layers.Conv2D(3, 1), IdentityShortcut(6, 2)),
    ):
        block = StochasticDepthResidual(branch, shortcut, name="block")
        with pytest.raises(
            ValueError, match=r"`branch` must be a layer with the same output shape as the shortcut of .block."
        ) as error:
            block(X)
        assert str(tuple(branch.compute_output_shape(X.shape))) in str(error.value)


@pytest.mark.parametrize("granularity", ["batch", "sample", "subset"])
def test_the_survival_probability_may_be_set_later(granularity):
    block = StochasticDepthResidual(Times(2), None, 0.5, None, granularity)
    x = np.ones((4, 1), "float32")
    block.survival_probability = 1
    assert block.supports_jit
    np.testing.assert_array_equal(block(x, training=True), 3 * x)
    block.survival_probability = 0.25
    np.testing.assert_array_equal(block(x), 1.5 * x)
    assert {float(y) for _ in range(40) for y in block(x, training=True)[:, 0]} == {1.0, 3.0}
    assert block.supports_jit == (granularity != "subset" or backend.COMPILES_DYNAMIC_LOOPS)
    for bad in (0, 1.5, None):
        with pytest.raises(ValueError, match=f"`survival_probability` must be .*={bad!r}"):
            block.survival_probability = bad
    assert StochasticDepthResidual.from_config(block.get_config()).survival_probability == 0.25
