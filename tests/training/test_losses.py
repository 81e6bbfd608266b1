"""Losses and accuracy of integer and of mixed labels, against formulas in NumPy."""

import keras
import numpy as np
import pytest

from keras_sd.training import resolve
from keras_sd.training.losses import Accuracy, CrossEntropy, loss_of, one_versus_rest

LABELS = np.array([2, 0, 1, 2])
SHARES = np.array([[0, 0.3, 0.7], [1, 0, 0], [0.4, 0.6, 0], [0.2, 0, 0.8]], "float32")


@pytest.fixture
def probabilities():
    logits = np.random.default_rng(0).normal(size=(4, 3))
    return (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype("float32")


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], np.eye(3)[LABELS], SHARES], ids=str)
def test_cross_entropy(labels, smoothing, probabilities):
    shares = np.eye(3)[labels.reshape(-1)] if labels.dtype.kind == "i" else labels
    smooth = shares * (1 - smoothing) + smoothing / 3
    expected = -(smooth * np.log(probabilities)).sum(1).mean()
    assert float(CrossEntropy(smoothing)(labels, probabilities)) == pytest.approx(expected, rel=1e-5)


def test_one_versus_rest_counts_every_class_that_is_there(probabilities):
    present = SHARES > 0
    expected = -np.where(present, np.log(probabilities), np.log(1 - probabilities)).mean(1)
    found = keras.ops.convert_to_numpy(one_versus_rest(SHARES, probabilities))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    hard = keras.ops.convert_to_numpy(one_versus_rest(LABELS, probabilities))
    np.testing.assert_allclose(hard, keras.ops.convert_to_numpy(one_versus_rest(np.eye(3)[LABELS], probabilities)))


def test_accuracy_of_integer_labels_and_of_shares(probabilities):
    guesses = probabilities.argmax(1)
    metric = Accuracy()
    metric.update_state(SHARES, probabilities)  # first mixed, then integers: as in training and validation
    assert float(metric.result()) == pytest.approx((guesses == SHARES.argmax(1)).mean())
    metric.reset_state()
    metric.update_state(LABELS, probabilities)
    assert float(metric.result()) == pytest.approx((guesses == LABELS).mean())


@pytest.mark.slow
def test_training_with_shares_and_testing_with_integers(tmp_path):
    """Accuracy and loss of both, also from a file."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, "softmax")])
    config = resolve("digits", mixup=0.2, label_smoothing=0.1)
    model.compile("sgd", loss_of(config), metrics=[Accuracy()])
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    model.fit(x, SHARES, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for network in (model, loaded):
        scores = network.evaluate(x, LABELS, verbose=0, return_dict=True)
        guesses = network.predict(x, verbose=0)
        smooth = np.eye(3)[LABELS] * 0.9 + 0.1 / 3
        assert scores["accuracy"] == pytest.approx((guesses.argmax(1) == LABELS).mean())
        assert scores["loss"] == pytest.approx(-(smooth * np.log(guesses)).sum(1).mean(), rel=1e-4)


def test_the_loss_of_a_configuration():
    assert loss_of(resolve("digits")) == "sparse_categorical_crossentropy"
    assert loss_of(resolve("digits", loss="keras_sd>one_versus_rest")) is one_versus_rest
    for mixed in ({"mixup": 0.2}, {"cutmix": 1.0}, {"label_smoothing": 0.1}):
        assert isinstance(loss_of(resolve("digits", **mixed)), CrossEntropy)
