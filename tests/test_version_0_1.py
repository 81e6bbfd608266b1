"""Files that version 0.1.0 wrote are read: models, weights, runs to evaluate and to resume, searches.

The files are small ones made by that version; `outputs.json` has what their models returned there for the images below.
"""

import json
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import printed

from keras_sd import analysis, applications, weights

FILES = Path(__file__).parent / "version_0_1"
WRITTEN_BY = json.loads(zipfile.ZipFile(FILES / "resnet.keras").read("metadata.json"))["keras_version"]
# Keras reads `.keras` files of older versions of itself, not of newer ones.
reads_files = pytest.mark.skipif(
    [*map(int, keras.__version__.split(".")[:2])] < [*map(int, WRITTEN_BY.split(".")[:2])],
    reason=f"the files were written by Keras {WRITTEN_BY}",
)
OUTPUTS = json.loads((FILES / "outputs.json").read_text())
IMAGES = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
RESNET = {"blocks": (3, 1), "filters": (16, 16), "input_shape": (8, 8, 1), "classes": 3}
DENSENET = {"depth": 10, "growth_rate": 2, "input_shape": (8, 8, 1), "classes": 3}


@reads_files
@pytest.mark.parametrize("name", OUTPUTS)
def test_models_compute_what_they_did(name):
    model = keras.saving.load_model(FILES / f"{name}.keras")
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), OUTPUTS[name], atol=1e-5)


@pytest.mark.parametrize(
    ("make", "arguments", "file"),
    [
        (applications.ResNet, RESNET | {"survival_probability": 0.5}, "resnet.safetensors"),
        (applications.DenseNet, DENSENET, "densenet.safetensors"),
        pytest.param(applications.ResNet, RESNET | {"survival_probability": 0.5}, "resnet.keras", marks=reads_files),
        pytest.param(applications.DenseNet, DENSENET, "densenet.keras", marks=reads_files),
    ],
)
def test_factories_take_the_weights(make, arguments, file):
    model = make(weights=FILES / file, **arguments)
    expected = OUTPUTS[Path(file).stem]
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), expected, atol=1e-5)


@reads_files
def test_weights_of_a_plain_network_go_into_a_new_one():
    """Whose blocks are layers of their own, which `keras_sd.analysis` takes apart."""
    new = applications.PlainNet(blocks=(2, 1), filters=(16, 16), input_shape=(8, 8, 1), classes=3, weights=None)
    weights.copy(keras.saving.load_model(FILES / "plainnet.keras"), new)
    np.testing.assert_allclose(new.predict(IMAGES, verbose=0), OUTPUTS["plainnet"], atol=1e-5)
    assert len(analysis.blocks(new)) == 3


def test_keras_reads_the_weights():
    model = applications.ResNet(weights=None, survival_probability=0.5, **RESNET)
    model.load_weights(FILES / "resnet.weights.h5")
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), OUTPUTS["resnet"], atol=1e-5)


@reads_files
@pytest.mark.slow
def test_a_run_is_evaluated(tmp_path):
    shutil.copytree(FILES / "run", tmp_path / "run")
    results = json.loads((FILES / "run" / "results.json").read_text())
    assert f"{results['test_accuracy']:.4f}" in printed("evaluate", tmp_path / "run")


@pytest.mark.slow
def test_an_exported_run_is_evaluated():
    results = json.loads((FILES / "run" / "results.json").read_text())
    output = printed("evaluate", "ResNet", "--weights", FILES / "exported", "--data", "digits")
    assert f"{results['test_accuracy']:.4f}" in output


@pytest.mark.slow
def test_a_stopped_run_is_resumed(tmp_path):
    shutil.copytree(FILES / "stopped", tmp_path / "stopped")
    printed("train", "--resume", "--out", tmp_path / "stopped")
    assert json.loads((tmp_path / "stopped" / "results.json").read_text())["status"] == "complete"


def test_a_search_is_resumed_without_training_again(tmp_path):
    shutil.copytree(FILES / "search", tmp_path / "search")
    (tmp_path / "search" / "trials.csv").unlink()
    assert "trial" not in printed("tune", "--resume", "--out", tmp_path / "search").split("report:")[0]
    assert (tmp_path / "search" / "trials.csv").read_text() == (FILES / "search" / "trials.csv").read_text()
