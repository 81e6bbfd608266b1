"""The folder of a run: what lies where, and what is written as JSON."""

import importlib.metadata
import json
import os
import platform
from pathlib import Path

from keras_sd._version import __version__


class RunFolder:
    """Paths and records of one training run.

    Args:
        path: Directory of the run.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.history = self.path / "history.csv"
        self.best_weights = self.path / "best.weights.h5"
        self.ema_weights = self.path / "ema.weights.h5"
        self.model = self.path / "model.keras"
        self.curves = self.path / "curves.png"
        self.tensorboard = self.path / "tensorboard"
        self.results = self.path / "results.json"

    def __str__(self):
        return str(self.path)

    @classmethod
    def create(cls, path):
        """Makes a folder for a new run.

        Raises:
            FileExistsError: where something is there already, unless it is an empty directory.
        """
        folder = cls(path)
        folder.check_free()
        folder.path.mkdir(parents=True, exist_ok=True)
        return folder

    def check_free(self):
        """Raises `FileExistsError` if a new run cannot be written here without touching what is there."""
        if self.path.is_file() or (self.path.is_dir() and any(self.path.iterdir())):
            raise FileExistsError(
                f"out is {str(self.path)!r}, which exists and is never overwritten; name another folder"
            )

    @classmethod
    def open(cls, path):
        """Opens the folder of a run that has been.

        Raises:
            FileNotFoundError: where there is none.
        """
        folder = cls(path)
        if not folder.config.is_file():
            raise FileNotFoundError(f"run is {str(path)!r}, which holds no config.json; name the folder of a run")
        return folder

    def write(self, file, values):
        """Writes values as JSON, whole or not at all."""
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps(values, indent=2) + "\n")
        os.replace(temporary, file)

    def read(self, file):
        return json.loads(file.read_text())


def default_path(config, root="runs"):
    """The first free folder `runs/<model>-<data>-<number>`."""
    stem = f"{config.model}-{config.data}"
    number = 1
    while (path := Path(root) / f"{stem}-{number}").exists():
        number += 1
    return path


def environment():
    """Versions and machine, for `config.json`."""
    packages = ("keras", "tensorflow", "numpy", "scikit-learn", "tensorflow-datasets")
    return {
        "keras_sd": __version__,
        "python": platform.python_version(),
        **{name: version for name in packages if (version := _version(name))},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor():
    """The processor's name where Linux tells it, otherwise its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
