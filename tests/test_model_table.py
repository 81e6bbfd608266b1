"""What the table of models says: figures counted by others' means, and a page that is fresh."""

import ast
import inspect
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import only_tensorflow, shape_only

from keras_sd import applications, layers
from keras_sd.analysis.cost import flops
from keras_sd.applications import MODELS, _registry, _stubs

# Billions of multiply-adds: He et al. (2016), table 1; Huang et al.'s networks as torchvision's documentation has them.
PUBLISHED = {
    "ResNet18": 1.8,
    "ResNet34": 3.6,
    "ResNet50": 3.8,
    "ResNet101": 7.6,
    "ResNet152": 11.3,
    "DenseNet121": 2.83,
    "DenseNet161": 7.73,
    "DenseNet169": 3.36,
    "DenseNet201": 4.29,
}
DEEP = ("ResNet101", "ResNet152", "DenseNet161", "DenseNet201")  # counted by `make test-all`


def profiled(model):
    """Operations of convolutions and matrix products, by TensorFlow's profiler, for one example."""

    @tf.function
    def forward(x):
        return model(x, training=False)

    graph = forward.get_concrete_function(tf.TensorSpec((1, *model.input_shape[1:]))).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    profile = tf.compat.v1.profiler.profile(graph, cmd="op", options=options)
    counts = {}

    def walk(node):
        counts[node.name] = node.float_ops
        for child in node.children:
            walk(child)

    walk(profile)
    return counts.get("Conv2D", 0) + counts.get("MatMul", 0)


@pytest.mark.slow
@only_tensorflow
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ResNet50", {"blocks": (1, 2, 1, 1)}),
        ("ResNet50V2", {"blocks": (1, 2, 1, 1), "stride_in": "first"}),
        ("ResNet18", {"output_stride": 8}),
        ("DenseNet", {"blocks": (2, 3), "growth_rate": 4}),
        ("DenseNet", {"depth": 10, "bottleneck": False}),
        ("DenseNet121", {"blocks": (2, 1, 2, 1)}),
        ("PlainNet", {"depth": 8}),
        ("MLP", {}),
    ],
)
def test_flops_are_what_tensorflow_counts(name, arguments):
    shape = (32, 32, 3) if "121" not in name else (64, 64, 3)
    model = applications.get_model(name, input_shape=shape, weights=None, **arguments)
    assert flops(model) == profiled(model) > 0


@pytest.mark.slow
def test_flops_of_a_stack_are_those_of_its_blocks():
    arguments = {"depth": 20, "input_shape": (16, 16, 3), "survival_probability": 0.5}
    stack, blocks = (applications.ResNet(stacked=stacked, **arguments) for stacked in (True, False))
    assert flops(stack) == flops(blocks) == profiled(applications.ResNet(stacked=False, **arguments))
    assert flops(stack, expected=True) == pytest.approx(flops(blocks, expected=True))


def test_expected_flops_weigh_each_branch_by_its_survival_probability():
    def model(shut):
        """Two equal blocks, one of which survives surely."""
        x = inputs = keras.Input((8, 8, 4))
        for i in range(2):
            branch = keras.Sequential([keras.layers.Conv2D(4, 3, padding="same", use_bias=False)])
            x = layers.StochasticDepthResidual(branch, survival_probability=shut if i else 1.0)(x)
        return keras.Model(inputs, x)

    block = 2 * 8 * 8 * 3 * 3 * 4 * 4
    assert flops(model(0.25)) == 2 * block
    assert flops(model(0.25), expected=True) == pytest.approx(1.25 * block)


@pytest.mark.slow
def test_flops_by_size_and_bad_input():
    model = applications.ResNet18(input_shape=(None, None, 3), include_top=False)
    assert flops(model, (64, 64, 3)) == 4 * flops(model, (32, 32, 3))
    with pytest.raises(ValueError, match="`input_shape` must be given without None"):
        flops(model)
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match="DepthwiseConv2D are not known"):
        flops(keras.Model(inputs, keras.layers.DepthwiseConv2D(3)(inputs)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "billions"),
    [
        pytest.param(name, billions, marks=[pytest.mark.large] if name in DEEP else [])
        for name, billions in PUBLISHED.items()
    ],
)
def test_flops_round_to_the_published_ones(name, billions):
    digits = len(f"{billions}".split(".")[1])
    # He et al. cut off rather than round: 3.66 is printed as 3.6.
    assert flops(shape_only(name)) / 2e9 == pytest.approx(billions, abs=0.07 if digits == 1 else 0.006)


@pytest.mark.parametrize("row", MODELS.values(), ids=MODELS)
def test_depth_is_that_of_the_name(row):
    number = re.search(r"\d+", row.name)
    # The paper's DenseNet-264 has 130 layers of two convolutions, 3 transitions, a stem and a classifier: 265.
    # That of wide networks counts the three projections, which no other paper does, and not the classifier.
    odd = {"Perceptron": 1, "MLP": 3, "DenseNet264": 265, "WideResNet28_10": 26, "WideResNet40_4": 38}
    expected = odd.get(row.name) or int(number.group())
    assert row.depth == expected


@pytest.mark.slow
def test_page_of_models_is_fresh():
    page = Path(__file__).parent.parent / "docs" / "models.md"
    assert page.read_text(encoding="utf-8") == applications.models_table(), (
        "docs/models.md is out of date: python -m keras_sd.applications._cards docs/models.md"
    )


def test_the_stub_is_fresh_and_has_the_signatures():
    file = Path(applications.__file__).with_suffix(".pyi")
    assert file.read_text(encoding="utf-8") == _stubs.stub(), (
        f"{file} is out of date: python -m keras_sd.applications._stubs applications/__init__.pyi"
    )
    stubs = {node.name: node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert set(MODELS) < set(stubs) < set(dir(applications))
    for name, stub in stubs.items():
        parameters = inspect.signature(getattr(applications, name)).parameters
        assert [a.arg for a in stub.args.args + stub.args.kwonlyargs] == list(parameters)


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match=r"`name` must be new: .*ResNet20"):
        _registry.register(MODELS["ResNet20"])


def test_card_states_what_is_known():
    card = applications.model_card("densenet121")
    facts = ("# DenseNet121", "7,978,856", "5,668,323,328", "6 + 12 + 24 + 16", "25.02 %", "224x224x3", "table 3")
    assert [fact for fact in facts if fact not in card] == []
    assert re.search(r"`tv_in1k`: .*license Apache-2.0.*0\.485", card)
    assert "None are published" in applications.model_card("PlainNet20")
    with pytest.raises(ValueError, match=r"such as .*DenseNet121"):
        applications.model_card("DenseNet120")


def test_models_are_listed_by_family_and_weights():
    assert applications.list_models() == list(MODELS)
    assert applications.list_models("resnet_v2") == [
        *("ResNet164", "ResNet1001", "ResNet50V2", "ResNet101V2", "ResNet152V2")
    ]
    assert applications.list_models("resnet", "cifar10")[::5] == ["ResNet20", "ResNet1202"]
    assert "DenseNet161" in applications.list_models(weights="tv_in1k")
    assert "DenseNet161" not in applications.list_models(weights="imagenet")
    some, none = applications.list_models(weights=True), applications.list_models(weights=False)
    assert sorted(some + none) == sorted(MODELS)
    assert "PlainNet20" in none
    with pytest.raises(ValueError, match="`family` must be a known name, such as resnet"):
        applications.list_models("resnets")
    with pytest.raises(ValueError, match="`weights` must be a known name, such as imagenet"):
        applications.list_models(weights="imagnet")


def test_constructors_are_found_by_name():
    model = applications.get_model("resnet", depth=8, input_shape=(8, 8, 1))
    assert model.name == "resnet"
    with pytest.raises(ValueError, match="`name` must be a known name, such as ResNet"):
        applications.get_model("ResNet51")
    with pytest.raises(ValueError, match="`name` must be one of"):
        applications.get_model(50)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("resnet", "resnet"), ("resnet_v2", "resnet_v2"), ("densenet", "densenet")],
)
def test_families_have_the_preprocessing_of_keras(ours, theirs):
    import importlib

    module = importlib.import_module(f"keras_sd.applications.{ours}")
    reference = getattr(keras.applications, theirs)
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype("float32")
    np.testing.assert_array_equal(module.preprocess_input(x.copy()), reference.preprocess_input(x.copy()))
    assert module.decode_predictions is reference.decode_predictions
