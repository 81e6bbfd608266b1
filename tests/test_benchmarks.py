"""The harness, the peers against the papers and each other, and the tables. Speed is never asserted."""

import functools
import importlib.util
import itertools
import json
import pathlib
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
import typer
from helpers import only_tensorflow
from typer.testing import CliRunner

from keras_sd.benchmarks import harness, keras_peers, machine, performance_page, profiling, runners, suite, worker
from keras_sd.benchmarks.task import (
    CONTESTANTS,
    ENGINES,
    IMAGENET_NETWORKS,
    Task,
    cifar_network,
    survival_probabilities,
)
from keras_sd.cli.bench import bench

# Millions: He et al. 2016, table 6; Huang et al. 2017, table 2.
PAPERS = {
    "ResNet20": 0.27,
    "ResNet32": 0.46,
    "ResNet44": 0.66,
    "ResNet56": 0.85,
    "ResNet110": 1.7,
    "ResNet1202": 19.4,
    "DenseNet40": 1.0,
    "DenseNet100": 7.0,
    "DenseNet100_k24": 27.2,
    "DenseNetBC100": 0.8,
    "DenseNetBC250": 15.3,
    "DenseNetBC190": 25.6,
}


# The peers


@pytest.mark.torch
@pytest.mark.parametrize("name", PAPERS)
def test_torch_peers_have_the_parameters_of_the_papers(name):
    torch_peers = pytest.importorskip("keras_sd.benchmarks.torch_peers")
    model = torch_peers.build(cifar_network(name))
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    digits = len(str(PAPERS[name]).partition(".")[2])
    # The paper truncates 27.25 to 27.2.
    assert parameters == pytest.approx(PAPERS[name], abs=0.51 * 10**-digits)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "parameters", "channels"), [("ResNet50", 25_557_032, 2048), ("DenseNet121", 7_978_856, 1024)]
)
def test_torch_imagenet_peers(name, parameters, channels):
    """The parameters are those of timm's networks; Keras's ResNet50 has biases before normalization in addition."""
    torch = pytest.importorskip("torch")
    from keras_sd.benchmarks import torch_peers

    model = torch_peers.build(IMAGENET_NETWORKS[name])
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    with torch.inference_mode():
        assert model.features(torch.zeros(1, 3, 64, 64)).shape == (1, channels, 2, 2)


@pytest.mark.torch
@pytest.mark.parametrize("survival_probability", [1.0, 0.5])
def test_torch_compiles_each_block_once_where_blocks_are_dropped(survival_probability, monkeypatch):
    """A graph that breaks at every block would be slow, and compared with ours unjustly."""
    torch = pytest.importorskip("torch")
    from keras_sd.benchmarks import torch_peers

    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or function)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))
    model = torch_peers.build(cifar_network("ResNet8"), survival_probability)
    torch_peers.compile_network(model)
    blocks = [block for block in model.modules() if isinstance(block, torch_peers.ResidualBlock)]
    assert compiled == ([model] if survival_probability == 1 else [block.residual for block in blocks])


@pytest.mark.torch
@pytest.mark.parametrize("name", ["ResNet8", "ResNet14", "DenseNet7", "DenseNet10_k5", "DenseNetBC16"])
def test_the_two_peers_compute_the_same_function(name):
    """Keras layer graph and PyTorch, written apart, with the same weights."""
    torch = pytest.importorskip("torch")
    from keras_sd.benchmarks import torch_peers

    # Odd: on even sizes "same" pads a strided convolution on one side only, PyTorch on both.
    network, size = cifar_network(name), 17
    ours, theirs = keras_peers.build(network, size), torch_peers.build(network)
    state = {k: v for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    generator = np.random.default_rng(0)
    weights = [generator.uniform(0.5, 1.5, size=w.shape).astype("float32") for w in ours.weights]
    assert len(weights) == len(state)
    for (key, value), weight in zip(state.items(), weights):
        if weight.ndim > 1:  # kernels: a variance that keeps branches and shortcuts of one size
            weight[...] = generator.normal(size=weight.shape) * np.sqrt(2 / np.prod(weight.shape[:-1]))
        axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[weight.ndim]
        assert value.shape == weight.transpose(axes).shape, key
        value.copy_(torch.from_numpy(weight.transpose(axes).copy()))
    ours.set_weights(weights)
    ours.layers[-1].activation = keras.activations.linear  # logits: a softmax would saturate and hide much
    for layer in ours.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.epsilon = 1e-5  # PyTorch's default
    images = generator.normal(size=(2, size, size, 3)).astype("float32")
    with torch.inference_mode():
        expected = theirs.eval()(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    scale = np.abs(expected).max()
    assert np.ptp(expected / scale, axis=0).max() > 0.01  # the images do matter
    np.testing.assert_allclose(ours.predict_on_batch(images) / scale, expected / scale, atol=1e-5)


@pytest.mark.torch
def test_torch_stochastic_depth_skips_and_scales(monkeypatch):
    torch = pytest.importorskip("torch")
    from keras_sd.benchmarks import torch_peers

    block = torch_peers.ResidualBlock(4, 4, 1, survival_probability=0.25)
    x = torch.rand(2, 4, 5, 5)
    monkeypatch.setattr(torch_peers.random, "random", lambda: 0.25)  # not below p: dropped
    assert torch.equal(block(x), x)
    assert block.norm1.num_batches_tracked == 0  # not computed
    monkeypatch.setattr(torch_peers.random, "random", lambda: 0.24)
    assert not torch.equal(block(x), x)
    assert block.norm1.num_batches_tracked == 1
    block.eval()
    part = block.norm2(block.conv2(torch.relu(block.norm1(block.conv1(x)))))
    assert torch.allclose(block(x), torch.relu(x + 0.25 * part))


@pytest.mark.slow
@pytest.mark.torch
def test_torch_infers_without_training():
    runner = runners.RUNNERS["torch"](Task("ResNet8", survival_probability=0.1, image_size=8))
    runner.build()
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    runner.prepare_inference()
    runner.set_batch(4)
    first = runner.infer()
    np.testing.assert_array_equal(runner.infer(), first)
    np.testing.assert_allclose(first.sum(axis=1), 1.0, rtol=1e-5)
    assert all((before[name] == value).all() for name, value in runner.model.state_dict().items())


def test_names_of_networks():
    assert cifar_network("ResNet110").blocks == 18
    assert cifar_network("ResNet1202").blocks == 200
    assert cifar_network("DenseNetBC100").blocks == 16
    assert cifar_network("DenseNetBC190").growth_rate == 40
    for imagenet in ("ResNet50", "ResNet152", "ResNet50V2", "DenseNet121", "DenseNet169", "MLP"):
        assert cifar_network(imagenet) is None


def test_survival_probabilities_are_the_papers():
    assert survival_probabilities(4, 0.5) == [0.875, 0.75, 0.625, 0.5]


# Tasks and the harness


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("survival_probability", 0.0),
        ("survival_probability", float("nan")),
        ("policy", "float8"),
        ("batch_size", 0),
        ("image_size", 0),
        ("inference_batch_sizes", ()),
    ],
)
def test_a_task_refuses_bad_values(argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be .* received"):
        Task("ResNet20", **{argument: value})


@pytest.mark.parametrize(
    "arguments",
    [{"what": ("speed",)}, {"what": ()}, {"contestants": ("jax",)}, {"rounds": 0}, {"processes": 0}],
)
def test_a_run_refuses_bad_arguments(arguments, monkeypatch):
    monkeypatch.setattr(harness.Worker, "__enter__", lambda self: pytest.fail("a process was started"))
    (name,) = arguments
    with pytest.raises(ValueError, match=f"{name} must .* received"):
        harness.run(Task("ResNet20"), **{"contestants": ("keras",), **arguments})


def test_contestants_agree():
    assert set(CONTESTANTS) == set(runners.RUNNERS)


def test_turns_alternate():
    asked = []
    workers = [types.SimpleNamespace(name=n, ask=lambda do, count, n=n: asked.append(n)) for n in "ab"]
    list(harness._turns(workers, 3, "step", 1))
    assert asked == ["a", "b", "b", "a", "a", "b"]


def test_ratios_are_of_pairs():
    result = harness.Result(Task("ResNet20"), ("ours", "keras"))
    for ours, theirs in [(1.0, 2.0), (10.0, 10.0), (3.0, 4.0)]:
        result.add("ours", "step", ours)
        result.add("keras", "step", theirs)
    assert result.median("ours", "step") == 3.0
    # Medians would give 3 / 4 as well; the quartiles are those of 0.5, 0.75 and 1.
    assert result.ratio("ours", "keras", "step") == {"median": 0.75, "low": 0.625, "high": 0.875, "pairs": 3}
    assert result.ratio("ours", "torch", "step") is None


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = harness.run(Task("ResNet20"), ("torch",), processes=1)
    assert result.absent == {"torch": "the package torch is not installed"}


def test_what_only_infers_takes_part_in_nothing_else(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    result = harness.run(Task("ResNet20"), ("onnxruntime",), ("step", "inference"), processes=1)
    assert result.absent == {"onnxruntime": "it infers only: --what inference"}


@pytest.mark.parametrize(("name", "package"), ENGINES.items())
def test_an_engine_that_is_not_installed_is_named(name, package, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None if asked == package else True)
    result = harness.run(Task("ResNet20"), (name,), processes=1)
    assert result.absent == {name: f"the package {package} is not installed"}


@pytest.mark.parametrize(("name", "engine"), [("ours", "numpy"), *ENGINES.items()])
def test_a_worker_starts_with_its_engine(name, engine, monkeypatch):
    """The others have that of the command."""
    started = []
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    monkeypatch.setattr(harness.subprocess, "Popen", lambda *_, env, **__: started.append(env))
    harness.Worker(name, Task("ResNet20")).__enter__()
    assert started[0]["KERAS_BACKEND"] == engine


class FakeWorker:
    """A worker without a process: it answers at once, and `torch` computes on the CPU."""

    refuses = ()

    def __init__(self, name, task):
        assert name in CONTESTANTS
        self.name, self.refused = name, False

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def open(self):
        return {"import_seconds": 1.0, "versions": {}, "on_gpu": self.name != "torch"}

    def ask(self, do, **arguments):
        assert not self.refused, "asked again"
        self.refused = (self.name, do) in self.refuses
        if self.refused:
            raise NotImplementedError("it cannot be built")
        return {
            "build": {"parameters": 5},
            "first": {"seconds": 2.0},
            "step": {"seconds": [0.25], "loss": 1.0},
            "memory": {"gpu": 3e9},
            "input": 0.125,
            "photographs": {"folder": {"ours": 2.0, "tf.data": 1.0}},
        }[do]


@pytest.fixture
def fake_workers(monkeypatch):
    monkeypatch.setattr(harness, "Worker", FakeWorker)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)


def test_a_contestant_on_another_device_is_named(fake_workers):
    result = harness.run(Task("ResNet20"), ("ours", "torch", "ours-jax"))
    assert result.absent == {"torch": "it computes on the CPU, ours on the GPU"}
    assert result.ratio("ours", "ours-jax", "memory gpu")["pairs"] == 2


def test_photographs_are_read_in_each_of_several_processes(fake_workers):
    """The plain pipeline, in the process of ours, has a column but no worker."""
    result = harness.run(Task("ResNet20"), ("ours",), ("photographs",), processes=3, rounds=1)
    assert result.ratio("ours", "tf.data", "photographs folder") == {"median": 2.0, "low": 2.0, "high": 2.0, "pairs": 3}


def test_a_contestant_that_cannot_be_built_is_named(fake_workers, monkeypatch):
    monkeypatch.setattr(FakeWorker, "refuses", [("ours", "build")])
    result = harness.run(Task("ResNet20"), ("ours", "ours-jax", "torch-compiled"))
    assert result.absent == {"ours": "it cannot be built"}
    run = performance_page.record(result, "keras-sd bench")
    assert list(run["median"]) == ["ours-jax", "torch-compiled"]
    assert performance_page.table(run).columns[-1].header == "ours-jax / baseline"


@only_tensorflow
def test_a_loop_that_xla_cannot_compile_is_refused():
    task = Task("ResNet20", survival_probability=0.5, jit_compile=True, image_size=8)
    with pytest.warns(UserWarning, match="jit_compile"), pytest.raises(runners.Unsupported, match="ResNet20"):
        runners.RUNNERS["ours"](task).build()
    runner = runners.RUNNERS["ours"](Task("ResNet20", gates="systematic", survival_probability=0.5, jit_compile=True))
    runner.build()
    assert runner.model.jit_compile is True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "size", "classes"), [pytest.param("ResNet50", 224, 1000, marks=pytest.mark.large), ("ResNet20", 32, 10)]
)
def test_batches_have_the_size_of_the_network(model, size, classes):
    runner = runners.RUNNERS["ours"](Task(model))
    runner.model = types.SimpleNamespace(input_shape=(None, size, size, 3), output_shape=(None, classes))
    images, labels = next(runner.training_batches(2))
    assert images.shape == (2, size, size, 3)
    assert labels.numpy().max() < classes


def test_xla_is_no_option_of_other_engines():
    assert runners.RUNNERS["ours-jax"](Task("ResNet20", jit_compile=False)).task.jit_compile is None


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="onnxruntime is missing")
@only_tensorflow
def test_onnxruntime_predicts_what_our_model_does():
    task = Task("ResNet20", fold=True, inference_batch_sizes=(2,), image_size=8)
    ours, onnxruntime = (runners.RUNNERS[name](task) for name in ("ours", "onnxruntime"))
    for runner in (ours, onnxruntime):
        runner.build()
    onnxruntime.model.set_weights(ours.model.get_weights())
    for runner in (ours, onnxruntime):
        runner.prepare_inference()
        runner.set_batch(2)
    np.testing.assert_allclose(onnxruntime.infer(), ours.infer(), atol=1e-4)
    assert onnxruntime.versions().keys() > {"keras_sd", "onnxruntime"}


def test_threads_of_training_are_not_those_of_inference(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    run = functools.partial(harness.run, contestants=("torch",), processes=1)
    assert run(Task("ResNet20"), what=("step", "inference")).task.threads == 0
    assert run(Task("ResNet20", threads=2), what=("step", "inference")).task.threads == 2
    assert run(Task("ResNet20"), what=("step",)).task.threads is None


def test_peak_memory_sees_an_allocation():
    # In a process of its own: in this one, other tests may have taken more than the block before.
    code = """if True:
        from benchmarks import worker
        before = worker.peak_bytes()
        block = b"1" * 200_000_000
        print(worker.peak_bytes() - before)
    """
    root = pathlib.Path(__file__).parent.parent
    process = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert int(process.stdout) > 100_000_000


class FakeEngine(types.SimpleNamespace):
    """TensorFlow, JAX and PyTorch in one, as far as they tell of GPUs."""

    def __init__(self, gpus):
        devices = [types.SimpleNamespace(memory_stats=lambda: {"peak_bytes_in_use": 2, "bytes_in_use": 9})]
        memory = types.SimpleNamespace(get_memory_info=lambda name: {"GPU:0": {"peak": 1, "current": 9}}[name])
        super().__init__(
            config=types.SimpleNamespace(list_physical_devices=lambda kind: [kind] * gpus, experimental=memory),
            default_backend=lambda: "gpu" if gpus else "cpu",
            devices=lambda: devices,
            cuda=types.SimpleNamespace(is_available=lambda: gpus > 0, max_memory_allocated=lambda: 3),
        )


@pytest.mark.parametrize(("engine", "peak"), [("tensorflow", 1), ("jax", 2), ("torch", 3)])
@pytest.mark.parametrize("gpus", [0, 1])
@pytest.mark.parametrize("is_on_cpu", [False, True])
def test_memory_is_that_of_the_gpu_if_there_is_one(engine, peak, gpus, is_on_cpu, monkeypatch):
    contestant = worker.Contestant("keras_sd.benchmarks")
    runner = types.SimpleNamespace(engine=engine, is_on_cpu=is_on_cpu, versions=dict)
    monkeypatch.setitem(runners.RUNNERS, "ours", lambda task: runner)
    monkeypatch.setitem(CONTESTANTS, "ours", "json")  # what is imported for it
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, engine, FakeEngine(gpus))
        on_gpu = contestant.open("ours", {"model": "ResNet20"})["on_gpu"]
        memory = contestant.memory()
    assert on_gpu is (gpus == 1 and not is_on_cpu)
    if on_gpu:
        assert memory == {"gpu": peak}
    else:
        assert memory["peak"] > 1e6


@pytest.mark.skipif(sys.platform == "win32", reason="runs a script")
def test_the_machine_names_its_gpus(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.describe()["gpu"] is None
    program.write_text("#!/bin/sh\necho 'H, 80 MiB, 570.1'\necho 'H, 80 MiB, 570.1'\necho 'A, 40 MiB, 570.1'\n")
    program.chmod(0o755)
    assert machine.describe()["gpu"] == "H, 80 MiB, driver 570.1; A, 40 MiB, driver 570.1"
    program.write_text("#!/bin/sh\necho 'no devices were found'\nexit 6\n")
    assert machine.describe()["gpu"] is None


@pytest.mark.skipif(not pathlib.Path("/proc/stat").exists(), reason="reads /proc")
def test_the_share_of_others_leaves_out_our_own_work(monkeypatch):
    """Ten seconds on two cores: busy for 14 core seconds, 6 of them ours."""
    readings = iter([(0.0, 100.0, 1.0), (10.0, 114.0, 7.0)])
    monkeypatch.setattr(machine.OthersShare, "_read", staticmethod(lambda: next(readings)))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    assert machine.OthersShare().value() == pytest.approx(0.4)
    monkeypatch.undo()
    assert 0.0 <= machine.OthersShare().value() <= 1.0


def test_a_worker_that_fails_or_dies_says_so():
    with harness.Worker("ours", Task("ResNet20")) as contestant:
        with pytest.raises(harness.WorkerError, match=r"ours failed in 'step': AttributeError"):
            contestant.ask("step", count=1)  # nothing is open
        contestant._process.kill()
        with pytest.raises(harness.WorkerError, match="The worker of ours died in 'step'"):
            contestant.ask("step", count=1)


@pytest.mark.large
@pytest.mark.torch
def test_keras_and_torch_side_by_side():
    task = Task("ResNet8", batch_size=2, survival_probability=0.5, inference_batch_sizes=(1,), image_size=8)
    result = harness.run(task, ("keras", "torch"), ("step", "inference"), processes=1, rounds=2, steps=1)
    assert result.quantities == [
        "import",
        "first",
        "step",
        "memory peak",
        "memory above_import",
        "inference 1",
    ]
    counts = {quantity: len(values) for quantity, values in result.samples["torch"].items()}
    assert counts["step"] == counts["inference 1"] == 2
    assert counts["first"] == counts["memory peak"] == 1
    assert result.parameters["keras"] == result.parameters["torch"]
    run = performance_page.record(result, "keras-sd bench ResNet8")
    assert json.loads(json.dumps(run))["ratio"]["torch"]["step"]["pairs"] == 2


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.skipif(not pathlib.Path("/proc/self/maps").exists(), reason="reads /proc")
def test_the_torch_worker_never_loads_tensorflow():
    with harness.Worker("torch", Task("ResNet8", batch_size=2)) as contestant:
        contestant.open()
        contestant.ask("build")
        mapped = pathlib.Path(f"/proc/{contestant._process.pid}/maps").read_text()
    assert "libtorch" in mapped
    assert "tensorflow" not in mapped


@pytest.mark.slow
def test_a_network_without_a_peer_is_named():
    with harness.Worker("keras", Task("MLP")) as contestant, pytest.raises(NotImplementedError, match="MLP"):
        contestant.open()


@pytest.mark.slow
@pytest.mark.torch
def test_the_command_measures_our_model(tmp_path):
    path = tmp_path / "out.json"
    size = ("--batch-size", "2", "--inference-batch-sizes", "1", "--image-size", "16")
    turns = ("--processes", "1", "--rounds", "2", "--steps", "1")
    options = ("--survival-probability", "0.5", "--against", "keras,torch", "--what", "step,inference")
    result = _command("ResNet20", *size, *turns, *options, "--json", str(path))
    assert result.exit_code == 0, result.output
    assert "training step" in result.output
    run = json.loads(path.read_text())
    assert run["task"]["survival_probability"] == 0.5
    assert run["ratio"]["keras"]["step"]["pairs"] == 2
    assert run["parameters"]["ours"] == run["parameters"]["keras"] == run["parameters"]["torch"]
    assert {"keras", "keras_sd", "torch"} <= set(run["versions"])


@pytest.mark.large
def test_the_command_measures_the_input(tmp_path):
    path = tmp_path / "out.json"
    turns = ("--batch-size", "2", "--image-size", "16", "--processes", "1", "--rounds", "2", "--steps", "1")
    result = _command("ResNet20", *turns, "--against", "keras", "--what", "step,input,photographs", "--json", str(path))
    assert result.exit_code == 0, result.output
    run = json.loads(path.read_text())
    assert 0 < run["median"]["ours"]["waiting"] < 1
    assert "waiting" not in run["median"]["keras"]
    assert run["ratio"]["tf.data"]["photographs records"]["pairs"] == 2
    assert set(run["median"]["tf.data"]) < set(run["median"]["ours"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ResNet21",), "`name` must be a known name"),
        (("MLP", "--memory-efficient"), "`memory_efficient` must be left out for MLP"),
        (("ResNet20", "--gates", "open"), "gates"),
    ],
)
def test_the_command_refuses_what_our_model_refuses(arguments, message):
    result = _command(*arguments, "--against", "")
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.large
def test_the_command_profiles(tmp_path):
    result = _command("ResNet20", "--batch-size", "2", "--profile", str(tmp_path / "trace"), "--steps", "1")
    assert result.exit_code == 0, result.output
    assert "Conv2DBackpropFilter" in (tmp_path / "trace" / "operations.txt").read_text()


# Profiles


def test_self_times_leave_out_what_is_inside():
    def event(metadata_id, offset_ps, duration_ps):
        return types.SimpleNamespace(metadata_id=metadata_id, offset_ps=offset_ps, duration_ps=duration_ps)

    events = [event(1, 0, 100), event(2, 10, 30), event(3, 15, 5), event(2, 50, 50), event(1, 100, 7)]
    assert profiling.self_times(events) == [[1, 20], [2, 25], [3, 5], [2, 50], [1, 7]]


@only_tensorflow
def test_a_profile_finds_the_convolution(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()])
    model.compile("sgd", "mse")
    images = np.zeros((2, 8, 8, 3), "float32")
    labels = np.zeros((2, 144), "float32")
    model.train_on_batch(images, labels)
    kinds, nodes = profiling.profile(lambda: model.train_on_batch(images, labels), tmp_path, 2)
    (backward,) = [row for row in kinds if "Conv2DBackpropFilter" in row[0]]
    assert backward[1] == 1.0  # once a step
    assert backward[2] > 0.0
    assert sum(row[2] for row in kinds) == pytest.approx(sum(row[2] for row in nodes))


# The suite and the command


def _record(**ratios):
    return {
        "command": "keras-sd bench --suite resnet110",
        "date": "2026-01-01T00:00:00+00:00",
        "machine": {"processor": "P", "cores": 2, "system": "Linux", "kind": "x86_64"},
        "others_fraction": 0.02,
        "versions": {"keras": "3"},
        "task": {"model": "ResNet110", "batch_size": 64},
        "absent": {"torch": "the package torch is not installed"},
        "median": {"ours": {"step": 0.4, "first": 2.5}, "keras": {"step": 0.8, "first": 20.0}},
        "ratio": {
            peer: {"step": {"median": value, "low": value, "high": value, "pairs": 3}} for peer, value in ratios.items()
        },
    }


def test_targets_are_judged():
    run = _record(keras=0.5)
    assert suite.Target("step", 0.50, "keras").judge(run) == ("0.50 (0.50 to 0.50)", True)
    assert suite.Target("step", 0.49, "keras").judge(run)[1] is False
    assert suite.Target("step", 0.90, "torch").judge(run) == ("-", None)
    assert suite.Target("first", 3.0).judge(run) == ("2.50 s", True)
    assert suite.Target("memory peak", 3.0).judge(run) == ("-", None)
    assert suite.Target("first", 3.0).text == "build + first step <= 3.00 s"


def test_every_target_is_of_something_that_its_row_measures():
    for row in suite.SUITE.values():
        quantities = {"import"}
        if "step" in row.what:
            quantities |= {"first", "step", "memory peak", "memory above_import"}
        if "inference" in row.what:
            quantities |= {f"inference {size}" for size in row.task.inference_batch_sizes}
        if "input" in row.what:
            quantities |= {"waiting"}
        if "photographs" in row.what:
            quantities |= {"photographs folder", "photographs records"}
        for target in row.targets:
            assert target.quantity in quantities
            assert target.peer in (None, *row.against, *(["tf.data"] if "photographs" in row.what else []))


def test_the_page_keeps_its_text_and_its_other_rows(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text(f"# Speed\n\nBefore.\n\n{suite.BEGIN}\nold\n{suite.END}\n\nAfter.\n")
    suite.store({"resnet110": _record(keras=0.5)}, page)
    suite.store({"resnet110-constant": _record(keras=0.6)}, page)
    text = page.read_text()
    assert text.startswith("# Speed\n\nBefore.\n\n")
    assert text.endswith("\n\nAfter.\n")
    assert "old" not in text
    assert text.count("torch is missing") == 2
    assert "| ResNet-110, stochastic depth, float32 | training step <= 0.50 of keras | 0.50" in text
    assert set(json.loads((tmp_path / "performance.json").read_text())) == {"resnet110", "resnet110-constant"}


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.0, "2.00 s (16/s)"), (0.25, "250 ms (128/s)"), (0.02, "20 ms (1,600/s)")]
)
def test_rates_are_written_without_exponents(seconds, text):
    assert performance_page.amount("step", seconds, {"batch_size": 32}) == text


# The suite of a GPU


def test_the_rows_of_a_gpu_are_complete():
    """Every combination of the factors, once."""
    networks = [("ResNet50", 224), ("DenseNet121", 224), ("DenseNetBC100", None)]
    depths = [("ResNet110", None, p, gates) for p, gates in ((1, None), (0.5, "independent"), (0.5, "systematic"))]
    depths += [(*network, 1, None) for network in networks]
    policies = ("float32", "mixed_bfloat16", "mixed_float16")
    expected = {(*depth, policy, xla) for depth, policy, xla in itertools.product(depths, policies, (True, False))}
    rows = suite.GPU_SUITE.values()
    tasks = [row.task for row in rows]
    assert len(tasks) == len(expected) == 36
    assert expected == {
        (t.model, t.image_size, t.survival_probability, t.gates, t.policy, t.jit_compile) for t in tasks
    }
    assert len({row.title for row in rows}) == 36
    for row in rows:
        assert set(row.against) == {"ours-jax", "ours-torch", "torch", "torch-compiled"}
        assert set(row.what) == {"first", "step", "memory", "input"}
    assert not suite.GPU_SUITE.keys() & suite.SUITE.keys()


@pytest.mark.parametrize("rows", ["gpu", "import,gpu-resnet50-float32-xla"])
def test_the_suite_of_a_gpu_needs_one(rows, monkeypatch):
    monkeypatch.setattr(harness, "Worker", None)
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setattr(machine, "has_gpu", lambda engine: False)
    result = _command("--suite", rows)
    assert result.exit_code == 2
    assert f"suite must name rows that need no GPU: TensorFlow finds none here; received {rows!r}." in result.output
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    result = _command("--suite", rows)
    assert result.exit_code == 2
    assert "suite must be run with KERAS_BACKEND=tensorflow" in result.output


def test_the_suite_of_a_gpu_writes_its_own_section(tmp_path, monkeypatch, fake_workers):
    page = tmp_path / "performance.md"
    page.write_text(f"# Speed\n\n{suite.GPU_BEGIN}\nNone yet.\n{suite.END}\n\n{suite.BEGIN}\nold\n{suite.END}\n")
    monkeypatch.setattr(suite, "check_gpu", lambda suite: None)
    monkeypatch.setattr(machine, "gpu_text", lambda: "GPU of a test")
    key = "gpu-resnet50-float32-xla"
    monkeypatch.setattr(suite, "GPU_SUITE", {key: suite.GPU_SUITE[key]})
    result = _command("--suite", "gpu", "--page", str(page))
    assert result.exit_code == 0, result.output
    text = page.read_text()
    gpu, _, cpu = text.partition(suite.BEGIN)
    assert "None yet." not in gpu
    assert cpu == f"\nold\n{suite.END}\n"
    title = "ResNet50, 224 px, float32, XLA on"
    for name, waiting in (("ours", "12.5%"), ("ours-jax", "12.5%"), ("torch-compiled", "-")):
        assert f"| {title} | {name} | 2.00 s | 250 ms (128/s) | 3.00 GB | {waiting} |" in gpu
    assert f"| `keras-sd bench --suite {key}` | GPU of a test; " in gpu
    assert "torch is missing: it computes on the CPU, ours on the GPU" in gpu
    assert set(json.loads(page.with_suffix(".json").read_text())) == {key}


@pytest.mark.large
@pytest.mark.torch
@pytest.mark.other_engine
@only_tensorflow
def test_a_small_suite_of_a_gpu_runs_on_a_cpu(tmp_path, monkeypatch):
    page = tmp_path / "performance.md"
    task = Task("ResNet20", batch_size=2, survival_probability=0.5, gates="systematic", image_size=16, jit_compile=True)
    row = suite.GPU_SUITE["gpu-resnet110-systematic-float32-xla"]
    row = suite.dataclasses.replace(row, task=task, rounds=1, steps=1)
    monkeypatch.setattr(suite, "check_gpu", lambda suite: None)
    monkeypatch.setattr(suite, "GPU_SUITE", {"small": row})
    result = _command("--suite", "gpu", "--page", str(page))
    assert result.exit_code == 0, result.output
    (run,) = json.loads(page.with_suffix(".json").read_text()).values()
    assert run["absent"] == {}
    assert list(run["median"]) == ["ours", *row.against]
    assert all(0 < run["median"][name]["waiting"] < 1 for name in ("ours", "ours-jax", "ours-torch"))


def test_the_page_without_a_gpu_says_how_to_measure():
    page = pathlib.Path(__file__).parent.parent / "docs" / "performance.md"
    section = page.read_text().partition(suite.GPU_BEGIN)[2].partition(suite.END)[0]
    measured = suite.GPU_SUITE.keys() & json.loads(page.with_suffix(".json").read_text()).keys()
    assert ("|" in section) == bool(measured)
    assert "keras-sd bench --suite gpu" in section


def _command(*arguments):
    app = typer.Typer()
    app.command()(bench)
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "MODEL is missing"),
        (("ResNet20", "--survival-probability", "1.5"), "survival_probability must be"),
        (("ResNet20", "--against", "jax"), "contestants must be among"),
        (("ResNet20", "--inference-batch-sizes", "x"), "inference_batch_sizes must be"),
        (("ResNet20", "--json", "no/such/place.json"), "`json` must be a file in a directory"),
        (("ResNet20", "--json", "."), "`json` must be a file in a directory"),
        (("nonsense",), "`name` must be one of"),
        (("ResNet",), "`name` must be a known name"),
        (("ResNet20", "--gates", "nonsense"), "gates"),
        (("MLP", "--gates", "independent"), "`gates` must be left out for MLP"),
        (("PlainNet20", "--survival-probability", "0.5"), "survival_probability"),
        (("ResNet20", "--profile", "trace", "--steps", "0"), "`steps` must be an integer of at least 1"),
        (("--suite", "all", "--page", "."), "`page` must be a file"),
        (("--suite", "resnet111"), "suite must be"),
    ],
)
def test_the_command_refuses_bad_arguments(arguments, message, monkeypatch):
    """Before a process is started."""
    monkeypatch.setattr(harness, "Worker", None)
    result = _command(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())
