"""Rosenblatt's rule against NumPy, what a perceptron can learn, and what takes a hidden layer."""

import keras
import numpy as np
import pytest

from keras_sd import applications
from keras_sd.layers import perceptron_loss, threshold

POINTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32").reshape(4, 1, 2, 1)
AND, XOR = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 0])


def perceptron(classes=1, input_shape=(1, 2, 1), **arguments):
    model = applications.Perceptron(input_shape=input_shape, classes=classes, **arguments)
    model.compile(keras.optimizers.SGD(1.0), perceptron_loss)
    return model


def fit(model, targets, passes, batch_size):
    """Passes over the four points in one epoch, which is faster than as many epochs."""
    x, y = np.tile(POINTS, (passes, 1, 1, 1)), np.tile(targets, passes)
    model.fit(x, y, batch_size=batch_size, shuffle=False, verbose=0)
    return model


def rule(kernel, bias, x, target):
    """Rosenblatt's rule for one example, in place: `w <- w + (t - y) x`."""
    y = (x @ kernel + bias > 0).astype("float32")
    kernel += np.outer(x, target - y)
    bias += target - y


@pytest.mark.parametrize("classes", [1, 3])
def test_each_update_is_the_perceptron_rule(classes):
    random = np.random.default_rng(0)
    x = random.integers(-3, 4, (40, 2, 2, 1)).astype("float32")
    labels = random.integers(0, max(classes, 2), 40)
    targets = labels[:, None] if classes == 1 else np.eye(classes)[labels]
    model = perceptron(classes, (2, 2, 1))
    kernel, bias = (w.copy() for w in model.get_layer("predictions").get_weights())
    changes = 0
    for one, label, target in zip(x, labels, targets.astype("float32")):
        before = kernel.copy()
        rule(kernel, bias, one.ravel(), target)
        changes += (kernel != before).any()
        model.train_on_batch(one[None], np.array([label]))
        for found, expected in zip(model.get_layer("predictions").get_weights(), (kernel, bias)):
            np.testing.assert_allclose(found, expected, atol=1e-5)
    assert 5 < changes < 40  # some examples were right already


def test_fit_converges_on_and():
    model = fit(perceptron(), AND, 20, 1)
    np.testing.assert_array_equal(model.predict(POINTS, verbose=0)[:, 0], AND)
    before = model.get_weights()
    fit(model, AND, 1, 1)  # nothing is wrong, so that nothing moves
    for a, b in zip(model.get_weights(), before):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_no_perceptron_learns_xor():
    model = perceptron()
    for _ in range(5):
        fit(model, XOR, 10, 1)
        assert (model.predict(POINTS, verbose=0)[:, 0] != XOR).any()


@pytest.mark.slow
def test_a_hidden_layer_learns_xor():
    model = applications.MLP(widths=(16,), input_shape=(1, 2, 1), classes=2)
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    fit(model, XOR, 150, 4)
    np.testing.assert_array_equal(model.predict(POINTS, verbose=0).argmax(1), XOR)


@pytest.mark.slow
def test_the_differentiable_setting_trains_with_cross_entropy():
    model = perceptron(2, classifier_activation="softmax")
    model.compile(keras.optimizers.Adam(0.1), "sparse_categorical_crossentropy")
    fit(model, AND, 100, 4)
    np.testing.assert_array_equal(model.predict(POINTS, verbose=0).argmax(1), AND)


def test_threshold_units_say_0_or_1_and_survive_a_file(tmp_path):
    x = np.array([-2.0, -1e-6, 0.0, 1e-6, 3.0], "float32")
    np.testing.assert_array_equal(threshold(keras.ops.convert_to_tensor(x)), [0, 0, 0, 1, 1])
    model = perceptron(3)
    model.save(tmp_path / "perceptron.keras")
    loaded = keras.saving.load_model(tmp_path / "perceptron.keras")
    assert set(np.unique(loaded.predict(POINTS, verbose=0))) <= {0.0, 1.0}
    np.testing.assert_array_equal(loaded.predict(POINTS, verbose=0), model.predict(POINTS, verbose=0))


@pytest.mark.parametrize("targets", [np.eye(3)[[0, 2]], np.array([0, 2]), np.array([[0], [2]])])
def test_loss_takes_class_numbers_or_targets(targets):
    y = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], "float32")
    np.testing.assert_allclose(perceptron_loss(targets, keras.ops.convert_to_tensor(y)), [0.5, 0.0])


@pytest.mark.parametrize("arguments", [{"widths": (0,)}, {"widths": 5}, {"widths": (4, 2.5)}, {"dropout_rate": 1.0}])
def test_sizes_are_checked(arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}` must be"):
        applications.MLP(**arguments)


def test_closed_form_of_the_parameters():
    model = applications.MLP(widths=(7, 5), input_shape=(4, 3, 2), classes=6)
    assert model.count_params() == (24 + 1) * 7 + (7 + 1) * 5 + (5 + 1) * 6
    assert applications.MLP(include_top=False, widths=(7, 5)).output_shape == (None, 5)
