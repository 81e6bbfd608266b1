"""Dense blocks and transitions against NumPy, a graph of Keras layers, and their own promises."""

import keras
import numpy as np
import pytest
from engines import gradients, only_tensorflow
from keras import ops

from keras_sd import backend
from keras_sd.layers.dense import DenseBlock, TransitionLayer

PARTS = ("gamma", "beta", "moving_mean", "moving_variance")
RNG = np.random.default_rng(7)


def randomize(layer, seed=0):
    """Weights that tell everything apart: scales of both signs, statistics unlike those of the batch."""
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        if "seed" not in weight.path:
            spread = rng.normal(size=weight.shape)
            weight.assign(np.exp(spread / 2) if weight.name.endswith("variance") else spread)


def values(layer, index):
    return {part: ops.convert_to_numpy(weight) for part, (weight, _) in layer.block_weights(index).items()}


def batch_norm_relu(x, w, name, epsilon, training):
    mean, variance = w[f"{name}/moving_mean"], w[f"{name}/moving_variance"]
    if training:
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return np.maximum(0, w[f"{name}/gamma"] * (x - mean) / np.sqrt(variance + epsilon) + w[f"{name}/beta"])


def convolve(x, kernel, dilation=1):
    """Convolution with zeros around, one tap of the kernel at a time."""
    size = kernel.shape[0]
    pad = dilation * (size // 2)
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    h, w = x.shape[1:3]
    return sum(
        padded[:, dilation * i : dilation * i + h, dilation * j : dilation * j + w] @ kernel[i, j]
        for i in range(size)
        for j in range(size)
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("bottleneck", "dilation"), [(4, 1), (None, 1), (2, 2)])
def test_one_layer_is_the_papers_formula(bottleneck, dilation, training):
    block = DenseBlock(1, 3, bottleneck_width=bottleneck, dilation_rate=dilation, dtype="float64")
    block.build((None, 6, 5, 4))
    randomize(block)
    w, x = values(block, 0), RNG.normal(size=(2, 6, 5, 4))
    y = convolve(
        batch_norm_relu(x, w, "norm1", block.epsilon, training),
        w["conv1/kernel"],
        1 if bottleneck else dilation,
    )
    if bottleneck:
        y = convolve(batch_norm_relu(y, w, "norm2", block.epsilon, training), w["conv2/kernel"], dilation)
    outputs = ops.convert_to_numpy(block(x, training=training))
    np.testing.assert_allclose(outputs, np.concatenate([x, y], -1), rtol=1e-10, atol=1e-10)


def keras_block(block, inputs):
    """The same block as a graph of `keras.layers`, with a copy of its weights."""
    x, pairs = inputs, []
    for i in range(block.num_layers):
        y = x
        for j in (1, 2) if block.bottleneck_width else (1,):
            weights = {name: weight.variable for name, weight in block.block_weights(i).items()}
            norm = keras.layers.BatchNormalization(epsilon=block.epsilon, momentum=block.momentum)
            kernel = weights[f"conv{j}/kernel"]
            conv = keras.layers.Conv2D(kernel.shape[-1], kernel.shape[0], padding="same", use_bias=False)
            y = conv(keras.layers.ReLU()(norm(y)))
            pairs += [(getattr(norm, part), weights[f"norm{j}/{part}"]) for part in PARTS] + [(conv.kernel, kernel)]
        x = keras.layers.Concatenate()([x, y])
    for theirs, ours in pairs:
        theirs.assign(ops.convert_to_numpy(ours))  # a copy: JAX gives away buffers in training
    return keras.Model(inputs, x), pairs


@pytest.mark.slow
@only_tensorflow  # on JAX, `predict` and `train_on_batch` see batches of float32
def test_a_block_is_the_graph_of_keras_layers_after_a_training_step():
    keras.config.set_dtype_policy("float64")
    inputs = keras.Input((6, 6, 5))
    block = DenseBlock(3, 4, memory_efficient=False)
    ours = keras.Model(inputs, block(inputs))
    randomize(block)
    theirs, pairs = keras_block(block, inputs)
    x, y = RNG.normal(size=(4, 6, 6, 5)), RNG.normal(size=(4, 6, 6, 17))
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), rtol=1e-10, atol=1e-10)
    for model in (ours, theirs):
        model.compile(keras.optimizers.SGD(0.1, 0.9, nesterov=True), "mse")
        for _ in range(2):
            model.train_on_batch(x, y)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9, err_msg=b.path)


@pytest.mark.usefixtures("float64")
def test_transition_is_the_papers_formula():
    layer = TransitionLayer(0.5, dtype="float64")
    layer.build((None, 5, 6, 7))
    randomize(layer)
    w = {part: ops.convert_to_numpy(weight) for part, weight in layer.weights_by_name.items()}
    x = RNG.normal(size=(2, 5, 6, 7))
    for training in (False, True):
        y = convolve(batch_norm_relu(x, w, "norm", layer.epsilon, training), w["conv/kernel"])[:, :4]
        y = y.reshape(2, 2, 2, 3, 2, 3).mean((2, 4))
        np.testing.assert_allclose(layer(x, training=training), y, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_transition_moves_its_statistics_as_keras_does(policy):
    ours = TransitionLayer(0.5, momentum=0.9, dtype=policy)
    theirs = keras.layers.BatchNormalization(epsilon=ours.epsilon, momentum=0.9, dtype=policy)
    x = (RNG.normal(size=(8, 4, 4, 6)) * 3 + 2).astype("float32")
    for layer in (ours, theirs):
        layer(x, training=True)
    weights = ours.weights_by_name
    for part in PARTS[2:]:
        np.testing.assert_allclose(weights[f"norm/{part}"], getattr(theirs, part), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda **kwargs: DenseBlock(2, 3, seed=1, **kwargs),
        lambda **kwargs: DenseBlock(2, 3, bottleneck_width=None, dropout_rate=0.2, memory_efficient=False, **kwargs),
        lambda **kwargs: DenseBlock(3, 2, survival_probabilities=[1.0, 0.8, 0.6], **kwargs),
        lambda **kwargs: DenseBlock(3, 2, survival_probabilities=0.7, granularity="sample", **kwargs),
        lambda **kwargs: TransitionLayer(0.5, **kwargs),
        lambda **kwargs: TransitionLayer(0.25, pool_size=1, kernel_initializer="glorot_uniform", **kwargs),
    ],
)
def test_contract(check_layer, make):
    check_layer(make, (4, 6, 5))


@pytest.mark.parametrize(
    "layer", [DenseBlock(2, 3, data_format="channels_first"), TransitionLayer(data_format="channels_first")]
)
def test_channels_first_is_channels_last_transposed(layer):
    x = RNG.normal(size=(2, 5, 4, 6)).astype("float32")
    last = type(layer)(**{**layer.get_config(), "data_format": "channels_last", "name": "last"})
    y = layer(x)
    assert y.shape == layer.compute_output_shape(x.shape)
    last.build((2, 4, 6, 5))
    last.set_weights(layer.get_weights())
    np.testing.assert_allclose(y, np.transpose(last(np.transpose(x, (0, 2, 3, 1))), (0, 3, 1, 2)), atol=1e-5)


def test_kernels_differ_and_are_reproducible():
    def kernels(initializer):
        block = DenseBlock(2, 3, kernel_initializer=initializer, name="block")
        block.build((None, 4, 4, 5))
        return [ops.convert_to_numpy(block.block_weights(i)["conv2/kernel"].variable) for i in range(2)]

    first, second = kernels(keras.initializers.HeNormal(seed=3)), kernels(keras.initializers.HeNormal(seed=3))
    assert not np.allclose(first[0], first[1])
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(*kernels("he_normal"))


def test_kernels_by_source_are_the_kernel_in_pieces():
    block = DenseBlock(3, 2)
    block.build((None, 4, 4, 5))
    pieces = block.kernel_by_source(2)
    assert [piece.shape for piece in pieces] == [(1, 1, 5, 8), (1, 1, 2, 8), (1, 1, 2, 8)]
    np.testing.assert_array_equal(np.concatenate(pieces, 2), block.block_weights(2)["conv1/kernel"].variable)
    with pytest.raises(ValueError, match=r"from 0 to 2\. Received: index=3"):
        block.kernel_by_source(3)


# The memory-efficient step


@pytest.mark.slow
@pytest.mark.skipif(backend.dense_block is None, reason="this engine has no step of its own")
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("smallest_scale", [None, 1e-12])
@pytest.mark.parametrize("bottleneck", [None, 4])
@pytest.mark.parametrize("shape", [(8, 16, 16, 5), (3, 6, 5, 3)], ids=["two chunks", "one chunk"])
def test_the_memory_efficient_step_has_the_gradients_and_statistics_of_the_plain_one(bottleneck, shape, smallest_scale):
    x, upstream = (RNG.normal(size=(*shape[:3], channels)) for channels in (shape[3], shape[3] + 3 * 4))
    found = []
    for memory_efficient in (True, False):
        arguments = {"bottleneck_width": bottleneck, "memory_efficient": memory_efficient, "dtype": "float64"}
        block = DenseBlock(3, 4, **arguments)
        block.build(x.shape)
        randomize(block)
        if smallest_scale is not None:
            scale = block.block_weights(1)["norm1/gamma"].variable
            scale.assign([smallest_scale, *ops.convert_to_numpy(scale)[1:]])

        def loss(x, block=block):
            outputs = block(x, training=True)
            return ops.sum(outputs * ops.convert_to_tensor(upstream)), outputs

        # Of a deviation that is not 1.
        outputs, of_inputs, of_weights = gradients(loss, [3 * x + 1], block.trainable_variables, block.variables)
        # The last variable is the seed.
        found.append([outputs, *of_inputs, *of_weights, *block.non_trainable_variables[:-1]])
    for efficient, plain in zip(*found, strict=True):
        np.testing.assert_allclose(efficient, plain, rtol=1e-9, atol=1e-9)


# Stochastic depth


def test_a_dropped_layer_adds_zeros_and_is_not_touched():
    block = DenseBlock(3, 2, survival_probabilities=0.5, momentum=0.5)
    x = RNG.normal(size=(4, 4, 4, 5)).astype("float32")
    block.build(x.shape)
    randomize(block)
    before = [values(block, i) for i in range(3)]
    y = ops.convert_to_numpy(block(x, training=True, gates=[1.0, 0.0, 1.0]))
    assert (y[..., 7:9] == 0).all()
    assert (np.abs(y).max((0, 1, 2))[[5, 6, 9, 10]] > 0).all()
    after = [values(block, i) for i in range(3)]
    for part in before[1]:
        np.testing.assert_array_equal(before[1][part], after[1][part])
    # The layer behind it takes the zeros into its moving mean, and keeps their moving variance.
    old, new = before[2], after[2]
    np.testing.assert_allclose(new["norm1/moving_mean"][7:9], old["norm1/moving_mean"][7:9] / 2, rtol=1e-6)
    np.testing.assert_array_equal(new["norm1/moving_variance"][7:9], old["norm1/moving_variance"][7:9])
    assert (new["norm1/moving_variance"][:7] != old["norm1/moving_variance"][:7]).all()


def test_a_dropped_layer_is_not_computed(monkeypatch):
    block = DenseBlock(2, 2, survival_probabilities=0.5)
    computed = []
    layer = DenseBlock._layer
    monkeypatch.setattr(DenseBlock, "_layer", lambda self, x, i, *args: computed.append(i) or layer(self, x, i, *args))
    block(np.ones((1, 2, 2, 3), "float32"), gates=[0.0, 1.0])
    assert computed == [1]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("scaling", ["inference", "training"])
def test_inference_sees_what_training_sees_on_average(scaling):
    """The expectation, over the gate, of what stands before the second layer's ReLU."""
    p = 0.6
    block = DenseBlock(2, 3, survival_probabilities=[p, 1.0], momentum=0.0, scaling=scaling, dtype="float64")
    x = RNG.normal(size=(4, 4, 4, 5))
    block.build(x.shape)
    randomize(block)
    survivor_weight = 1.0 if scaling == "inference" else 1 / p
    block(x, training=True, gates=[survivor_weight, 1.0])
    kept = values(block, 1)
    y = ops.convert_to_numpy(block(x, training=True, gates=[survivor_weight, 1.0]))[..., 5:8]
    block(x, training=True, gates=[0.0, 1.0])
    dropped = values(block, 1)
    # What the moving statistics converge to: with momentum 0 each step leaves its own.
    mean = p * kept["norm1/moving_mean"] + (1 - p) * dropped["norm1/moving_mean"]
    variance = dropped["norm1/moving_variance"]
    np.testing.assert_array_equal(variance, kept["norm1/moving_variance"])
    deviation = np.sqrt(variance + block.epsilon)[5:]
    expected = p * (y - y.mean((0, 1, 2))) / deviation
    inference = (y / survivor_weight * (p if scaling == "inference" else 1.0) - mean[5:]) / deviation
    np.testing.assert_allclose(inference, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("granularity", "scaling"),
    [pytest.param("batch", "inference", marks=pytest.mark.large), ("batch", "training"), ("sample", "training")],
)
def test_gates_have_the_frequency_and_scale_asked_for(granularity, scaling):
    p, draws, batch = 0.7, 400, 2
    block = DenseBlock(1, 1, None, survival_probabilities=p, granularity=granularity, scaling=scaling, seed=5)
    x = np.abs(RNG.normal(size=(batch, 2, 2, 1))).astype("float32")
    block.build(x.shape)
    block.block_weights(0)["norm1/beta"].variable.assign([5.0])
    full = ops.convert_to_numpy(block(x, training=True, gates=[1.0]))[..., 1]
    ratios = np.array([np.asarray(block(x, training=True))[..., 1] / full for _ in range(draws)])
    open_ = np.isclose(ratios, 1.0 if scaling == "inference" else 1 / p, rtol=1e-4)
    assert (open_ | (ratios == 0)).all()
    if granularity == "batch":
        assert (open_ == open_[:, :1, :1, :1]).all()
    else:
        assert (open_[:, 0] != open_[:, 1]).any()
    gates = open_[:, 0, 0, 0]
    assert abs(gates.mean() - p) < 4 * np.sqrt(p * (1 - p) / draws)
    block.block_weights(0)["norm1/moving_mean"].variable.assign([0.0])
    weighted, plain = (np.asarray(block(x, gates=g))[..., 1] for g in (None, [1.0]))
    np.testing.assert_allclose(weighted, plain * (p if scaling == "inference" else 1.0), rtol=1e-5)


# Frozen layers


def test_frozen_normalization_uses_moving_statistics_and_kernels_train():
    block = DenseBlock(2, 3)
    x = RNG.normal(size=(4, 4, 4, 5)).astype("float32")
    block.build(x.shape)
    randomize(block)
    block.normalization_trainable = False
    assert [weight.name[-6:] for weight in block.trainable_weights] == ["kernel"] * 4
    before = block.get_weights()
    np.testing.assert_allclose(block(x, training=True), block(x, training=False), rtol=1e-6)
    for a, b in zip(before, block.get_weights()):
        np.testing.assert_array_equal(a, b)
    copy = DenseBlock.from_config(block.get_config())
    copy.build(x.shape)
    assert len(copy.trainable_weights) == 4
    block.normalization_trainable = True
    assert len(block.trainable_weights) == 12


def test_a_frozen_block_leaves_its_statistics_alone():
    block = DenseBlock(2, 3, trainable=False)
    x = RNG.normal(size=(4, 4, 4, 5)).astype("float32")
    y = block(x, training=True)
    np.testing.assert_allclose(y, block(x), rtol=1e-6)
    assert (ops.convert_to_numpy(block.block_weights(0)["norm1/moving_mean"].variable) == 0).all()


# Arguments


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("num_layers", 0),
        ("num_layers", 2.5),
        ("growth_rate", -1),
        ("growth_rate", True),
        ("bottleneck_width", -1),
        ("bottleneck_width", 0.3),
        ("dropout_rate", 1.0),
        ("memory_efficient", "always"),
        ("survival_probabilities", 0.0),
        ("survival_probabilities", float("nan")),
        ("survival_probabilities", "a"),
        ("survival_probabilities", [0.5]),
        ("survival_probabilities", [0.5, 1.5]),
        ("granularity", "subset"),
        ("scaling", "none"),
        ("dilation_rate", 0),
        ("epsilon", 0),
        ("momentum", 1.5),
        ("data_format", "NHWC"),
    ],
)
def test_bad_arguments_of_a_block(argument, value):
    with pytest.raises(ValueError, match=argument.rstrip("s")) as error:
        DenseBlock(**{"num_layers": 2, "growth_rate": 4, argument: value})
    assert str(value) in str(error.value) or "not 1 numbers" in str(error.value) or "1.5" in str(error.value)


@pytest.mark.parametrize(("argument", "value"), [("compression", 0.0), ("compression", 1.2), ("pool_size", 0)])
def test_bad_arguments_of_a_transition(argument, value):
    with pytest.raises(ValueError, match=f"`{argument}`.*Received: {argument}={value}"):
        TransitionLayer(**{argument: value})


def test_inputs_that_do_not_fit():
    with pytest.raises(ValueError, match=r"at least 2 pixels \(`pool_size`\)"):
        TransitionLayer().build((None, 1, 4, 3))
    with pytest.raises(ValueError, match="known number of channels"):
        DenseBlock(2, 3)(keras.Input((4, 4, None)))
    with pytest.raises(ValueError, match="`gates` must be 2 numbers, one for each layer"):
        DenseBlock(2, 3)(np.ones((1, 2, 2, 3)), gates=[1, 1, 1])


def test_output_shapes_need_no_tracing():
    assert DenseBlock(3, 4).compute_output_shape((None, None, 5, 6)) == (None, None, 5, 18)
    assert TransitionLayer(0.29).compute_output_shape((None, None, 5, 100)) == (None, None, 2, 29)
    assert TransitionLayer(0.1, pool_size=1).compute_output_shape((2, 3, 4, 5)) == (2, 3, 4, 1)
