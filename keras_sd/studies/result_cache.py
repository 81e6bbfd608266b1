"""Cached results of studies, so that a stopped study can resume."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sd._version import __version__
from keras_sd.utils.files import write_atomically


def digest(*values: object) -> str:
    """Return the SHA-256, in hexadecimal digits, of values that JSON can hold."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def weights_digest(model: keras.Model) -> str:
    """Return the SHA-256 of a model's configuration and of all of its weights."""
    config = json.loads(model.to_json(), object_hook=_without_addresses)
    found = hashlib.sha256(json.dumps(config).encode())
    for weight in model.weights:
        found.update(np.ascontiguousarray(ops.convert_to_numpy(weight)).tobytes())
    return found.hexdigest()


def _without_addresses(config):
    """Remove the id of an object shared by layers, which differs between processes, from a part of a config."""
    config.pop("shared_object_id", None)
    return config


class Cache:
    """A directory of JSON files, each named by the digest of its key.

    Args:
        path: The directory; created when the first result is stored.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    def get(self, name: str, key: Any, compute: Callable[[], Any]) -> Any:
        """Return the stored result for a key, or store and return `compute()`.

        Args:
            name: Name of the result, for people who look into the directory.
            key: Everything that determines the result, in values that JSON can hold; the package version is added.
            compute: Function without arguments that returns a value that JSON can hold.
        """
        file = self.path / f"{name}-{digest(__version__, name, key)[:16]}.json"
        if file.exists():
            return json.loads(file.read_text())
        value = json.loads(json.dumps(compute()))
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(value).encode())
        return value
