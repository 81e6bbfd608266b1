"""Tiny networks of each kind, with statistics and scales that are not those of an untrained network."""

import numpy as np
import pytest
from helpers import randomize

from keras_sd import applications

SHAPE = (8, 8, 1)


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
