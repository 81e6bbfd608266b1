"""What all tests share: clean global state, the contract of a layer, and reasons for skipping."""

import gc
import importlib.util
import inspect
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported

# JAX keeps what it compiles, single operations too, for other tests and for the next run. It reads this when it is
# imported. `pytest --cache-clear` empties the folder.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parent.parent / ".pytest_cache" / "d" / "jax")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import keras
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from keras_sd.utils import jax_environment

jax_environment.shorten_compilation(os.environ)  # as the command does; the workers of pytest-xdist inherit it

TEST_DATA = "KERAS_SD_TEST_DATA"
TEST_WEIGHTS = "KERAS_SD_TEST_WEIGHTS"
RESNET20 = "resnet20-12fca82f.th"  # of akamaster/pytorch_resnet_cifar10
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


if keras.backend.backend() == "torch":
    import torch

    # NumPy takes the outputs of models on the other engines; here it would refuse those that have gradients.
    _of_tensor = torch.Tensor.__array__

    def _array(tensor, dtype=None, copy=None):
        array = _of_tensor(tensor.detach(), dtype)
        return array.copy() if copy else array

    torch.Tensor.__array__ = _array


_iterate = tf.data.Dataset.__iter__


def _iterate_without_tuning(dataset):
    """Iterate without tf.data's tuning thread: deleting an iterator may wait for it, for up to a minute."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return _iterate(dataset.with_options(options))


tf.data.Dataset.__iter__ = _iterate_without_tuning  # Keras's own pipelines, of arrays, have the thread


def pytest_collection_finish():
    """Objects that stay until the end are not garbage: looking through them takes a second or two each time."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Skip, with the reason, what needs data or a library that this machine lacks."""
    missing = {}
    if importlib.util.find_spec("torch") is None:
        missing["torch"] = "PyTorch is not installed (extra `torch`)"
    if not (Path(os.environ.get(TEST_DATA, "")) / "cifar10").is_dir() or not os.environ.get(TEST_DATA):
        missing["cifar10"] = f"{TEST_DATA} names no TFDS directory that holds CIFAR-10"
    if not os.environ.get(TEST_WEIGHTS) or not (Path(os.environ[TEST_WEIGHTS]) / RESNET20).is_file():
        missing["weights"] = f"{TEST_WEIGHTS} names no directory that holds {RESNET20}"
    for item in items:
        for marker, reason in missing.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def keras_state(monkeypatch, request):
    """Every test starts from the same seed and leaves Keras's global settings as they were."""
    monkeypatch.setattr(os, "fsync", lambda file: None)  # tests survive no power failure, and disks may be slow
    for name in [n for n in os.environ if n.startswith("KERAS_SD_") and n not in (TEST_DATA, TEST_WEIGHTS)]:
        monkeypatch.delenv(name)
    policy = keras.config.dtype_policy()
    floatx, epsilon = keras.config.floatx(), keras.config.epsilon()
    data_format = keras.config.image_data_format()
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_floatx(floatx)
    keras.config.set_epsilon(epsilon)
    keras.config.set_image_data_format(data_format)
    keras.config.set_dtype_policy(policy)
    # To collect garbage among all objects of TensorFlow takes half a second: after large networks only.
    keras.utils.clear_session(free_memory=request.node.get_closest_marker("large") is not None)


@pytest.fixture(scope="session")
def cifar10_dir():
    """The TFDS directory with CIFAR-10; ask for it together with the marker `cifar10`."""
    return Path(os.environ[TEST_DATA]).resolve()


@pytest.fixture(scope="session")
def resnet20_file():
    """The published weights of ResNet-20; ask for them together with the marker `weights`."""
    return Path(os.environ[TEST_WEIGHTS]).resolve() / RESNET20


@pytest.fixture(scope="session")
def digits():
    """The data set of scanned digits."""
    from keras_sd import data

    return data.load("digits")


@pytest.fixture
def refuses(tmp_path, monkeypatch):
    """`refuses(arguments, message)`: the command says that in one line, ends with exit code 2, and leaves no file."""
    from keras_sd.cli import app

    def check(arguments, message):
        monkeypatch.chdir(tmp_path)
        process = CliRunner().invoke(app, arguments)
        assert process.exit_code == 2, process.output
        assert process.stderr.startswith("keras-sd: error: ")
        assert len(process.stderr.strip().splitlines()) == 1
        assert message in process.stderr
        assert not list(tmp_path.iterdir())

    return check


@pytest.fixture
def check_layer(tmp_path):
    """The contract of every public layer, as a function.

    `check_layer(make, input_shape)`: `make(**kwargs)` builds the layer and passes `kwargs` (`dtype`, `name`)
    on to it; `input_shape` has no batch axis. Keyword arguments: `batch_size`; `policies` to run under;
    `has_weights=False` for a layer without trainable weights; `inputs`, in place of normal noise.
    Returns the layer after its training steps, for further assertions.
    """

    def check(make, input_shape, *, batch_size=4, policies=POLICIES, has_weights=True, inputs=None):
        if inputs is None:
            inputs = np.random.default_rng(0).normal(size=(batch_size, *input_shape)).astype("float32")
        _check_config(make)
        for policy in policies:
            _check_policy(make, policy, inputs)
        model = _model(make(name="layer"), inputs.shape[1:])
        _check_file(model, inputs, tmp_path / "layer.keras")
        _check_training(model, inputs, has_weights)
        return model.get_layer("layer")

    return check


def _model(layer, input_shape):
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, layer(inputs))


def _check_config(make):
    """Arguments are attributes and keys of the configuration, which is JSON and makes an equal layer."""
    layer = make(name="layer")
    own_init = vars(type(layer)).get("__init__", lambda self: None)  # inherited ones are Keras's affair
    arguments = set(inspect.signature(own_init).parameters) - {"self", "args", "kwargs"}
    assert arguments <= set(layer.get_config())
    assert all(hasattr(layer, argument) for argument in arguments)
    document = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert document["registered_name"] == f"keras_sd>{type(layer).__name__}"
    copy = keras.saving.deserialize_keras_object(document)
    assert type(copy) is type(layer)
    assert json.dumps(keras.saving.serialize_keras_object(copy)) == json.dumps(document)


def _check_policy(make, policy, inputs):
    """Outputs have the policy's compute type and the announced shape, variables its storage type."""
    expected = keras.DTypePolicy(policy)
    layer = make(dtype=policy)
    shape = layer.compute_output_shape(inputs.shape)
    for training in (False, True):
        outputs = layer(inputs, training=training)
        assert tuple(outputs.shape) == tuple(shape)
        assert keras.backend.standardize_dtype(outputs.dtype) == expected.compute_dtype
        assert np.isfinite(keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32"))).all()
    for weight in layer.trainable_weights + layer.non_trainable_weights:
        if weight.dtype.startswith("float"):
            assert weight.dtype == expected.variable_dtype
    symbolic = make(dtype=policy)(keras.KerasTensor((None, *inputs.shape[1:])))
    assert tuple(symbolic.shape) == (None, *shape[1:])
    assert symbolic.dtype == expected.compute_dtype


def _check_file(model, inputs, path):
    """A `.keras` file gives the same weights, and equal outputs to the last bit."""
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert [weight.path for weight in loaded.weights] == [weight.path for weight in model.weights]
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), model.predict(inputs, verbose=0))


def _check_training(model, inputs, has_weights):
    """Training on one batch keeps everything finite, and moves some weight if there is one to move."""
    before = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    assert bool(before) is has_weights
    model.compile(keras.optimizers.SGD(0.01), "mse")
    targets = np.ones((len(inputs), *model.output_shape[1:]), "float32")
    for _ in range(3):  # a stochastic layer may sit out a step
        assert np.isfinite(model.train_on_batch(inputs, targets))
    after = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    assert all(np.isfinite(weight).all() for weight in after)
    if has_weights:
        assert any((a != b).any() for a, b in zip(after, before))
