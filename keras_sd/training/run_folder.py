"""The folder of a run: what lies where, what is written as JSON, and that one process at a time writes there."""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import re
import tempfile
from pathlib import Path

import filelock
import keras

from keras_sd._version import __version__
from keras_sd.training.config import TrainConfig
from keras_sd.utils.files import write_atomically


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
        self.checkpoints = self.path / "checkpoints"
        self._lock = filelock.FileLock(self.path / "run.lock", timeout=0)

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
        """Checks that a new run can be written here without touching what is there; leaves nothing behind.

        Raises:
            FileExistsError: where something is there already, unless it is an empty directory.
            OSError: where nothing can be written.
        """
        # A process that was killed at once leaves these.
        if self.path.is_file() or (
            self.path.is_dir() and {file.name for file in self.path.iterdir()} - {"run.lock", "config.json.tmp"}
        ):
            raise FileExistsError(
                f"out is {str(self.path)!r}, which exists and is never overwritten; name another folder"
            )
        parent = next(path for path in (self.path, *self.path.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=parent):
            pass

    @contextlib.contextmanager
    def locked(self):
        """The right to write here, for a `with` block; the end of the process gives it back, too.

        Raises:
            BlockingIOError: where another process has it.
        """
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise BlockingIOError(
                f"out is {str(self.path)!r}, where another process is training; wait for its end, or name another"
            ) from None
        try:
            yield self
        finally:
            self._lock.release()

    def check_same(self, config, dataset=None):
        """Raises `ValueError` unless the run that is recorded here has this configuration, and this data set."""
        recorded = self.read(self.config)
        known = dataclasses.asdict(self.train_config())
        _refuse_changes("", _plain(known), _plain(dataclasses.asdict(config)), {"data_dir"})
        if dataset is not None:
            _refuse_changes("dataset's ", recorded["dataset"], _plain(dataset.describe()))

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

    def train_config(self):
        """The `TrainConfig` of the run that is recorded here.

        Raises:
            ValueError: where none is, for the folder is an exported one.
        """
        record = self.read(self.config)
        if "config" not in record:
            raise ValueError(f"run is {str(self)!r}, an exported folder; name its model, and the folder as --weights")
        return TrainConfig.from_dict(record["config"])

    def outcome(self):
        """The results of the run, an empty dictionary where it has not ended."""
        return self.read(self.results) if self.results.exists() else {}

    def write(self, file, values):
        """Writes values as JSON, whole or not at all."""
        write_atomically(file, (json.dumps(values, indent=2) + "\n").encode())

    def read(self, file):
        return json.loads(file.read_text())


def _plain(values):
    """Values as they come back from JSON."""
    return json.loads(json.dumps(values))


def _refuse_changes(kind, recorded, values, free=()):
    for name, value in values.items():
        if value != recorded.get(name) and name not in free:
            raise ValueError(f"{kind}{name} is {value!r}; it must be {recorded.get(name)!r} as the run has it")


def default_path(config, root="runs"):
    """The first free folder `runs/<model>-<data>-<number>`."""
    stem = re.sub(r"[^\w.-]+", "-", f"{config.model}-{config.data}")  # of folder:PATH, too
    number = 1
    while (path := Path(root) / f"{stem}-{number}").exists():
        number += 1
    return path


def environment():
    """Keras's backend, versions and machine, for `config.json`."""
    backend = keras.backend.backend()
    packages = ("keras", backend, "tensorflow", "numpy", "scikit-learn", "tensorflow-datasets")
    return {
        "keras_sd": __version__,
        "python": platform.python_version(),
        "backend": backend,
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
