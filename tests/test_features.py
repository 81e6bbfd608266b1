"""Maps by scale, frozen parts, other classifiers, dilation: values, not only shapes."""

import keras
import numpy as np
import pytest
from helpers import noise, randomize

import keras_sd
from keras_sd import applications, layers

SMALL = {"blocks": (2, 2, 2, 2), "filters": (4, 8, 12, 16), "stem_filters": 4, "classes": 5}


def small(name, **arguments):
    """A named network for ImageNet with few channels."""
    return randomize(applications.get_model(name, **{**SMALL, "weights": None, **arguments}))


def small_densenet(**arguments):
    arguments = {"blocks": (2, 2, 2, 2), "growth_rate": 4, "classes": 5, "weights": None, **arguments}
    return randomize(applications.DenseNet121(**arguments))


# --------------------------------------------------------------------------------------------- feature pyramid


@pytest.mark.parametrize(
    ("name", "include_top", "taps"),
    [
        ("ResNet18", True, ("conv2_block2_out", "conv3_block2_out", "conv4_block2_out", "conv5_block2_out")),
        ("ResNet50", False, ("conv2_block2_out", "conv3_block2_out", "conv4_block2_out", "conv5_block2_out")),
        # Strides stand in the last block of a stage: the maps before them are one block earlier.
        ("ResNet50V2", False, ("conv2_block1_out", "conv3_block1_out", "conv4_block1_out", "post_relu")),
    ],
)
def test_pyramid_holds_the_last_map_of_each_stride(name, include_top, taps):
    model = small(name, input_shape=(64, 64, 3), include_top=include_top)
    pyramid = keras_sd.feature_pyramid(model)
    x = noise(2, 64, 64, 3)
    outputs = pyramid(x)
    assert list(outputs) == ["P2", "P3", "P4", "P5"]
    expected = keras.Model(model.input, [model.get_layer(tap).output for tap in taps])(x)
    for level, (tap, value) in enumerate(zip(outputs.values(), expected), 2):
        assert tap.shape[1:3] == (64 // 2**level,) * 2
        np.testing.assert_array_equal(tap, value)


@pytest.mark.slow
def test_pyramid_of_stacks_plain_networks_and_densenets():
    x = noise(2, 32, 32, 3)
    for model in (
        applications.ResNet(depth=14),
        applications.PlainNet(depth=14),
        applications.DenseNet(depth=10, growth_rate=4),
    ):
        pyramid = keras_sd.feature_pyramid(model)
        outputs = pyramid(x)
        assert {name: value.shape[1] for name, value in outputs.items()} == {"P0": 32, "P1": 16, "P2": 8}
        head = keras.Model(model.get_layer("avg_pool").input, model.output)
        np.testing.assert_allclose(head(outputs["P2"]), model(x), atol=1e-6)


def test_pyramid_of_an_imagenet_densenet_taps_before_the_transitions():
    model = small_densenet(input_shape=(None, None, 3))
    outputs = keras_sd.feature_pyramid(model)(noise(1, 64, 96, 3))
    assert {name: value.shape[1:] for name, value in outputs.items()} == {
        "P2": (16, 24, 16),
        "P3": (8, 12, 16),
        "P4": (4, 6, 16),
        "P5": (2, 3, 16),
    }
    assert np.asarray(outputs["P5"]).min() >= 0  # behind the last ReLU


@pytest.mark.slow
def test_pyramid_saves_and_trains(tmp_path):
    pyramid = keras_sd.feature_pyramid(applications.ResNet(depth=8, input_shape=(16, 16, 1), survival_probability=0.5))
    pyramid.save(tmp_path / "pyramid.keras")
    x = noise(2, 16, 16, 1)
    loaded = keras.saving.load_model(tmp_path / "pyramid.keras")
    outputs = pyramid.predict(x, verbose=0)
    for name, value in loaded.predict(x, verbose=0).items():
        np.testing.assert_array_equal(value, outputs[name])
    pyramid.compile("sgd", dict.fromkeys(("P0", "P1", "P2"), "mse"))
    targets = {name: np.zeros_like(value) for name, value in outputs.items()}
    assert np.isfinite(pyramid.train_on_batch(x, targets)).all()


def test_pyramid_refuses_models_without_blocks():
    with pytest.raises(ValueError, match="residual or dense blocks"):
        keras_sd.feature_pyramid(applications.MLP())
    with pytest.raises(TypeError, match=r"`model` must be a functional Keras model. Received: model='ResNet18'"):
        keras_sd.feature_pyramid("ResNet18")


# --------------------------------------------------------------------------------------------------- dilation


@pytest.mark.slow
@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [("ResNet18", {}), ("ResNet50", {}), ("ResNet50", {"stride_in": "middle"}), ("ResNet50V2", {})],
)
def test_dilated_network_computes_the_same_at_more_positions(name, arguments, output_stride):
    arguments = {"input_shape": (128, 96, 3), "include_top": False, "blocks": (1, 1, 2, 2), **arguments}
    model, dilated = small(name, **arguments), small(name, output_stride=output_stride, **arguments)
    dilated.set_weights(model.get_weights())
    x = noise(2, 128, 96, 3)
    coarse, fine = np.array(model(x)), np.array(dilated(x))
    assert fine.shape[1:3] == (128 // output_stride, 96 // output_stride)
    factor = 32 // output_stride
    assert np.abs(coarse).max() > 0.1
    np.testing.assert_allclose(fine[:, ::factor, ::factor], coarse, atol=1e-5 * np.abs(coarse).max())


def test_output_stride_of_densenets_keeps_size_and_dilates():
    model = small_densenet(input_shape=(64, 64, 3), include_top=False, output_stride=8)
    assert model.output_shape == (None, 8, 8, 16)
    rates = [layer.dilation_rate for layer in model.layers if isinstance(layer, layers.DenseBlock)]
    assert rates == [1, 1, 2, 4]
    assert list(keras_sd.feature_pyramid(model).output) == ["P2", "P3"]
    plain = small_densenet(input_shape=(64, 64, 3), include_top=False, output_stride=32)
    assert plain.output_shape == (None, 2, 2, 16)


@pytest.mark.parametrize("output_stride", [0, 2, 12, "8", True])
def test_output_stride_is_checked(output_stride):
    with pytest.raises(ValueError, match=r"`output_stride` must be None or one of \(4, 8, 16, 32\)"):
        applications.ResNet18(output_stride=output_stride)


# --------------------------------------------------------------------------------------------------- freezing


TWO_STAGES = {"blocks": (2, 3), "filters": (4, 8), "input_shape": (16, 16, 2)}
MODELS = {
    "stacks": lambda: applications.ResNet(stem_filters=4, **TWO_STAGES),
    "blocks": lambda: small("ResNet18", **TWO_STAGES),
    "preactivation": lambda: small("ResNet50V2", **TWO_STAGES),
    "stacked preactivation": lambda: small("ResNet50V2", stacked=True, **TWO_STAGES),
    "dense": lambda: small_densenet(blocks=(2, 2), input_shape=(16, 16, 2)),
    "plain": lambda: applications.PlainNet(stem_filters=4, **TWO_STAGES),
}
KINDS = [
    pytest.param(kind, marks=[pytest.mark.slow] if kind in ("preactivation", "stacked preactivation", "plain") else [])
    for kind in MODELS
]
CUT = {  # a layer in the middle of each
    "stacks": "stage1_blocks",
    "blocks": "conv3_block1_out",
    "preactivation": "conv3_block1_out",
    "stacked preactivation": "conv3_block1_out",
    "dense": "pool2_conv",
    "plain": "stage2_block1",
}
NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def labels(model, some=None):
    """Weights by number and path: in a loaded model paths are not unique."""
    wanted = {id(w) for layer in some or [model] for w in layer.weights}
    return [f"{i} {w.path}" for i, w in enumerate(model.weights) if id(w) in wanted]


def changed_by_training(model):
    """Labels of the weights that training moves."""
    before = [keras.ops.convert_to_numpy(w).copy() for w in model.weights]
    eagerly = not any(isinstance(layer, layers.DenseBlock) for layer in model.layers)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", run_eagerly=eagerly)
    x = noise(8, *model.input_shape[1:])
    model.train_on_batch(x, np.arange(8) % model.output_shape[-1])
    after = [keras.ops.convert_to_numpy(w) for w in model.weights]
    return {label for label, a, b in zip(labels(model), after, before) if (a != b).any()}


def is_norm(path):
    return path.endswith(NORM)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_batch_normalization_stands_still_and_the_rest_trains(kind):
    model = keras_sd.freeze(MODELS[kind]())
    changed = changed_by_training(model)
    assert not {path for path in changed if is_norm(path)}
    # A bias between a convolution and its normalization by moving statistics trains too, as all kernels do.
    assert {label for label in labels(model) if label.endswith("kernel")} <= changed


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_frozen_batch_normalization_uses_moving_statistics_in_training(kind):
    model = randomize(MODELS[kind]())
    x = noise(4, *model.input_shape[1:])
    assert np.abs(model(x, training=True) - model(x, training=False)).max() > 1e-4
    randomize(model)  # the call in training moved its statistics
    keras_sd.freeze(model)
    np.testing.assert_allclose(model(x, training=True), model(x, training=False), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_up_to_a_name_stand_still(kind, batch_norm):
    model = MODELS[kind]()
    upto = CUT[kind]
    keras_sd.freeze(model, upto, batch_norm=batch_norm)
    names = [layer.name for layer in model.layers]
    frozen = set(labels(model, model.layers[: names.index(upto) + 1]))
    behind = set(labels(model, model.layers[names.index(upto) + 1 :]))
    changed = changed_by_training(model)
    assert not changed & frozen
    assert {path for path in behind if path.endswith("kernel")} <= changed
    norms = {path for path in behind if is_norm(path)}
    assert norms
    assert not changed & norms if batch_norm else norms <= changed


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_frozen_parts_stay_frozen_in_a_file_and_thaw(kind, tmp_path):
    model = keras_sd.freeze(MODELS[kind]())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [w.shape for w in loaded.trainable_weights] == [w.shape for w in model.trainable_weights]
    assert not any(is_norm(path) for path in changed_by_training(loaded))
    keras_sd.unfreeze(loaded)
    loaded.save(tmp_path / "thawed.keras")
    thawed = keras.saving.load_model(tmp_path / "thawed.keras")
    for model in (loaded, thawed):
        norms = {label for label in labels(model) if is_norm(label)}
        assert norms <= changed_by_training(model)


def test_freeze_refuses_unknown_layers_and_freezes_nothing():
    model = applications.ResNet(depth=8, input_shape=(8, 8, 1))
    count = len(model.trainable_weights)
    with pytest.raises(ValueError, match=r"`upto` must be None or the name of a layer.*'conv9'"):
        keras_sd.freeze(model, "conv9")
    assert len(model.trainable_weights) == count


def test_freeze_serves_models_of_keras():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="a"), keras.layers.BatchNormalization()])
    keras_sd.freeze(model, "a")
    assert model.trainable_weights == []


# ---------------------------------------------------------------------------------------------- another classifier


@pytest.mark.slow
def test_replaced_head_shares_the_features():
    model = applications.ResNet(depth=8, input_shape=(8, 8, 1), classes=10)
    new = keras_sd.replace_head(model, 3, activation=None)
    assert new.output_shape == (None, 3)
    assert new.name == model.name
    assert new.get_layer("stem_conv") is model.get_layer("stem_conv")
    x = noise(2, 8, 8, 1)
    features = keras.Model(model.input, model.get_layer("avg_pool").output).predict(x, verbose=0)
    kernel, bias = new.get_layer("predictions").get_weights()
    np.testing.assert_allclose(new.predict(x, verbose=0), features @ kernel + bias, atol=1e-5)
    np.testing.assert_allclose(model.predict(x, verbose=0).sum(1), 1, atol=1e-6)  # the old one is as it was


@pytest.mark.parametrize("pooling", [None, "max"])
def test_models_without_a_head_get_one(pooling):
    model = applications.DenseNet(False, input_shape=(8, 8, 1), blocks=(1, 1), growth_rate=2, pooling=pooling)
    new = keras_sd.replace_head(model, 4, dropout_rate=0.5)
    probabilities = new.predict(noise(2, 8, 8, 1), verbose=0)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    assert ("max_pool" if pooling else "avg_pool") in [layer.name for layer in new.layers]


def test_a_sequential_model_gets_another_head():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2, name="old")])
    new = keras_sd.replace_head(model, 5)
    assert [layer.name for layer in new.layers[1:]] == [model.layers[0].name, "predictions"]
    assert new(noise(2, 4)).shape == (2, 5)


@pytest.mark.parametrize(
    "end",
    [
        lambda x: keras.layers.Activation("softmax", dtype="float32")(x),
        lambda x: keras.layers.Softmax()(x),
        lambda x: keras.layers.Softmax()(keras.layers.Activation("linear")(x)),
        lambda x: keras.ops.softmax(x),
        lambda x: keras.layers.Activation("sigmoid")(x),
    ],
)
def test_a_softmax_of_its_own_goes_with_the_old_classifier(end):
    inputs = keras.Input((4,))
    features = keras.layers.Dense(3, "relu", name="features")(inputs)
    model = keras.Model(inputs, end(keras.layers.Dense(2, name="old")(features)))
    new = keras_sd.replace_head(model, 5, activation=None)
    assert [layer.name for layer in new.layers[1:]] == ["features", "predictions"]
    x = noise(3, 4)
    kernel, bias = new.get_layer("predictions").get_weights()
    np.testing.assert_allclose(new(x), keras.Model(inputs, features)(x) @ kernel + bias, atol=1e-6)


def test_the_classifier_at_the_end_of_a_nested_model_is_left_out():
    base = applications.ResNet(depth=8, filters=(4, 4, 8), stem_filters=4, input_shape=(8, 8, 1))
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, keras.layers.Softmax()(base(inputs, training=False)))
    new = keras_sd.replace_head(model, 5, activation=None)
    x = noise(4, 8, 8, 1)
    kernel, bias = new.get_layer("predictions").get_weights()
    features = keras.Model(base.input, base.get_layer("avg_pool").output)
    expected = features(x) @ kernel + bias
    np.testing.assert_allclose(new(x, training=False), expected, atol=1e-5)
    np.testing.assert_array_equal(base.get_layer("stem_conv").kernel, new.get_layer(base.name).layers[1].kernel)


def test_hidden_layers_that_end_in_an_activation_are_features():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hidden"), keras.layers.ReLU()])
    assert keras_sd.replace_head(model, 5).get_layer("predictions").input is model.layers[-1].output


@pytest.mark.parametrize("rate", [True, 1, -0.1, float("nan"), "0.5"])
def test_replaced_head_checks_its_dropout(rate):
    with pytest.raises(ValueError, match=r"`dropout_rate` must be a number in \[0, 1\)"):
        keras_sd.replace_head(applications.MLP(), 3, dropout_rate=rate)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("derive", [keras_sd.feature_pyramid, lambda model: keras_sd.replace_head(model, 3)])
def test_derived_models_are_called_as_theirs(derive):
    derive(applications.ResNet(depth=8, input_shape=(8, 8, 1)))(noise(2, 8, 8, 1))


@pytest.mark.parametrize("classes", [0, -1, 2.5, "3", True])
def test_replaced_head_checks_its_classes(classes):
    with pytest.raises(ValueError, match="`classes` must be an integer of at least 1"):
        keras_sd.replace_head(applications.MLP(), classes)
