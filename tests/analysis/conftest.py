"""Tiny networks of each kind, with statistics and scales that are not those of an untrained network."""

import keras
import numpy as np
import pytest

from keras_sd import applications

SHAPE = (8, 8, 1)


def randomize(model, seed=0):
    """Weights away from where they start: scales that are not 1, offsets and means that are not 0."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        values = keras.ops.convert_to_numpy(weight)
        if "variance" in weight.name or "gamma" in weight.name:
            weight.assign(random.uniform(0.5, 1.5, values.shape))
        elif "beta" in weight.name or "mean" in weight.name:
            weight.assign(random.normal(0, 0.3, values.shape))
    return model


@pytest.fixture
def make():
    """`make(name, **arguments)`: a small model with weights of its own."""

    def build(name, **arguments):
        return randomize(applications.get_model(name, weights=None, input_shape=SHAPE, classes=3, **arguments))

    return build


@pytest.fixture
def examples():
    random = np.random.default_rng(1)
    return random.normal(size=(6, *SHAPE)).astype("float32"), random.integers(0, 3, 6)
