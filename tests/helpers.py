"""What many tests need: networks whose outputs tell their weights apart, images, the command in this process."""

import keras
import numpy as np
from typer.testing import CliRunner

from keras_sd import applications
from keras_sd.cli import app


def randomize(model, seed=0):
    """Weights and statistics of which none is like another, of a size that keeps outputs moderate."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(random.uniform(0.5, 1.0, weight.shape))
        elif "kernel" not in weight.path:
            weight.assign(random.normal(0, 0.1, weight.shape))
    return model


def noise(*shape, seed=0):
    """Normal noise of a shape (batch, height, width, channels)."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def shape_only(name, /, **arguments):
    """A model without numbers in its weights, which is built several times faster."""
    with keras.StatelessScope(initialize_variables=False):
        return applications.get_model(name, **{"weights": None, **arguments})


def keras_sd(*arguments):
    """The result of a command in this process: its output, and its exit code."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def printed(*arguments):
    """The output of a command that succeeds."""
    result = keras_sd(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output
