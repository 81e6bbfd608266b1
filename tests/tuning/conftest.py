"""What tests of the search share: digits, and a recipe of two steps an epoch."""

import pytest

pytest.importorskip("keras_tuner")


@pytest.fixture
def config():
    from keras_sd import training

    return training.resolve("digits", values={"steps_per_epoch": 2, "batch_size": 16, "epochs": 2})
