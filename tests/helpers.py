"""What many tests need: networks whose outputs tell their weights apart, images, the command in this process."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from keras_sd import applications
from keras_sd.cli import app

_PACKAGES = Path(__file__).parent.parent / "keras_sd" / "backend"  # one for each engine


def _why_not(engine):
    """Why nothing can be tested on an engine here, `None` where it can."""
    if not (_PACKAGES / engine).is_dir():
        return f"keras_sd has no package for {engine}"
    return None if importlib.util.find_spec(engine) else f"{engine} is not installed"


ENGINE = keras.backend.backend()  # the one that these tests run on
only_tensorflow = pytest.mark.skipif(ENGINE != "tensorflow", reason="tests what only TensorFlow has")
only_jax = pytest.mark.skipif(ENGINE != "jax", reason="tests what only JAX has (KERAS_BACKEND=jax)")


def _marks(engine):
    yield pytest.mark.skipif(_why_not(engine) is not None, reason=str(_why_not(engine)))
    if engine not in (ENGINE, "tensorflow"):  # JAX and PyTorch are compared with TensorFlow by suites of their own
        yield pytest.mark.other_engine


# Engines of Keras, as parameters of tests.
ENGINES = [pytest.param(name, marks=list(_marks(name))) for name in ("tensorflow", "jax", "torch")]


def run_python(code, cwd, engine=None, timeout=120):
    """Run a program in another process, on an engine, and return the process."""
    environment = {"KERAS_BACKEND": engine or ENGINE, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


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
