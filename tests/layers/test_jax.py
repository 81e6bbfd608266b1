"""What JAX does in its own way: conditionals where they pay, everything computed where they do not."""

import keras
import numpy as np
import pytest
from engines import ON_JAX, compiled, gradients, only_jax, repeated
from keras import layers, ops

from keras_sd.layers import DenseBlock, FusedBatchNormalization, StochasticDepthResidual, StochasticDepthStack

pytestmark = only_jax
RNG = np.random.default_rng(2)
X = RNG.normal(size=(4, 6, 6, 3)).astype("float32")

if ON_JAX:
    import jax

    from keras_sd.backend.jax import loops as backend


class Counter(layers.Layer):
    """The identity, which counts how often it is executed."""

    count = 0

    def call(self, inputs):
        def note():
            Counter.count += 1

        jax.debug.callback(note, ordered=True)
        return inputs


@pytest.fixture(params=[True, False], ids=["conditionals", "masks"])
def skips(request, monkeypatch):
    """Both ways, whatever the device is."""
    monkeypatch.setattr(backend, "_skips", lambda: request.param)
    monkeypatch.setattr(Counter, "count", 0)
    return request.param


def branch():
    return keras.Sequential(
        [layers.Conv2D(3, 3, padding="same", name="conv"), FusedBatchNormalization(name="norm", momentum=0.5)]
    )


def executed(function, variables, *args):
    compiled(function, variables)(*args)
    jax.effects_barrier()
    return Counter.count


@pytest.mark.parametrize("gate", [0.0, 1.0])
def test_a_conditional_executes_what_survives(skips, gate):
    block = StochasticDepthResidual(Counter(), survival_probability=0.5)
    block.build(X.shape)
    count = executed(lambda gate: block(X, training=True, gates=gate), block.variables, np.float32(gate))
    assert count == (gate if skips else 1)


def test_a_loop_executes_what_survives(skips):
    stack = StochasticDepthStack(Counter(), 5)
    stack.build(X.shape)
    gates = np.array([1, 0, 0, 1, 0], "float32")
    count = executed(lambda gates: stack(X, training=True, gates=gates), stack.variables, gates)
    assert count == (2 if skips else 5)


def test_systematic_gates_compute_the_survivors_alone(skips):
    stack = StochasticDepthStack(Counter(), 6, 0.5, gates="systematic")
    stack.build(X.shape)
    assert executed(lambda: stack(X, training=True), stack.variables) == 3


def test_known_gates_skip_without_jit():
    block = StochasticDepthResidual(Counter(), survival_probability=0.5)
    block(X, gates=0)
    assert Counter.count == 0


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: StochasticDepthResidual(branch()),
        lambda: StochasticDepthStack(branch(), 4),
        lambda: DenseBlock(3, 2, survival_probabilities=0.5, momentum=0.5),
    ],
    ids=["residual", "stack", "dense"],
)
def test_compiled_is_what_executes_step_by_step(skips, make, policy):
    """Outputs, gradients and statistics, kept to the precision in which they are stored."""
    keras.config.set_dtype_policy(policy)
    layer = make()
    layer.build(X.shape)
    depth = getattr(layer, "depth", getattr(layer, "num_layers", None))
    before = [ops.convert_to_numpy(v) for v in layer.variables]
    pattern = np.float32(1.0) if depth is None else np.array([1, 0, 1, 0], "float32")[:depth]

    def loss(x, gates):
        y = layer(x, training=True, gates=gates)
        return ops.mean(ops.cast(y, "float32") ** 2), ops.cast(y, "float32")

    found = []
    for graph in (False, True):
        for variable, value in zip(layer.variables, before):
            variable.assign(value)
        y, _, by_weights = gradients(loss, [X, pattern], layer.trainable_variables, layer.variables, graph)
        assert all(v.dtype == "float32" for v in layer.weights)
        found.append([ops.convert_to_numpy(t) for t in (y, *by_weights, *layer.non_trainable_weights)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=(1e-5 if policy == "float32" else 5e-2) * max(1, np.abs(a).max()))
    changed = [not np.array_equal(a, ops.convert_to_numpy(v)) for a, v in zip(before, layer.variables)]
    assert any(changed)


@pytest.mark.parametrize("gates", ["independent", "systematic"])
@pytest.mark.parametrize("granularity", ["batch", "sample", "subset"])
def test_gates_drawn_under_jit_are_drawn_anew(skips, gates, granularity):
    one = layers.Dense(1, kernel_initializer="zeros", bias_initializer="ones")
    stack = StochasticDepthStack(one, 4, 0.5, activation=None, gates=gates, granularity=granularity, seed=3)
    x = np.zeros((4, 1), "float32")
    stack.build(x.shape)
    sums = repeated(lambda: stack(x, training=True), stack.variables, 300)[..., 0]
    assert abs(sums.mean() - 2) < 4 * np.sqrt(4 * 0.25 / 300)
    if granularity == "batch" and gates == "systematic":
        assert (sums == 2).all()
    elif granularity == "subset":
        assert (sums.sum(1) == 8).all()
    else:
        assert len(np.unique(sums)) == 5


def test_a_block_trains_in_fit(skips):
    inputs = keras.Input(X.shape[1:])
    x = StochasticDepthResidual(branch(), survival_probability=0.5, seed=1)(inputs)
    x = StochasticDepthStack(branch(), 3, 0.5, seed=1)(x)
    x = DenseBlock(2, 2, survival_probabilities=0.5, seed=1)(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    model.compile(keras.optimizers.SGD(0.05, 0.9), "mse")
    assert model.jit_compile
    x, y = RNG.normal(size=(32, *X.shape[1:])), np.ones((32, 2))
    losses = model.fit(x, y, batch_size=8, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("bottleneck", [None, 4])
def test_the_compiled_step_of_a_dense_block_is_exact(bottleneck):
    """Gradients of inputs and weights, and statistics, are those of the layers one by one."""
    upstream, found = RNG.normal(size=(4, 6, 6, 3 + 3 * 2)), []
    for memory_efficient in (True, False):
        block = DenseBlock(3, 2, bottleneck, memory_efficient=memory_efficient, momentum=0.5, dtype="float64")
        block.build(X.shape)
        rng = np.random.default_rng(0)
        for weight in block.weights:
            weight.assign(rng.normal(size=weight.shape))

        def loss(x, block=block):
            y = block(x, training=True)
            return ops.sum(y * upstream), y

        inputs = [3 * X.astype("float64") + 1]  # of a deviation that is not 1
        y, by_inputs, by_weights = gradients(loss, inputs, block.trainable_variables, block.variables, True)
        statistics = block.non_trainable_variables[:-1]  # the last is the seed
        found.append([ops.convert_to_numpy(t) for t in (y, *by_inputs, *by_weights, *statistics)])
    for efficient, plain in zip(*found, strict=True):
        np.testing.assert_allclose(efficient, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_the_step_of_a_dense_block_takes_less_memory():
    """By XLA's own account of a compiled step, of which the temporaries count."""
    needed = {}
    for memory_efficient in (True, False):
        block = DenseBlock(5, 12, None, memory_efficient=memory_efficient)
        block.build((16, 16, 16, 16))

        def loss(x, values, block=block):
            with keras.StatelessScope(zip(block.variables, values)):
                return ops.sum(block(x, training=True) ** 2)

        values = [v.value for v in block.variables]
        step = jax.jit(jax.grad(loss, 0)).lower(np.ones((16, 16, 16, 16), "float32"), values).compile()
        needed[memory_efficient] = step.memory_analysis().temp_size_in_bytes
    assert needed[True] < 0.7 * needed[False]
