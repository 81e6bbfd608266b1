"""Training on several devices and in several processes gives what training on one gives."""

import importlib.util
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from helpers import only_jax, only_tensorflow, run_python
from typer.testing import CliRunner

from keras_sd.cli import app
from keras_sd.runs import networks
from keras_sd.training import devices

HAS_JAX = importlib.util.find_spec("jax") is not None
needs_jax = pytest.mark.skipif(not HAS_JAX, reason="JAX is not installed (extra `jax`)")

# A small network with all that must be in step over devices: gates of both kinds of layers, batch normalization
# (of which TensorFlow's replicas have statistics each: there it is frozen), a share of the batch each.
SCRIPT = """
import sys
kind, coordinator, count, index, synchronized, path = sys.argv[1:]
from keras_sd.training import devices
places = devices.choose(kind or None, coordinator or None, *((int(count), int(index), 30) if coordinator else ()))
import keras, numpy as np
from keras import layers
from keras_sd import data
from keras_sd.layers import StochasticDepthResidual, StochasticDepthStack

def branch(i):
    norm = layers.BatchNormalization(trainable=bool(int(synchronized)))
    return keras.Sequential([layers.Conv2D(4, 3, padding="same", name=f"conv{i}"), norm])

keras.utils.set_random_seed(1)
dataset = places.shard(data.load("digits"), 32)
with places.scope():
    inputs = keras.Input(dataset.input_shape)
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    x = StochasticDepthResidual(branch(1), survival_probability=0.6, seed=1)(x)
    x = StochasticDepthStack(branch(2), 2, 0.6, seed=1)(x)
    outputs = layers.Dense(10, "softmax")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.05, 0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(dataset.training_batches(32, 0), steps_per_epoch=6, epochs=1, verbose=0, shuffle=False,
                        validation_data=dataset.batches("validation"))
    scores = model.evaluate(dataset.batches("test"), verbose=0)
    weights = [keras.ops.convert_to_numpy(w).astype("float64") for w in model.weights]
if places.is_first:
    np.savez(path, *[v for values in history.history.values() for v in np.atleast_2d(values)], scores, *weights)
print("devices", len(places.names))
"""


def environment(backend, **more):
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", **more}


def start(backend, path, kind="", coordinator="", count=1, index=0, **more):
    arguments = [kind, coordinator, str(count), str(index), str(int(backend == "jax")), str(path)]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        env=environment(backend, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes):
    outputs = []
    for process in processes:
        try:
            out, err = process.communicate(timeout=200)
        finally:
            process.kill()
        assert process.returncode == 0, err[-2000:]
        outputs.append("\n".join(line for line in out.strip().splitlines() if "[Gloo]" not in line))
    return outputs


def assert_equal_runs(path, expected):
    with np.load(path) as a, np.load(expected) as b:
        assert len(a.files) == len(b.files)
        for name in a.files:
            np.testing.assert_allclose(a[name], b[name], rtol=2e-3, atol=2e-4, err_msg=name)


def free_address():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{s.getsockname()[1]}"


@only_tensorflow
@pytest.mark.slow
def test_a_mirrored_strategy_trains_as_one_device(tmp_path):
    assert finish(start("tensorflow", tmp_path / "one.npz")) == ["devices 0"]
    assert finish(start("tensorflow", tmp_path / "two.npz", "cpu:2")) == ["devices 2"]
    assert_equal_runs(tmp_path / "two.npz", tmp_path / "one.npz")


@needs_jax
@pytest.mark.large
def test_jax_devices_train_as_one(tmp_path):
    """360 test images are a multiple of 8 devices, 180 validation images are not."""
    finish(start("jax", tmp_path / "one.npz"))
    flags = {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"}
    assert finish(start("jax", tmp_path / "many.npz", "all", **flags)) == ["devices 8"]
    assert_equal_runs(tmp_path / "many.npz", tmp_path / "one.npz")


@only_jax
@pytest.mark.slow
def test_jax_processes_train_as_one(tmp_path):
    finish(start("jax", tmp_path / "one.npz"))
    address = free_address()
    both = [start("jax", tmp_path / "two.npz", "", address, 2, i) for i in range(2)]
    assert finish(*both) == ["devices 2", "devices 2"]
    assert_equal_runs(tmp_path / "two.npz", tmp_path / "one.npz")


def start_command(backend, *arguments):
    code = "from keras_sd.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment(backend),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_training(backend, out, *arguments):
    return start_command(backend, "train", "--data", "digits", "--smoke", "--batch-size", 32, "--out", out, *arguments)


@pytest.mark.large
def test_the_command_on_two_devices_recalibrates_as_on_one(tmp_path):
    """Survival probabilities that fall have the steps of both devices made anew."""
    out = tmp_path / "run"
    settings = ["--set", "recalibrate=true", "--set", "ema_momentum=0.9", "--set", "survival_warmup=1"]
    network = ["--model", "ResNet", "--set", "model_arguments={blocks: [2, 1], filters: [4, 8], stem_filters: 4}"]
    network += ["--survival-probability", 0.5]
    finish(start_training("tensorflow", out, "--devices", "cpu:2", *network, *settings))
    results = json.loads((out / "results.json").read_text())
    for weights, key in (("final", "test_accuracy_recalibrated"), ("ema", "test_accuracy_ema_recalibrated")):
        options = ["--recalibrate"] if weights == "final" else []
        line = CliRunner().invoke(app, ["evaluate", str(out), "--weights", weights, *options]).output
        assert f"test accuracy {results[key]:.4f}" in line


@needs_jax
@pytest.mark.large
def test_two_processes_of_the_command_leave_one_folder(tmp_path):
    together = ["--coordinator", free_address(), "--num-processes", "2", "--process-id"]
    processes = (start_training("jax", tmp_path / "run", "--model", "MLP", *together, str(i)) for i in range(2))
    first, second = finish(*processes)
    assert "test accuracy" in first
    assert second == ""
    assert json.loads((tmp_path / "run" / "results.json").read_text())["status"] == "complete"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"devices": "two"}, "`devices` must be a number, all"),
        ({"devices": "0"}, "`devices` must be a number, all"),
        ({"devices": "gpu:0,gpu:0"}, "`devices` must be a number, all"),
        ({"devices": "tpu:99"}, "`devices` must be of those that are there"),
        ({"devices": "99"}, "`devices` must be at most"),
        ({"num_processes": 2}, "`num_processes` must be None without a coordinator"),
        ({"process_id": 0}, "`process_id` must be None without a coordinator"),
    ],
)
def test_bad_devices(arguments, message):
    with pytest.raises(ValueError, match=message):
        devices.choose(**arguments)


@only_tensorflow
def test_processes_need_jax():
    with pytest.raises(ValueError, match=r"`coordinator` must be None on the backend 'tensorflow'"):
        devices.choose(coordinator="localhost:1234", num_processes=2, process_id=0)


@only_jax
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("all", "localhost", 2, 0), "`coordinator` must be HOST:PORT"),
        ((None, "localhost:99999", 2, 0), "`coordinator` must be HOST:PORT"),
        ((None, "localhost:1234", 2, 2), "`process_id` must be from 0 to 1"),
        ((None, "localhost:1234", 2, None), "`process_id` must be from 0 to 1"),
        ((None, "localhost:1234", None, 0), "`num_processes` must be at least 1 with"),
        (("2", "localhost:1234", 2, 0), "`devices` must be all or cpu:N"),
    ],
)
def test_bad_processes(arguments, message):
    with pytest.raises(ValueError, match=message):
        devices.choose(*arguments)


@only_jax
@pytest.mark.parametrize("process_id", [0, 1])
def test_processes_that_do_not_come(process_id):
    address = free_address()
    with pytest.raises(ConnectionError, match=rf"`coordinator` must be .* in time.*coordinator='{address}'"):
        devices.choose(coordinator=address, num_processes=2, process_id=process_id, timeout=1)


def test_a_batch_that_cannot_be_split():
    with pytest.raises(ValueError, match="`batch_size` must be a multiple of the 4 devices"):
        devices.Devices(["cpu:0"] * 4).shard(None, 30)


@pytest.mark.parametrize(
    ("asked", "work", "expected"),
    [(None, 1000, 1), (None, 1001, None), (None, None, None), (3, 10_000, 3), (3, 10, 3)],
)
def test_little_work_takes_one_thread_an_operation(asked, work, expected, monkeypatch):
    limits = []
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    monkeypatch.setattr(devices.backend, "LITTLE_WORK", 1000)
    monkeypatch.setattr(devices.backend, "accelerators", list)
    monkeypatch.setattr(devices.backend, "limit_threads", limits.append)
    assert devices.set_threads(asked, work) == expected
    assert limits == ([] if expected is None else [expected])


def test_threads_that_others_set_stay(monkeypatch):
    monkeypatch.setattr(devices.backend, "LITTLE_WORK", 1000)
    monkeypatch.setattr(devices.backend, "accelerators", list)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "2")
    assert devices.set_threads(None, 10) is None
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")
    monkeypatch.setattr(devices.backend, "accelerators", lambda: ["gpu:0"])
    assert devices.set_threads(None, 10) is None


def test_work_is_the_features_after_the_stem():
    assert networks.work("ResNet110", 8) == 8 * 32 * 32 * 16
    assert networks.work("ResNet110", 8, image_size=16) == 8 * 16 * 16 * 16
    assert networks.work("ResNet50", 2) == 2 * 56 * 56 * 64
    assert networks.work("DenseNet121", 8) is None


@pytest.mark.slow
@only_tensorflow
@pytest.mark.parametrize(
    ("options", "line"),
    [
        ((), "cpu, 1 thread per operation"),
        pytest.param(("--threads", "2"), "cpu, 2 threads per operation", marks=pytest.mark.large),
    ],
)
def test_the_header_says_the_threads(options, line, tmp_path):
    arguments = ["train", "--data", "digits", "--model", "ResNet20", "--batch-size", "4", "--smoke", "--out", "run"]
    code = f"""import sys, tensorflow as tf, keras_sd_command
sys.argv = ["keras-sd", *{[*arguments, *options]}]
try:
    keras_sd_command.main()
finally:
    print("threads", tf.config.threading.get_intra_op_parallelism_threads())"""
    process = run_python(code, tmp_path)
    assert f"on {line}" in process.stdout, process.stdout + process.stderr
    assert f"threads {line.split()[1]}" in process.stdout.splitlines()[-1]
