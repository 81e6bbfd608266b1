"""Every engine of Keras: the commands on the one that runs, and equal numbers and files on all."""

import json
from pathlib import Path

import forms
import keras
import numpy as np
import pytest
from helpers import ENGINE, ENGINES, keras_sd, printed, randomize, run_python

from keras_sd import analysis, backend, export_model, training, weights
from keras_sd.runs.networks import build
from keras_sd.studies import lesion_study
from keras_sd.studies.lab import Network
from keras_sd.training.checkpoint import Checkpoints

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parent.parent / "docs" / "engines.md"
NETWORK = "model_arguments={blocks: [2, 1], filters: [4, 8], stem_filters: 4}"
TRAIN = ["train", "--data", "digits", "--model", "ResNet", "--set", NETWORK, "--survival-probability", 0.5]
TRAIN += ["--epochs", 2, "--set", "steps_per_epoch=6", "--deterministic"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of two short epochs on digits."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    printed(*TRAIN, "--out", folder)
    return training.RunFolder(folder)


# The commands, on the engine that runs


def test_a_run_is_trained_evaluated_and_used(run):
    results = run.read(run.results)
    assert results["status"] == "complete"
    assert f"test accuracy {results['test_accuracy']:.4f}" in printed("evaluate", run.path)
    model = keras.saving.load_model(run.model, compile=False)
    found = model.predict(np.zeros((3, 8, 8, 1)), verbose=0)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_steps_outside_of_fit_take_batches_of_tf_data(run, tmp_path):
    """Compiled steps of JAX refuse tensors of TensorFlow."""
    top1 = run.read(run.results)["test_accuracy"]
    assert f"top-1 {top1:.4f}" in printed("evaluate", run.path, "--report", tmp_path / "report")
    output = printed("train", "--model", "MLP", "--set", "model_arguments.widths=[8]", "--dry-run")
    assert "median of 3" in output


on_other_engines = pytest.mark.skipif(ENGINE == "tensorflow", reason="other tests do the same on TensorFlow")


class Stop(keras.callbacks.Callback):
    """Ends training as a signal would, in the middle of the second epoch."""

    steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps == 9:
            raise SystemExit


def test_a_run_that_was_stopped_is_resumed_to_the_same_bits(run, digits, tmp_path):
    config = run.train_config()
    folder = training.RunFolder(tmp_path / "run")
    folder.path.mkdir()
    with pytest.raises(SystemExit):
        training.train(build(config, digits), digits, config, folder, [Stop()], checkpoint_steps=4)
    printed("train", "--resume", "--out", folder.path)
    ends = [Checkpoints(path.checkpoints).newest() for path in (run, folder)]
    assert [end.step for end in ends] == [12, 12]
    for group in ("model", "optimizer"):
        assert [a.tobytes() for a in ends[0].arrays[group]] == [a.tobytes() for a in ends[1].arrays[group]]


@on_other_engines
def test_two_trials_are_searched(tmp_path):
    space = ["--search", "depth=7", "--search", "bottleneck=false", "--search", "growth_rate=2:4"]
    short = ["--set", "steps_per_epoch=2", "--set", "batch_size=16", "--epochs", 1, "--final-epochs", 1]
    printed("tune", "--model", "DenseNet", *space, *short, "--trials", 2, "--out", tmp_path / "search")
    assert len((tmp_path / "search" / "trials.csv").read_text().splitlines()) == 3


@on_other_engines
def test_lesions_are_studied(tmp_path, monkeypatch):
    network = Network("residual", "ResNet", {"blocks": (2, 1), "filters": (4, 8), "stem_filters": 4})
    monkeypatch.setattr(lesion_study, "four", lambda *_: [network])
    output = printed("study", "lesion", "--quick", "--epochs", 1, "--images", 40, "--draws", 1, "--out", tmp_path)
    assert "verdict: too small to judge" in output


def test_a_network_is_taken_apart(run):
    model = keras.saving.load_model(run.model, compile=False)
    networks = analysis.SubNetworks(model)
    assert [block.kind for block in networks.blocks] == ["residual"] * 3
    pyramid = keras.Model(model.inputs, model.get_layer(networks.blocks[0].layer.name).output)
    assert pyramid.predict(forms.X, verbose=0).shape[0] == len(forms.X)


# The table of docs/engines.md

COLUMNS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
PROBES = {
    "stacks under `jit_compile` with independent gates": lambda: backend.COMPILES_DYNAMIC_LOOPS,
    "memory-efficient dense blocks": lambda: backend.dense_block is not None,
    "several processes": lambda: backend.devices.connect is not None,
    "export to ONNX and LiteRT": lambda: (
        not refused("format", export, "onnx") and not refused("format", export, "litert")
    ),
    "export as a SavedModel": lambda: not refused("format", export, "savedmodel"),
    "`keras-sd bench --profile`": lambda: keras_sd("bench", "MLP", "--profile", __file__).output.find("directory") > 0,
}


def export(format):
    """Ask for an export to a path with a wrong end, which is refused after the format."""
    export_model(forms.new("plain"), "model.wrong" if format != "savedmodel" else __file__, format)


def refused(argument, function, value):
    with pytest.raises((ValueError, FileExistsError)) as error:
        function(value)
    return any(f"`{name}`" in str(error.value) for name in (argument, "KERAS_BACKEND"))


def table():
    """The cells of the column of this engine, by capability."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    column = rows[0].index(COLUMNS[ENGINE])
    return {row[0]: row[column] for row in rows[2:]}


@pytest.mark.parametrize("capability", PROBES)
def test_the_page_says_what_this_engine_can(capability):
    assert table()[capability].startswith("yes") is bool(PROBES[capability]())


@pytest.mark.skipif(ENGINE == "torch", reason="refused on PyTorch")
@pytest.mark.filterwarnings("ignore")
def test_a_saved_model_is_exported(run, tmp_path):
    """Which is run, and its outputs compared, before it is left there."""
    model = keras.saving.load_model(run.model, compile=False)
    assert export_model(model, tmp_path / "exported", "savedmodel").is_dir()


# All engines


@pytest.fixture(scope="module")
def written(tmp_path_factory, run):
    """`written(engine)`: the folder of what an engine wrote; each has one process, this one's engine this process."""
    base = tmp_path_factory.mktemp("engines")
    (base / "start").mkdir()
    for form in forms.FORMS:
        randomize(forms.new(form)).save(base / "start" / f"{form}.keras")

    def of(engine):
        out = base / engine
        if engine == ENGINE and not out.exists():
            forms.write(base / "start", out, run.path)
        elif not out.exists():
            arguments = str(base / "start"), str(out), str(run.path)
            code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import forms; forms.write"
            process = run_python(f"{code}{arguments}", base, engine, timeout=400)
            assert process.returncode == 0, process.stderr[-3000:]
        return out

    return of


@pytest.fixture(scope="module")
def own(written):
    return np.load(written(ENGINE) / "numbers.npz")


OTHERS = [engine for engine in ENGINES if engine.values != (ENGINE,)]


@pytest.mark.parametrize("engine", OTHERS)
def test_outputs_and_gradients_are_equal(written, own, engine):
    found = np.load(written(engine) / "numbers.npz")
    assert set(found.files) == set(own.files)
    for name in own.files:
        allowed = 1e-4 if name.endswith("outputs") else 1e-3
        atol = allowed * max(1, np.abs(own[name]).max())
        np.testing.assert_allclose(found[name], own[name], rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("engine", OTHERS)
def test_training_curves_agree(written, own, engine):
    found = np.load(written(engine) / "numbers.npz")["curve"]
    np.testing.assert_allclose(found, own["curve"], rtol=0.01)
    assert found[-1] < found[0]


@pytest.mark.parametrize("engine", OTHERS)
def test_test_accuracies_are_equal(written, engine):
    lines = [json.loads((written(name) / "evaluate.json").read_text()) for name in (engine, ENGINE)]
    assert "test accuracy" in lines[0]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("form", forms.FORMS)
@pytest.mark.parametrize("engine", ENGINES)
def test_files_are_read(written, engine, form):
    folder = written(engine)
    expected = np.load(folder / "after.npz")[form]
    models = {"keras": keras.saving.load_model(folder / f"{form}.keras")}
    models["h5"] = forms.new(form)
    models["h5"].load_weights(folder / f"{form}.weights.h5")
    for suffix in ("keras", "safetensors"):
        models[suffix] = weights.load(forms.new(form), folder / f"{form}.{suffix}")
    if (folder / f"{form}.th").exists():  # PyTorch's files hold survival probabilities in the weights
        models["th"] = weights.load(forms.new(form, survival_probability=1.0), folder / f"{form}.th")
    for name, model in models.items():
        np.testing.assert_allclose(forms.outputs(model), expected, atol=1e-4, err_msg=name)
