"""The networks whose weights timm publishes: equal functions and gradients, with weights from timm's own files."""

import importlib.util
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_sd import applications, weights
from keras_sd.weights.layouts import from_torch, torch_name

pytestmark = [pytest.mark.torch, pytest.mark.slow]

NAMES = applications.list_models(weights="tv_in1k")
# One network of each kind of block; the others differ in their numbers alone.
FORMS = ("ResNet18", "ResNet50", "DenseNet121")
large_but_forms = [pytest.param(name, marks=[] if name in FORMS else [pytest.mark.large]) for name in NAMES]


class Anything(type):
    """A class that has every attribute."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return f"{cls.__name__}.{name}"


class EmptyModule(types.ModuleType):
    """A module that has every class."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name, (), {})


class EmptyTorchvision:
    """Imports every module of torchvision as one of empty classes: timm's models need no more of it."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torchvision":
            return importlib.util.spec_from_loader(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return EmptyModule(spec.name)

    def exec_module(self, module):
        pass


@pytest.fixture(scope="module")
def timm():
    """timm, without torchvision where that is not installed."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed: pip install --no-deps timm")
    if importlib.util.find_spec("torchvision") is not None:
        import timm

        return timm
    finder = EmptyTorchvision()
    sys.meta_path.insert(0, finder)
    try:
        import timm
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
    return timm


def twins(timm, name, size, folder, dtype="float32"):
    """A model of timm with random weights, and ours with the same, read from a file as timm writes them."""
    import torch

    torch.manual_seed(0)
    theirs = timm.create_model(name.lower(), num_classes=10).to(getattr(torch, dtype))
    with torch.no_grad():
        for module in theirs.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.0)
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    torch.save(theirs.state_dict(), folder / "model.pth")
    arguments = weights.required_arguments(weights.find(name, "tv_in1k"), {})
    common = {"weights": None, "classes": 10, "classifier_activation": None, "input_shape": (size, size, 3)}
    mine = applications.get_model(name, **common, **arguments)
    return theirs, weights.load(mine, folder / "model.pth")


def images(size, count, dtype="float32"):
    # In single precision first: inputs of a Keras model are, whatever its policy says.
    x = np.random.default_rng(0).normal(size=(count, size, size, 3)).astype("float32").astype(dtype)
    return x, np.ascontiguousarray(x.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("size", [64, pytest.param(224, marks=pytest.mark.large)])
@pytest.mark.parametrize("name", large_but_forms)
def test_outputs_equal(timm, name, size, tmp_path):
    import torch

    theirs, mine = twins(timm, name, size, tmp_path)
    x, x_torch = images(size, 2)
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(x_torch)).numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(mine(x), expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize(
    "name", ["ResNet18", *(pytest.param(n, marks=pytest.mark.large) for n in NAMES if n != "ResNet18")]
)
def test_gradients_equal(timm, name, tmp_path):
    """In double precision: in single, ReLUs near their edge fall to one side or the other by rounding."""
    import torch

    keras.config.set_dtype_policy("float64")
    theirs, mine = twins(timm, name, 64, tmp_path, "float64")
    x, x_torch = images(64, 4, "float64")
    labels = np.arange(4)
    logits = theirs.train()(torch.from_numpy(x_torch))
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
    expected = {key: from_torch(p.grad.numpy()) for key, p in theirs.named_parameters()}
    found = gradients(mine, x, labels, name.startswith("DenseNet"))
    assert set(found) == set(expected)
    for key, gradient in expected.items():
        assert np.abs(found[key] - gradient).max() <= 1e-6 * (np.abs(gradient).max() + 1e-6), key


def gradients(model, x, labels, is_dense):
    """Gradients of the mean cross-entropy in training, by the names of timm."""
    variables = model.trainable_weights

    def compute():
        with tf.GradientTape() as tape:
            losses = keras.losses.sparse_categorical_crossentropy(labels, model(x, training=True), from_logits=True)
            loss = keras.ops.mean(losses)
        return tape.gradient(loss, [v.value for v in variables])

    by_id = {id(v): g.numpy() for v, g in zip(variables, compute())}
    slots = weights.canonical(model).items()
    return {torch_name(n, is_dense): by_id[id(s.variable)] for n, s in slots if id(s.variable) in by_id}
