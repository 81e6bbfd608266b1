"""A stack is the same network as its blocks one by one: outputs, gradients, statistics, steps of optimizers."""

import keras
import numpy as np
import pytest
from engines import gradients as differentiate
from engines import only_tensorflow
from keras import layers, ops

from keras_sd import backend
from keras_sd.layers import FusedBatchNormalization, StochasticDepthResidual, StochasticDepthStack

DEPTH = 4
PATTERNS = {"none": (0, 0, 0, 0), "all": (1, 1, 1, 1), "one": (0, 0, 1, 0), "three": (1, 0, 1, 1)}
OPTIMIZERS = {
    "nesterov": lambda: keras.optimizers.SGD(0.1, 0.9, nesterov=True),
    "weight decay": lambda: keras.optimizers.SGD(0.1, 0.9, weight_decay=1e-2),
    "adam": lambda: keras.optimizers.Adam(1e-2),
    "adamw": lambda: keras.optimizers.AdamW(1e-2, weight_decay=1e-2),
    "global clipping": lambda: keras.optimizers.SGD(0.1, 0.9, nesterov=True, global_clipnorm=0.5),
    "clipping by value": lambda: keras.optimizers.SGD(0.1, 0.9, nesterov=True, clipvalue=0.01),
}


def branch():
    return keras.Sequential(
        [
            layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv1"),
            FusedBatchNormalization(name="norm1"),
            layers.ReLU(name="relu"),
            layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv2"),
            FusedBatchNormalization(name="norm2"),
        ],
        name="branch",
    )


def weights_of(block):
    return {f"{layer.name}/{w.name}": w for layer in block.branch.layers for w in layer.weights}


def pair(shape=(2, 6, 6, 4)):
    """A stack, and layers block by block with the same numbers."""
    stack = StochasticDepthStack(branch(), DEPTH, 0.5)
    stack.build(shape)
    blocks = []
    for weights in stack.unstacked_weights():
        block = StochasticDepthResidual(branch(), survival_probability=0.5)
        block.build(shape)
        own = weights_of(block)
        assert set(own) == set(weights)
        for name, value in weights.items():
            own[name].assign(value)
        blocks.append(block)
    return stack, blocks


def data():
    rng = np.random.default_rng(1)
    return rng.normal(size=(2, 6, 6, 4)).astype("float32"), rng.normal(size=(2, 6, 6, 4)).astype("float32")


def gradients(forward, parts, x, target, **options):
    def loss(x):
        outputs = forward(x)
        return ops.mean(ops.square(outputs - ops.convert_to_tensor(target))), outputs

    variables = [v for part in parts for v in part.trainable_variables]
    outputs, _, by_variables = differentiate(loss, [x], variables, [v for p in parts for v in p.variables], **options)
    return outputs, by_variables


def relative(a, b):
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    return np.abs(a - b).max() / max(np.abs(b).max(), 1e-3)


def both(stack, blocks, gates, training=True):
    def stacked(x):
        return stack(x, gates=gates, training=training)

    def one_by_one(x):
        for block, gate in zip(blocks, gates):
            x = block(x, gates=gate, training=training)
        return x

    return stacked, one_by_one


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_outputs_gradients_and_statistics(pattern, graph):
    stack, blocks = pair()
    x, target = data()
    stacked, one_by_one = both(stack, blocks, PATTERNS[pattern])
    outputs, grads = gradients(stacked, [stack], x, target, graph=graph)
    expected, expected_grads = gradients(one_by_one, blocks, x, target, graph=graph)
    assert relative(outputs, expected) < 1e-5
    for place, grad in enumerate(grads):
        for i in range(DEPTH):
            assert relative(grad[i], expected_grads[i * len(grads) + place]) < 1e-5
    for i, weights in enumerate(stack.unstacked_weights()):
        for name, expected in weights_of(blocks[i]).items():
            assert relative(weights[name], expected) < 1e-5


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weights_after_three_steps(optimizer):
    stack, blocks = pair()
    x, target = data()
    of_blocks = [w for block in blocks for w in block.trainable_variables]
    optimizers = OPTIMIZERS[optimizer](), OPTIMIZERS[optimizer]()
    for pattern in ("three", "one", "all"):
        for forward, parts, variables, steps in zip(
            both(stack, blocks, PATTERNS[pattern]),
            ([stack], blocks),
            (stack.trainable_variables, of_blocks),
            optimizers,
        ):
            _, grads = gradients(forward, parts, x, target)
            steps.apply(grads, variables)
    for i, weights in enumerate(stack.unstacked_weights()):
        for name, expected in weights_of(blocks[i]).items():
            # Adam divides by the size of a gradient: where that is rounding, so is the step.
            assert relative(weights[name], expected) < (1e-3 if "adam" in optimizer else 1e-5), name


def test_activations_that_change_what_they_made_are_refused():
    with pytest.raises(ValueError, match=r"`activation` must be one of .*'relu'.*Received: activation='tanh'"):
        StochasticDepthStack(branch(), DEPTH, 0.5, activation="tanh")


def test_inference_weighs_by_survival_probabilities():
    stack, blocks = pair()
    x, _ = data()
    expected = x
    for block in blocks:
        expected = block(expected)
    assert relative(stack(x), expected) < 1e-5


def assert_equal_to_the_plain_loop(branch, survival_probability, training, **arguments):
    """Outputs, gradients and what is left in weights and states are those of a stack without these arguments."""
    x, target = data()
    config, results = StochasticDepthStack(branch, DEPTH, survival_probability, seed=5).get_config(), []
    stacks = [StochasticDepthStack.from_config({**config, **changes}) for changes in ({}, arguments)]
    for stack in stacks:
        stack.build(x.shape)
    stacks[1].set_weights(stacks[0].get_weights())
    for stack in stacks:
        outputs, grads = gradients(lambda x, s=stack: s(x, training=training), [stack], x, target, graph=True)
        results.append([outputs, *grads, *(v.value for v in stack.variables)])
    for value, expected in zip(*results, strict=True):
        assert relative(value, expected) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_unrolled(training):
    assert_equal_to_the_plain_loop(branch(), 1.0, training, unroll=True)


@pytest.mark.slow
@pytest.mark.parametrize("unroll", [False, True], ids=["loop", "unrolled"])
@pytest.mark.parametrize("survival_probability", [pytest.param(1.0, marks=pytest.mark.large), 0.5])
def test_memory_efficient(survival_probability, unroll):
    """What is computed again is the same, dropout included."""
    with_dropout = keras.Sequential([*branch().layers, layers.Dropout(0.5, seed=3)])
    arguments = {"memory_efficient": True, "unroll": unroll}
    assert_equal_to_the_plain_loop(with_dropout, survival_probability, True, **arguments)


@pytest.mark.slow
@only_tensorflow
def test_memory_efficient_keeps_less():
    """Of the tensors that a loop saves for its gradient there are fewer."""
    import tensorflow as tf

    saved = []
    for memory_efficient in (False, True):
        stack = StochasticDepthStack(branch(), DEPTH, 0.5, memory_efficient=memory_efficient)
        stack.build((2, 6, 6, 4))
        x, target = data()

        @tf.function
        def run(x, target, stack=stack):
            return gradients(lambda x: stack(x, training=True), [stack], x, target)[1]

        graph = run.get_concrete_function(x, target).graph
        saved.append(sum(len(op.outputs) for op in graph.get_operations() if "While" in op.type))
    assert saved[1] <= saved[0] - 5  # one at least of each of the branch's five layers


def test_a_dropped_block_is_left_as_it_was():
    stack, _ = pair()
    x, target = data()
    before = stack.unstacked_weights()
    stacked, _ = both(stack, [], PATTERNS["one"])
    _, grads = gradients(stacked, [stack], x, target)
    after = stack.unstacked_weights()
    for i in (0, 1, 3):
        assert all(np.array_equal(before[i][name], after[i][name]) for name in before[i])
        assert not any(np.asarray(grad[i]).any() for grad in grads)
    assert any(not np.array_equal(before[2][name], after[2][name]) for name in before[2])


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_trains(policy):
    keras.config.set_dtype_policy(policy)
    inputs = keras.Input((6, 6, 4))
    x = StochasticDepthStack(branch(), DEPTH, 0.9, seed=1)(inputs)
    outputs = layers.Dense(3, dtype="float32")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.02, 0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 48)
    x = rng.normal(size=(48, 6, 6, 4)).astype("float32") + y[:, None, None, None]
    losses = model.fit(x, y, batch_size=16, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    assert {w.dtype for w in model.trainable_weights} == {"float32"}


@pytest.mark.parametrize("gates", ["independent", "systematic"])
def test_survival_probabilities_may_be_set_later(gates):
    one = layers.Dense(1, kernel_initializer="zeros", bias_initializer="ones")
    stack = StochasticDepthStack(one, 3, 0.5, activation=None, gates=gates)
    x = np.zeros((1, 1), "float32")
    stack(x)
    stack.survival_probabilities = 1
    assert stack.supports_jit
    assert stack.survival_probabilities == (1.0,) * 3
    np.testing.assert_array_equal(stack(x, training=True), [[3.0]])
    stack.survival_probabilities = np.array([1.0, 1e-30, 1.0])
    assert stack.supports_jit == (gates == "systematic" or backend.COMPILES_DYNAMIC_LOOPS)
    np.testing.assert_array_equal(stack(x, training=True), [[2.0]])
    np.testing.assert_array_equal(stack(x), [[2.0]])
    for bad, name in (([0.5, 0.5], "2 numbers"), ([0.5, 0.5, 2.0], r"\[2\]=2.0"), (0, "=0")):
        with pytest.raises(ValueError, match=f"`survival_probabilities.*{name}"):
            stack.survival_probabilities = bad
    assert StochasticDepthStack.from_config(stack.get_config()).survival_probabilities == (1.0, 1e-30, 1.0)
