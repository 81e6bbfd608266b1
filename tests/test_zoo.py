"""Every model of the table: it computes, trains, is saved and printed, with the arguments that its family promises."""

import dataclasses

import keras
import numpy as np
import pytest
from helpers import noise, shape_only

from keras_sd import applications, layers
from keras_sd.applications import MODELS


def one_block_a_stage():
    """A row for each form: networks that differ in depth alone are the same then."""
    forms = {}
    for name, row in MODELS.items():
        if row.family == "perceptron":
            continue
        blocks = (1,) * len(row.spec.blocks)
        forms.setdefault((row.family, dataclasses.replace(row.spec, blocks=blocks)), (name, blocks))
    return list(forms.values())


# The small ones are built whole, of the others each form with one block a stage; `large` builds all whole.
WHOLE = ("Perceptron", "MLP", "PlainNet20", "ResNet20", "DenseNet40")
ROWS = [
    *(pytest.param(name, {}, id=name) for name in WHOLE),
    *(
        pytest.param(name, {"blocks": blocks}, id=f"{name}, one block a stage")
        for name, blocks in one_block_a_stage()
        if name not in WHOLE
    ),
    *(pytest.param(name, {}, id=name, marks=[pytest.mark.large]) for name in MODELS if name not in WHOLE),
]
SURVIVING = {name: row for name, row in MODELS.items() if row.spec.survival_probabilities and row.family != "plainnet"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments"), ROWS)
def test_model_computes_trains_saves_and_prints(name, arguments, tmp_path):
    row = MODELS[name]
    arguments = {**arguments, **({"survival_probability": 0.5} if name in SURVIVING else {})}
    model = applications.get_model(row.name, weights=None, input_shape=(32, 32, 3), classes=5, **arguments)
    x = noise(2, 32, 32, 3)
    before = model(x)
    assert before.shape == (2, 5)
    assert np.isfinite(before).all() or row.spec.num_blocks > 100  # untrained, so many blocks overflow float32
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), before)
    assert all(map(np.array_equal, loaded.get_weights(), model.get_weights()))
    lines = []
    model.summary(print_fn=lines.append)
    assert f"{sum(np.prod(w.shape) for w in model.trainable_weights):,}" in "\n".join(lines)
    # Eagerly: one step is not worth a graph. Clipped: gradients of untrained networks explode without shortcuts, and
    # where statistics are those of two numbers (as in keras.applications), and a whole step of them would, too.
    optimizer = keras.optimizers.SGD(0.01, global_clipnorm=1.0)
    model.compile(optimizer, "sparse_categorical_crossentropy", run_eagerly=True)
    assert np.isfinite(model.train_on_batch(x, np.array([0, 4])))
    # In training mode: moving statistics after one step are those of no layer, and hundreds of blocks multiply that.
    assert np.isfinite(model(x, training=True)).all()
    assert all(np.isfinite(keras.ops.convert_to_numpy(w)).all() for w in model.trainable_weights)


# ------------------------------------------------------------------------------------------- stochastic depth


@pytest.mark.parametrize("name", ["ResNet20", "ResNet18", "ResNet50V2", "DenseNetBC100", "DenseNet121"])
def test_survival_probabilities_reach_the_layers_in_order(name):
    row = SURVIVING[name]
    model = shape_only(name, survival_probability=0.2)
    found = []
    for layer in model.layers:
        if isinstance(layer, layers.StochasticDepthResidual):
            found.append(layer.survival_probability)
        elif isinstance(layer, layers.StochasticDepthStack | layers.DenseBlock):
            found.extend(layer.survival_probabilities)
    count = row.spec.num_blocks
    np.testing.assert_allclose(found, [1 - (l + 1) / count * 0.8 for l in range(count)])  # noqa: E741


@pytest.mark.parametrize("name", SURVIVING)
def test_depth_is_constant_unless_asked_for(name):
    assert set(SURVIVING[name].spec.survival_probabilities) == {1.0}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ResNet", {"depth": 14}),
        ("ResNet18", {"blocks": (2, 2), "filters": (4, 8)}),
        ("ResNet50V2", {"blocks": (2, 2), "filters": (4, 8)}),
        ("DenseNet", {"depth": 10, "growth_rate": 4}),
        ("DenseNet121", {"blocks": (2, 2), "growth_rate": 4}),
    ],
)
def test_training_is_random_and_inference_is_not(name, arguments):
    arguments = {**arguments, "input_shape": (16, 16, 3), "classifier_activation": None, "weights": None}
    model = applications.get_model(name, survival_probability=0.3, survival_schedule="uniform", **arguments)
    x = noise(4, 16, 16, 3)
    outputs = [np.array(model(x, training=True)) for _ in range(8)]
    assert any((a != outputs[0]).any() for a in outputs)
    np.testing.assert_array_equal(model(x), model(x))


@pytest.mark.slow
def test_stacked_and_block_by_block_forms_are_arguments():
    for name in ("ResNet34", "ResNet50V2"):
        blocks = shape_only(name)
        assert not [layer for layer in blocks.layers if isinstance(layer, layers.StochasticDepthStack)]
        stacked = shape_only(name, stacked=True)
        stacks = [layer for layer in stacked.layers if isinstance(layer, layers.StochasticDepthStack)]
        assert len(stacks) == 4
        assert sum(np.prod(w.shape) for w in stacked.trainable_weights) == MODELS[name].parameters
    with pytest.raises(ValueError, match='`stacked` must be True with gates="systematic"'):
        applications.ResNet34(gates="systematic", weights=None)
    with pytest.raises(ValueError, match="nothing would be left of a dropped block"):
        applications.PlainNet20(survival_probability=0.5)


# -------------------------------------------------------------------------------------------- images as they come


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MLP", "ResNet20", "ResNet18", "DenseNet40"])
def test_rescale_takes_raw_noise(name):
    arguments = {"input_shape": (32, 32, 3), "classes": 5, "weights": None}
    model, raw = (applications.get_model(name, rescale=rescale, **arguments) for rescale in (False, True))
    raw.set_weights(model.get_weights())
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(raw(x), model(x / 255), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "module"), [("ResNet50", "resnet"), ("ResNet50V2", "resnet_v2"), ("DenseNet121", "densenet")]
)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_rescale_prepares_images_as_published_weights_need_them(name, module, data_format, monkeypatch):
    """Without a network: in place of the file of weights, none is loaded."""
    monkeypatch.setattr("keras_sd.weights.sources.Source.read", lambda source: None)
    monkeypatch.setattr("keras_sd.weights.loading.build_and_load", lambda build, content, adapt: build())
    keras.config.set_image_data_format(data_format)
    size = (32, 32, 3) if data_format == "channels_last" else (3, 32, 32)
    blocks = MODELS[name].spec.blocks
    model = getattr(applications, name)(False, "imagenet", input_shape=size, rescale=True, blocks=blocks)
    x = np.random.default_rng(0).integers(0, 256, (2, *size)).astype("float32")
    rescaled = keras.Model(model.input, model.get_layer("rescale").output)(x)
    expected = getattr(keras.applications, module).preprocess_input(x.copy())
    np.testing.assert_allclose(rescaled, expected, atol=1e-4)


def test_rescale_with_published_weights_needs_their_channels(monkeypatch):
    monkeypatch.setattr("keras_sd.weights.sources.fetch", lambda row: pytest.fail("nothing is to be fetched"))
    with pytest.raises(ValueError, match="`rescale` must be False for images of 1 channels"):
        applications.ResNet50(weights="imagenet", rescale=True, input_shape=(32, 32, 1))


@pytest.mark.parametrize("name", ["MLP", "ResNet20", "ResNet50V2", "DenseNetBC100", "DenseNet121", "PlainNet20"])
def test_channels_first_shapes(name):
    keras.config.set_image_data_format("channels_first")
    row = MODELS[name]
    model = shape_only(name)
    assert model.input_shape == (None, 3, *row.input_shape[:2])
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == row.parameters


def test_two_stacks_of_one_stage_differ_in_name():
    """Between two dilation rates a block stands alone, though it keeps the shape."""
    model = shape_only("ResNet", blocks=(2, 3), filters=(8, 8), stem_filters=8, output_stride=1)
    names = [layer.name for layer in model.layers]
    assert "stage2_block1" in names
    assert "stage2_blocks" in names


# ------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ResNet", {}, "`depth` must be given, or else `blocks`"),
        ("ResNet", {"depth": 20, "blocks": (1,)}, "`depth` must be given, or else `blocks`"),
        ("ResNet", {"depth": 21}, r"`depth` must be 6n \+ 2.*depth=21"),
        ("ResNet", {"depth": "20"}, "`depth` must be 6n"),
        ("ResNet", {"blocks": ()}, "`blocks` must be a sequence of positive integers"),
        ("ResNet", {"blocks": (2, 0), "filters": (4, 8)}, "`blocks` must be a sequence of positive integers"),
        ("ResNet", {"blocks": (2, 2)}, r"`filters` must be as long as `blocks`, 2"),
        ("ResNet", {"depth": 8, "shortcut": "identity"}, "`shortcut` must be one of"),
        ("ResNet", {"depth": 8, "block": "wide"}, "`block` must be one of"),
        ("ResNet", {"depth": 8, "stem": "vit"}, "`stem` must be one of"),
        ("ResNet", {"depth": 8, "granularity": "pixel"}, "`granularity` must be one of"),
        ("ResNet", {"depth": 8, "scaling": "both"}, "`scaling` must be one of"),
        ("ResNet", {"depth": 8, "gates": "fixed"}, "`gates` must be one of"),
        ("ResNet", {"depth": 8, "memory_efficient": "yes"}, "`memory_efficient` must be one of"),
        ("ResNet18", {"memory_efficient": True}, "`memory_efficient` must be False without stacked blocks"),
        ("ResNet", {"depth": 8, "seed": 1.5}, "`seed` must be an integer or None"),
        ("ResNet", {"depth": 8, "epsilon": 0}, "`epsilon` must be a positive number"),
        ("ResNet", {"depth": 8, "momentum": 1}, r"`momentum` must be a number in \[0, 1\)"),
        ("ResNet", {"depth": 8, "survival_probability": float("nan")}, "`survival_probability` must be"),
        ("DenseNet", {}, "`depth` must be given, or else `blocks`"),
        ("DenseNet", {"depth": 41}, r"`depth` must be 6n \+ 4.*with bottlenecks"),
        ("DenseNet", {"depth": 41, "bottleneck": False}, r"`depth` must be 3n \+ 4.*without bottlenecks"),
        ("DenseNet", {"depth": 10, "growth_rate": 0}, "`growth_rate` must be an integer from 1 to 1,000,000"),
        ("DenseNet", {"depth": 10, "compression": 0}, r"`compression` must be a number in \(0, 1\]"),
        ("DenseNet", {"depth": 10, "dropout_rate": 1}, r"`dropout_rate` must be a number in \[0, 1\)"),
        ("DenseNet", {"depth": 10, "bottleneck_width": -1}, "`bottleneck_width` must be a positive integer, or 0"),
        ("DenseNet", {"depth": 10, "memory_efficient": "yes"}, "`memory_efficient` must be one of"),
        ("DenseNet", {"depth": 10, "granularity": "subset"}, "`granularity` must be one of"),
        ("MLP", {"input_shape": (None, None, 3)}, "`input_shape` must be three positive integers"),
        ("MLP", {"include_top": False, "pooling": "avg"}, "`pooling` must be one of"),
    ],
)
def test_bad_arguments_name_what_came_and_what_is_allowed(name, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        applications.get_model(name, **arguments)
    assert "must be" in str(error.value)


def test_an_unknown_argument_is_named():
    with pytest.raises(TypeError, match="has no drop_rate"):
        applications.ResNet20(drop_rate=0.5)
