"""Results kept by what determines them, so that a study goes on where it was stopped."""

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
    """SHA-256, as hexadecimal digits, of values that JSON can hold."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def weights_digest(model: keras.Model) -> str:
    """SHA-256 of a model's configuration and of all of its weights."""
    config = json.loads(model.to_json(), object_hook=_without_addresses)
    found = hashlib.sha256(json.dumps(config).encode())
    for weight in model.weights:
        found.update(np.ascontiguousarray(ops.convert_to_numpy(weight)).tobytes())
    return found.hexdigest()


def _without_addresses(config):
    """A part of a configuration without the number that an object shared by layers has in this process."""
    config.pop("shared_object_id", None)
    return config


class Cache:
    """A directory of JSON files, each named by the digest of what determines its content.

    Args:
        path: The directory; made when something is kept.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    def get(self, name: str, key: Any, compute: Callable[[], Any]) -> Any:
        """What was computed for this key, or `compute()`, which is kept.

        Args:
            name: Of the piece, for people who look into the directory.
            key: Whatever determines the piece, values that JSON can hold. The package's version counts, too.
            compute: Function without arguments of a value that JSON can hold.
        """
        file = self.path / f"{name}-{digest(__version__, name, key)[:16]}.json"
        if file.exists():
            return json.loads(file.read_text())
        value = json.loads(json.dumps(compute()))
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(value).encode())
        return value
