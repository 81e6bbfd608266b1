"""What PyTorch does in its own way: dropped blocks run nothing, and their weights have gradients of zeros."""

import warnings

import keras
import numpy as np
import pytest
from engines import EXPLOSION, ON_TORCH, Bomb, only_torch
from keras import layers, ops

from keras_sd import applications, backend
from keras_sd.layers import Conv2D, DenseBlock, FusedBatchNormalization, StochasticDepthResidual, StochasticDepthStack

pytestmark = only_torch
RNG = np.random.default_rng(4)
X = RNG.normal(size=(4, 6, 6, 3)).astype("float32")
SHUT = 1e-30  # a survival probability with which no block ever survives

if ON_TORCH:
    import torch

KINDS = {
    "residual": lambda branch, p: StochasticDepthResidual(branch, None, p),
    "stack": lambda branch, p: StochasticDepthStack(branch, 3, p),
    "systematic": lambda branch, p: StochasticDepthStack(branch, 3, p, gates="systematic"),
}


def branch(*more):
    return keras.Sequential([Conv2D(3, 3, padding="same", name="conv"), FusedBatchNormalization(name="norm"), *more])


def network(layer):
    inputs = keras.Input(X.shape[1:])
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(layer(inputs))))


def fit(model, epochs=1):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras warns of weights without gradients
        model.fit(X, np.ones((4, 2)), epochs=epochs, batch_size=4, verbose=0)


@pytest.mark.parametrize("kind", KINDS)
def test_dropped_blocks_have_gradients_of_zeros_and_keras_warns_of_nothing(kind):
    layer = KINDS[kind](branch(), SHUT)
    model = network(layer)
    model.compile(keras.optimizers.SGD(0.1, 0.9), "mse")
    before = layer.get_weights()
    fit(model)
    for weight in layer.trainable_weights:
        assert weight.value.grad is not None, weight.path
        assert not weight.value.grad.any(), weight.path
    for old, new in zip(before[:-1], layer.get_weights()[:-1], strict=True):  # the last is the seed
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("kind", KINDS)
def test_momentum_of_a_dropped_block_moves_on(kind):
    """After one step with the momentum v, steps without gradients add v (m + m^2 + ...)."""
    rate, momentum = 0.1, 0.9
    layer = KINDS[kind](branch(), 1.0)
    model = network(layer)
    model.compile(keras.optimizers.SGD(rate, momentum), "mse")
    weights = [layer.get_weights()[0]]
    for p, steps in ((1.0, 1), (SHUT, 2)):
        layer.survival_probabilities = (p,) * layer.num_blocks
        for _ in range(steps):
            fit(model)
        weights.append(layer.get_weights()[0])
    step = weights[1] - weights[0]
    assert np.abs(step).max() > 1e-3
    np.testing.assert_allclose(weights[2] - weights[1], step * (momentum + momentum**2), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["residual", "stack"])
def test_dropped_blocks_run_nothing(kind):
    model = network(KINDS[kind](branch(Bomb()), SHUT))
    model.compile("sgd", "mse")
    fit(model)
    with pytest.raises(EXPLOSION, match="executed"):
        model.predict(X, verbose=0)


def test_a_dropped_layer_of_a_dense_block_runs_nothing(monkeypatch):
    block = DenseBlock(3, 2, survival_probabilities=0.5)
    block.build(X.shape)
    run = []
    monkeypatch.setattr(block, "_layer", lambda x, i, *a: run.append(i) or ops.zeros((*x.shape[:-1], 2)))
    block(X, training=True, gates=(1, 0, 1))
    assert run == [0, 2]


def test_memory_efficient_stacks_keep_less():
    kept = []
    for memory_efficient in (False, True):
        stack = StochasticDepthStack(branch(), 8, 1.0, memory_efficient=memory_efficient)
        stack.build(X.shape)
        sizes = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, s=sizes: s.update({id(t): t.numel()}) or t, lambda t: t
        ):
            outputs = stack(X, training=True)
        kept.append((sum(sizes.values()), outputs))
    assert kept[1][0] < kept[0][0]
    assert kept[1][1].requires_grad


@pytest.mark.parametrize(
    "make",
    [
        lambda: applications.MLP(widths=(16,), dropout_rate=0.5, input_shape=X.shape[1:]),
        lambda: network(DenseBlock(2, 8, dropout_rate=0.5)),
    ],
)
def test_dropout_goes_by_the_seeds_of_layers(make):
    """The state of PyTorch's own generator is in no checkpoint."""
    model, outputs = make(), []
    states = [v for v in model.variables if "seed" in v.path]
    before = [ops.convert_to_numpy(v) for v in states]
    for seed in (1, 2):
        torch.manual_seed(seed)
        for variable, value in zip(states, before, strict=True):
            variable.assign(value)
        outputs += [np.asarray(model(X, training=True)) for _ in range(2)]
    np.testing.assert_allclose(outputs[:2], outputs[2:], rtol=1e-6)
    assert not np.allclose(*outputs[:2])


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("size", "strides", "dilation"), [(3, 1, 1), (1, 1, 1), (3, 2, 1), (4, 1, 1), (2, 2, 1), (3, 1, 2)]
)
def test_convolutions_are_those_of_keras(size, strides, dilation, padding, data_format):
    x = RNG.normal(size=(2, 7, 6, 4)).astype("float32")
    x = x if data_format == "channels_last" else x.transpose(0, 3, 1, 2)
    kernel = RNG.normal(size=(size, size, 2, 6)).astype("float32")  # two groups
    arguments = {"strides": strides, "padding": padding, "data_format": data_format, "dilation_rate": dilation}
    np.testing.assert_allclose(
        backend.conv2d(x, kernel, **arguments), ops.conv(x, kernel, **arguments), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("shape", [(2, 8, 6, 4), (2, 7, 6, 4)])
def test_pooling_is_that_of_keras(shape, padding, data_format):
    x = RNG.normal(size=shape).astype("float32")
    x = x if data_format == "channels_last" else x.transpose(0, 3, 1, 2)
    arguments = {"strides": 2, "padding": padding, "data_format": data_format}
    expected = ops.average_pool(x, 2, **arguments)
    np.testing.assert_allclose(backend.average_pool(torch.as_tensor(x), 2, **arguments), expected, atol=1e-6)


def test_images_are_not_copied_for_convolutions(monkeypatch):
    """What is second to PyTorch has the memory that its kernels want."""
    x = torch.as_tensor(X)
    layouts, conv2d = [], torch.nn.functional.conv2d
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda x, *a: layouts.append(x) or conv2d(x, *a))
    y = Conv2D(5, 3, padding="same")(x)
    assert layouts[0].data_ptr() == x.data_ptr()
    assert y.is_contiguous()


LAYERS = {
    "residual": lambda p: StochasticDepthResidual(branch(), None, p, seed=1, name="layer"),
    "stack": lambda p: StochasticDepthStack(branch(), 2, p, seed=1, name="layer"),
    "dense": lambda p: DenseBlock(2, 3, survival_probabilities=p, seed=1, name="layer"),
}


def losses(make, **arguments):
    keras.utils.set_random_seed(0)
    model = network(make())
    model.compile(keras.optimizers.SGD(0.1, 0.9), "mse", **arguments)
    return [float(model.train_on_batch(X, np.ones((4, 2)))) for _ in range(4)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
@pytest.mark.parametrize(
    ("kind", "p"),
    [
        ("residual", 0.5),
        pytest.param("stack", 0.5, marks=pytest.mark.large),
        pytest.param("dense", 1.0, marks=pytest.mark.large),
    ],
)
def test_compiled_steps_are_the_eager_ones(kind, p):
    """Gates included, which Python's `if` reads between compiled pieces."""

    def make():
        return LAYERS[kind](p)

    np.testing.assert_allclose(losses(make, jit_compile=True), losses(make), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "p"), [("stack", 0.5), ("dense", 1.0)])
def test_captured_graphs_have_the_same_gradients(kind, p):
    """Without code generation, which is PyTorch's affair and takes most of the time."""

    def loss_and_gradients(compiled):
        keras.utils.set_random_seed(0)
        model = network(LAYERS[kind](p))
        forward = torch.compile(model, backend="eager") if compiled else model
        loss = torch.mean((forward(torch.as_tensor(X), training=True) - 1) ** 2)
        loss.backward()
        return [loss, *(v.value.grad for v in model.trainable_variables)]

    for found, expected in zip(loss_and_gradients(True), loss_and_gradients(False), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
