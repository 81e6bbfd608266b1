"""`keras-sd evaluate --report` and `keras-sd predict RUN`: where a run is wrong."""

import csv
import json

import numpy as np
import pytest
from helpers import keras_sd
from PIL import Image
from sklearn.metrics import confusion_matrix, top_k_accuracy_score

from keras_sd import data
from keras_sd.runs import networks
from keras_sd.runs.error_report import Predictions, predict


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run on digits."""
    folder = tmp_path_factory.mktemp("runs") / "mlp"
    process = keras_sd(
        "train", "--model", "MLP", "--set", "model_arguments.widths=[16]", "--epochs", 1, "--out", folder
    )
    assert process.exit_code == 0, process.output
    return folder


def test_numbers_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    predictions = Predictions(rng.integers(0, 7, 50), rng.random((50, 7)))
    classes = range(7)
    for count in (1, 5):
        expected = top_k_accuracy_score(predictions.labels, predictions.scores, k=count, labels=classes)
        assert predictions.top(count) == pytest.approx(expected)
    expected = confusion_matrix(predictions.labels, predictions.predicted, labels=classes)
    np.testing.assert_array_equal(predictions.confusion(), expected)


def test_the_most_wrong_are_wrong_and_in_order():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.05, 0.95]])
    assert Predictions(np.array([0, 0, 0, 0]), scores).most_wrong().tolist() == [3, 1, 2]
    assert Predictions(np.array([0, 0, 0, 0]), scores).most_wrong(1).tolist() == [3]


@pytest.mark.slow
def test_a_report_of_a_run(run, tmp_path):
    process = keras_sd("evaluate", run, "--report", tmp_path / "report")
    assert process.exit_code == 0, process.output
    accuracy = json.loads((run / "results.json").read_text())["test_accuracy"]
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    assert found["top1"] == pytest.approx(accuracy)
    assert f"top-1 {accuracy:.4f}, top-5 {found['top5']:.4f}" in process.output
    with (tmp_path / "report" / "classes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [f"{digit}" for digit in range(10)]
    assert sum(int(row["images"]) * float(row["accuracy"]) for row in rows) == pytest.approx(360 * accuracy, abs=0.1)
    for name in ("confusion.png", "most_wrong.png"):
        Image.open(tmp_path / "report" / name).verify()
    assert keras_sd("evaluate", run, "--report", tmp_path / "report").exit_code == 2


@pytest.mark.slow
def test_predict_gives_what_the_run_says_about_a_folder_of_its_images(run, tmp_path):
    """Pixels of digits go from 0 to 16; in a file of 8 bits they are scaled by 255 / 16, and rounded."""
    dataset = data.load("digits")
    (tmp_path / "more").mkdir()
    for number in range(5):
        pixels = dataset.test.images[number, ..., 0] * (255 / 16)
        Image.fromarray(pixels.round().astype("uint8")).save(tmp_path / "more" / f"{number}.png")
    model, dataset = networks.of_run(run)
    expected = predict(model, dataset).scores[:5]
    process = keras_sd("predict", run, tmp_path / "more", "--json")
    assert process.exit_code == 0, process.output
    rows = json.loads(process.output)
    assert [row["class"] for row in rows] == [f"{scores.argmax()}" for scores in expected]
    np.testing.assert_allclose([row["probability"] for row in rows], expected.max(-1), atol=0.01)
    assert keras_sd("predict", run, tmp_path / "more" / "0.png").output.count("0.png") == 5
    assert keras_sd("predict", run, tmp_path).output == keras_sd("predict", run, tmp_path / "more").output
