"""Drop-in for keras.applications: equal functions and gradients, and the same behavior of every argument."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import noise, randomize, shape_only

from keras_sd import applications, weights

# Channels of the last feature map.
FEATURES = {
    "ResNet50": 2048,
    "ResNet101": 2048,
    "ResNet152": 2048,
    "ResNet50V2": 2048,
    "ResNet101V2": 2048,
    "ResNet152V2": 2048,
    "DenseNet121": 1024,
    "DenseNet169": 1664,
    "DenseNet201": 1920,
}
SMALLEST = ("ResNet50", "ResNet50V2", "DenseNet121")


def ours(name, /, **arguments):
    return applications.get_model(name, **{"weights": None, **arguments})


def twins(name, **arguments):
    """A model of keras.applications with random weights, and ours with the same."""
    theirs = randomize(getattr(keras.applications, name)(weights=None, **arguments))
    return theirs, weights.copy(theirs, ours(name, **arguments))


# ------------------------------------------------------------------------------------------------- equality


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ResNet50", pytest.param("ResNet50V2", marks=pytest.mark.large), "DenseNet121"])
def test_outputs_equal_at_64(name):
    theirs, mine = twins(name, input_shape=(64, 64, 3), classes=10, classifier_activation=None)
    x = noise(2, 64, 64, 3)
    expected = keras.ops.convert_to_numpy(theirs(x))
    assert expected.std() > 0.01
    np.testing.assert_allclose(mine(x), expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.large
@pytest.mark.parametrize("name", FEATURES)
def test_outputs_equal_at_224_with_and_without_top(name):
    x = noise(1, 224, 224, 3)
    theirs, mine = twins(name)
    np.testing.assert_allclose(mine(x), theirs(x), atol=1e-5)
    if name not in SMALLEST:
        return
    theirs, mine = twins(name, include_top=False, pooling="avg")
    expected = keras.ops.convert_to_numpy(theirs(x))
    np.testing.assert_allclose(mine(x), expected, atol=1e-5 * max(1, np.abs(expected).max()))


def gradients(model, x, labels):
    """Gradients of the mean cross-entropy in training, by the canonical names of the weights."""
    variables = model.trainable_weights

    def compute():
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))
        return tape.gradient(loss, [v.value for v in variables])

    by_id = {id(v): g.numpy() for v, g in zip(variables, compute())}
    slots = weights.canonical(model).items()
    return {name: by_id[id(slot.variable)] for name, slot in slots if id(slot.variable) in by_id}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.large) if n != "ResNet50V2" else n for n in SMALLEST]
)
def test_outputs_and_gradients_equal_at_64(name):
    # In double precision: in single, ReLUs near their edge fall to one side or the other by rounding.
    keras.config.set_dtype_policy("float64")
    theirs, mine = twins(name, input_shape=(64, 64, 3), classes=10, classifier_activation=None)
    x, labels = noise(4, 64, 64, 3).astype("float64"), np.arange(4)
    np.testing.assert_allclose(mine(x), theirs(x), rtol=1e-8)
    expected, found = (gradients(model, x, labels) for model in (theirs, mine))
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        scale = np.abs(gradient).max() + 1e-6
        assert np.abs(found[name] - gradient).max() <= 1e-6 * scale, name


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("ResNet50", marks=pytest.mark.large), "ResNet50V2"])
def test_stacked_form_equals_the_blocks(name):
    arguments = {"input_shape": (64, 64, 3), "classes": 10, "blocks": (3, 4, 6, 3)}
    blocks = randomize(ours(name, **arguments))
    stack = weights.copy(blocks, ours(name, stacked=True, **arguments))
    assert len(stack.layers) < len(blocks.layers)
    np.testing.assert_allclose(stack(noise(2, 64, 64, 3)), blocks(noise(2, 64, 64, 3)), atol=1e-5)


# ------------------------------------------------------------- what keras.applications promises of its arguments

OFTEN = ("PlainNet20", "ResNet20", "ResNet18", "ResNet50", "ResNet50V2", "WideResNet40_4", "DenseNet40", "DenseNet121")
ALL = [
    pytest.param(name, marks=[] if name in OFTEN else [pytest.mark.large])
    for name, row in applications.MODELS.items()
    if row.family != "perceptron"
]
FORMATS = ("channels_last", "channels_first")


def features_of(name):
    return FEATURES.get(name) or shape_only(name, include_top=False).output_shape[-1]


def ordered(data_format, height, width, channels):
    return (height, width, channels) if data_format == "channels_last" else (channels, height, width)


@pytest.mark.slow
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", ALL)
def test_without_a_top_any_size_and_number_of_channels(name, data_format):
    expected = features_of(name)
    keras.config.set_image_data_format(data_format)
    for channels in (1, 4):
        model = shape_only(name, include_top=False, input_shape=ordered(data_format, None, None, channels))
        assert model.output_shape[1:] == ordered(data_format, None, None, expected)
    model = shape_only(name, include_top=False, input_shape=ordered(data_format, 123, 123, 3))
    stride = 4 if applications.MODELS[name].input_shape[0] == 32 else 32
    size = 123 // stride if "DenseNet" in name else -(-123 // stride)  # average pooling drops an odd row
    assert model.output_shape[1:] == ordered(data_format, size, size, expected)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", ALL)
def test_upon_a_tensor(name, data_format):
    expected = features_of(name)
    keras.config.set_image_data_format(data_format)
    with keras.StatelessScope(initialize_variables=False):
        inputs = keras.Input(ordered(data_format, 200, 200, 4), name="custom_input")
        tensor = keras.layers.Conv2D(3, 2, strides=2)(inputs)
    model = shape_only(name, include_top=False, input_tensor=tensor, pooling="max")
    assert model.output_shape == (None, expected)
    assert model.inputs[0] is inputs


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_pooling_classes_and_activation(name):
    for pooling in ("avg", "max"):
        assert shape_only(name, include_top=False, pooling=pooling).output_shape == (None, features_of(name))
    model = shape_only(name, classes=7, classifier_activation="sigmoid", name="mine")
    assert model.name == "mine"
    assert model.output_shape == (None, 7)
    assert model.layers[-1].activation is keras.activations.sigmoid
    default = shape_only(name)
    assert default.layers[-1].activation is keras.activations.softmax
    assert default.input_shape[1:] == applications.MODELS[name].input_shape


@pytest.mark.parametrize("name", FEATURES)
def test_arguments_and_defaults_are_those_of_keras(name):
    theirs = inspect.signature(getattr(keras.applications, name)).parameters.values()
    mine = list(inspect.signature(getattr(applications, name)).parameters.values())
    assert [(p.name, p.default, p.kind) for p in mine[:8]] == [(p.name, p.default, p.kind) for p in theirs]
    assert {p.kind for p in mine[8:]} == {inspect.Parameter.KEYWORD_ONLY}


def test_default_weights_are_the_published_ones(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_SD_OFFLINE", "1")
    monkeypatch.setenv("KERAS_SD_HOME", str(tmp_path))
    defaults = {
        n: inspect.signature(getattr(applications, n)).parameters["weights"].default for n in applications.MODELS
    }
    assert {name for name, default in defaults.items() if default == "imagenet"} == set(FEATURES)
    assert {default for name, default in defaults.items() if name not in FEATURES} == {None}
    with pytest.raises(ValueError, match=r"resnet50_weights_tf_dim_ordering_tf_kernels\.h5"):
        applications.ResNet50()
    with pytest.raises(ValueError, match=r"densenet121_weights_tf_dim_ordering_tf_kernels_notop\.h5"):
        applications.DenseNet121(include_top=False)


@pytest.mark.slow
def test_without_a_top_the_size_is_open_as_in_keras():
    for name in ("ResNet50", "DenseNet121"):
        theirs = getattr(keras.applications, name)(include_top=False, weights=None)
        assert shape_only(name, include_top=False).input_shape == theirs.input_shape
        assert shape_only(name, include_top=False).output_shape == theirs.output_shape


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name in SMALLEST else pytest.param(name, marks=pytest.mark.large) for name in FEATURES]
)
def test_names_of_blocks_and_taps_are_those_of_keras(name):
    with keras.StatelessScope(initialize_variables=False):
        theirs = getattr(keras.applications, name)(weights=None)
    mine = shape_only(name)
    if name.startswith("DenseNet"):
        # Stem, end of each block, before and behind each pooling, the end.
        blocks = applications.MODELS[name].spec.blocks
        wanted = {f"conv{stage + 2}_block{count}_concat" for stage, count in enumerate(blocks)}
        wanted |= {f"pool{i}_{part}" for i in (2, 3, 4) for part in ("conv", "pool")}
        wanted |= {"conv1_relu", "pool1", "relu", "avg_pool", "predictions"}
    else:
        wanted = {layer.name for layer in theirs.layers if layer.name.endswith("_out")}
        wanted |= {"conv1_conv", "pool1_pool", "avg_pool", "predictions"}
        wanted |= {"post_relu"} if name.endswith("V2") else {"conv1_relu"}
    for layer in sorted(wanted):
        assert mine.get_layer(layer).output.shape == theirs.get_layer(layer).output.shape, layer


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.large) for name in ("ResNet50", "ResNet50V2")), "DenseNet121"]
)
def test_taps_hold_the_same_maps(name):
    theirs, mine = twins(name, input_shape=(64, 64, 3), include_top=False)
    tap = "conv4_block6_out" if name != "DenseNet121" else "conv4_block24_concat"
    x = noise(2, 64, 64, 3)
    expected, found = (
        keras.ops.convert_to_numpy(keras.Model(m.input, m.get_layer(tap).output)(x)) for m in (theirs, mine)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "imagenett"}, "`weights` must be one of .*'imagenet'.*Received: weights='imagenett'"),
        ({"weights": "/no/such/file.h5"}, "`weights` must be a file that exists"),
        ({"weights": 3}, "`weights` must be None"),
        ({"classes": 0}, "`classes` must be an integer of at least 1.*classes=0"),
        ({"classes": "10"}, "`classes` must be an integer of at least 1"),
        ({"pooling": "sum", "include_top": False}, "`pooling` must be one of .*'sum'"),
        ({"include_top": None}, "`include_top` must be one of True, False"),
        ({"input_shape": (224, 224)}, "`input_shape` must be three positive integers"),
        ({"input_shape": (16, 224, 3)}, "`input_shape` must be at least 32x32"),
        ({"input_shape": (224, 224, None)}, "`input_shape` must be a shape with a number of channels"),
        ({"input_shape": (-1, 224, 3)}, "`input_shape` must be three positive integers"),
        ({"input_tensor": np.zeros((1, 64, 64, 3))}, "`input_tensor` must be a Keras tensor"),
        ({"classifier_activation": "softmaxx"}, "`classifier_activation` must be None, a name"),
        ({"name": "a/b"}, "`name` must be None or a string"),
        ({"rescale": "yes"}, "`rescale` must be one of True, False"),
        ({"output_stride": 12}, "`output_stride` must be None or one of"),
        ({"survival_probability": 0}, r"`survival_probability` must be a number in \(0, 1\]"),
        ({"survival_probability": 1.5}, "`survival_probability` must be"),
        ({"survival_schedule": "cosine"}, "`survival_schedule` must be one of"),
        ({"survival_schedule": (0.5, 0.5)}, "`survival_schedule` must be one number for each of the"),
        ({"weights": "imagenet", "classifier_activation": "relu"}, "`classifier_activation` must be None or"),
        ({"weights": "imagenet", "epsilon": 1e-3}, "`epsilon` must be 1.001e-05 for the weights"),
        (
            {"weights": "imagenet", "blocks": (1, 1, 1, 1)},
            "`blocks` must be .* for the weights.*weights=None is random",
        ),
        ({"weights": "imagenet", "survival_probability": 0.5}, '`scaling` must be "training"'),
    ],
)
@pytest.mark.parametrize("name", ["ResNet50", "DenseNet121"])
def test_bad_arguments_are_refused_before_anything_is_built(name, arguments, message, monkeypatch):
    monkeypatch.setenv("KERAS_SD_OFFLINE", "1")
    monkeypatch.setattr(keras.layers.Layer, "build", lambda *_: pytest.fail("something was built"))
    monkeypatch.setattr("keras_sd.weights.sources.fetch", lambda file: pytest.fail(f"{file.url} was fetched"))
    with pytest.raises(ValueError, match=message):
        ours(name, **arguments)
