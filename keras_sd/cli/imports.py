"""What commands import, and only those that need it: Keras and its engine take seconds."""

import importlib
from collections.abc import Iterable

from keras_sd.cli.console import silent_stderr
from keras_sd.utils.lazy import load

NETWORKS = ("layers", "training")
IMAGES = (*NETWORKS, "data")  # `tf.data` reads the images for all engines


def load_silently(packages: Iterable[str]) -> None:
    """Import packages of `keras_sd`, and with them Keras, without what engines print at their start."""
    with silent_stderr():
        for package in packages:
            load(importlib.import_module(f"keras_sd.{package}"))
