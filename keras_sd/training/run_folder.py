"""The folder of a run: its files, JSON records, and an exclusive lock for writing."""

import dataclasses
import enum
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from keras_sd._version import __version__
from keras_sd.training.config import TrainConfig
from keras_sd.utils.checks import refusal
from keras_sd.utils.files import (
    DamagedFileError,
    Lock,
    check_record,
    free_path,
    read_bytes,
    read_json,
    write_atomically,
)
from keras_sd.utils.processors import cores, processor

if TYPE_CHECKING:
    import keras


class RunStatus(enum.StrEnum):
    """How a run ended."""

    COMPLETE = "complete"
    INTERRUPTED = "interrupted"  # by Ctrl-C: the folder has everything except test accuracies
    PREEMPTED = "preempted"  # by SIGTERM: the folder has everything needed to resume
    DIVERGED = "diverged"  # loss or weights became NaN or infinite


OVER = (RunStatus.COMPLETE, RunStatus.DIVERGED)  # runs that cannot be resumed
_NUMBER = (int, float)
# Further keys of results, by status.
_RESULTS: dict[str, dict] = {
    RunStatus.COMPLETE: {"test_accuracy": _NUMBER, "test_accuracy_final": _NUMBER, "best_epoch": int},
    RunStatus.INTERRUPTED: {},
    RunStatus.PREEMPTED: {},
    RunStatus.DIVERGED: {"diverged_step": int, "diverged_epoch": int, "checkpoint_step": int},
}
_DATASET = {
    "name": str,
    "test": int,
    "input_shape": list,
    "class_names": list,
    "mean": list,
    "std": list,
    "white": _NUMBER,
}


class RunFolder:
    """Paths and records of one training run.

    Args:
        path: Directory of the run.

    Raises:
        ValueError: If the path is not UTF-8; neither HDF5 nor JSON could record it.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        try:
            str(self.path).encode()
        except UnicodeEncodeError:
            raise refusal("path", "a path in UTF-8", str(self.path)) from None
        self.config = self.path / "config.json"
        self.history = self.path / "history.csv"
        self.best_weights = self.path / "best.weights.h5"
        self.ema_weights = self.path / "ema.weights.h5"
        self.model = self.path / "model.keras"
        self.curves = self.path / "curves.png"
        self.tensorboard = self.path / "tensorboard"
        self.results = self.path / "results.json"
        self.checkpoints = self.path / "checkpoints"
        allowed = "a folder where no other process is training"
        self._lock = Lock(self.path / "run.lock", refusal("out", allowed, str(self.path), BlockingIOError))

    def __str__(self):
        return str(self.path)

    @classmethod
    def create(cls, path: str | os.PathLike) -> Self:
        """Create the folder of a new run.

        Raises:
            FileExistsError: If the path exists and is not an empty directory.
        """
        folder = cls(path)
        folder.check_free()
        folder.path.mkdir(parents=True, exist_ok=True)
        return folder

    def check_free(self) -> None:
        """Check that a new run can be written here without overwriting anything; write nothing.

        Raises:
            FileExistsError: If the path exists and is not an empty directory.
            OSError: If nothing can be written.
        """
        # A process killed at the start may have left these two files.
        if self.path.is_file() or (
            self.path.is_dir() and {file.name for file in self.path.iterdir()} - {"run.lock", "config.json.tmp"}
        ):
            raise refusal("out", "a new folder: existing files are never overwritten", str(self.path), FileExistsError)
        parent = next(path for path in (self.path, *self.path.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=parent):
            pass

    def locked(self) -> Lock:
        """Return the exclusive lock on the folder, for a `with` block.

        Entering the block raises a `BlockingIOError` if another process has the lock.
        """
        return self._lock

    def check_same(self, config: TrainConfig, dataset: Any = None) -> None:
        """Raise a `ValueError` unless the recorded run has this configuration and data set."""
        refuse_changes(dataclasses.asdict(self.train_config()), dataclasses.asdict(config), "the run", {"data_dir"})
        if dataset is not None:
            refuse_changes(self.dataset_record(), dataset.describe(), "the run's data set")

    @classmethod
    def open(cls, path: str | os.PathLike) -> Self:
        """Open the folder of an existing run.

        Raises:
            FileNotFoundError: If there is none.
        """
        folder = cls(path)
        if not os.path.lexists(folder.config):
            raise refusal("run", "the folder of a run, which contains a config.json", str(path), FileNotFoundError)
        return folder

    @property
    def resume_command(self) -> str:
        """The command that resumes the run."""
        return f"`keras-sd train --resume --out {shlex.quote(str(self))}`"

    def train_config(self) -> TrainConfig:
        """Return the recorded `TrainConfig` of the run.

        Raises:
            DamagedFileError: If `config.json` is damaged.
            ValueError: If the folder is an exported one, which has no training configuration.
        """
        record = self.read(self.config)
        if "config" not in record:
            allowed = "the folder of a run; for an exported folder, give the model, and the folder as --weights"
            raise refusal("run", allowed, str(self))
        check_record(self.config, record, {"config": dict}, self.remedy(self.config))
        try:
            return TrainConfig.from_dict(record["config"])
        except (TypeError, ValueError) as error:
            what = f"has no valid configuration of a run: {error}"
            raise DamagedFileError(self.config, what, self.remedy(self.config)) from error

    def dataset_record(self) -> dict[str, Any]:
        """Return the record of the data set in `config.json`, its `Dataset.describe()`.

        Raises:
            DamagedFileError: If `config.json` is damaged.
        """
        remedy = self.remedy(self.config)
        dataset = read_json(self.config, remedy, {"dataset": dict})["dataset"]
        check_record(self.config, dataset, _DATASET, remedy, "dataset.")
        return dataset

    def outcome(self) -> dict[str, Any]:
        """Return the results of the run, an empty dictionary if it has not ended.

        Raises:
            DamagedFileError: If `results.json` is damaged.
        """
        if not os.path.lexists(self.results):
            return {}
        remedy = self.remedy(self.results)
        results = read_json(self.results, remedy, {"status": str, "train_seconds": _NUMBER})
        if results["status"] not in _RESULTS:
            raise DamagedFileError(self.results, f"has an unknown `status`: {results['status']!r}", remedy)
        check_record(self.results, results, _RESULTS[results["status"]], remedy)
        check_record(self.results, {"sha256": {}} | results, {"sha256": dict}, remedy)
        return results

    def is_over(self) -> bool:
        """Return whether the run has ended for good, and all its files are intact.

        Raises:
            DamagedFileError: If `results.json` is damaged.
        """
        results = self.outcome()
        return results.get("status") in OVER and self.damage(results) is None

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each output file by name, for the results; records are not included."""
        files = (self.history, self.best_weights, self.ema_weights, self.model, self.curves)
        return {file.name: _sha256(file.read_bytes()) for file in files if file.is_file()}

    def damage(self, results: Mapping[str, Any]) -> DamagedFileError | None:
        """Return an error for the first damaged file of an ended run, or `None`.

        Args:
            results: The run's results. Those of version 0.1 have no digests; their files need only exist.
        """
        names = {self.model.name, *results.get("sha256", ())}
        if "best_epoch" in results:
            names |= {self.history.name, self.best_weights.name}
        for name in sorted(names):
            try:
                self.check_whole(self.path / name, results)
            except DamagedFileError as error:
                return error
        return None

    def check_whole(self, file: Path, results: Mapping[str, Any]) -> None:
        """Raise a `DamagedFileError` unless a file matches its digest in the results, if there is one."""
        read = read_bytes(file, self.remedy(file))
        expected = results.get("sha256", {}).get(file.name)
        if expected is not None and _sha256(read) != expected:
            raise DamagedFileError(file, "has changed since the run ended", self.remedy(file))

    def check_replaceable(self) -> None:
        """Check that the outputs of a resumed run can replace the existing files.

        Raises:
            DamagedFileError: If a folder has the name of a file, or vice versa.
        """
        outputs = (self.history, self.best_weights, self.ema_weights, self.model, self.curves, self.results)
        for file in outputs:
            if file.is_dir():
                raise DamagedFileError(file, "is a folder, not a file", "remove it")
        if self.checkpoints.exists() and not self.checkpoints.is_dir():
            raise DamagedFileError(self.checkpoints, "is a file, not a folder", "remove it")

    def has_progress(self) -> bool:
        """Return whether the folder has any output of training."""
        files = (self.history, self.best_weights, self.model)
        return any(file.exists() for file in files) or any(self.checkpoints.glob("step-*.npz"))

    def load_model(self, weights: Path | None = None) -> "keras.Model":
        """Load the model of an ended run.

        Args:
            weights: Path of a weight file in this folder; `None` for the weights in `model.keras`.

        Returns:
            A compiled `keras.Model`.

        Raises:
            DamagedFileError: If one of the files is damaged.
        """
        import keras

        results = self.outcome()
        for file in (self.model, *([] if weights is None else [weights])):
            self.check_whole(file, results)
        model = self._load(self.model, keras.saving.load_model)
        if weights is not None:
            self._load(weights, model.load_weights)
        return model

    def _load(self, file, load):
        try:
            return load(file)
        except Exception as error:  # zipfile, h5py, json and Keras raise different errors
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise DamagedFileError(file, f"cannot be loaded: {reason}", self.remedy(file)) from error

    def remedy(self, file: Path) -> str:
        """Return what to do about a damaged file of the folder, for its error message."""
        if file == self.config:
            return "restore it from a copy, or train in another folder"
        if file == self.results:
            return f"remove it, and {self.resume_command} recreates it"
        return f"{self.resume_command} restores it"

    def write(self, file: Path, values: Mapping[str, Any]) -> None:
        """Write values as JSON atomically."""
        write_atomically(file, (json.dumps(values, indent=2) + "\n").encode())

    def read(self, file: Path) -> dict[str, Any]:
        """Return the dictionary in a JSON file of the run.

        Raises:
            DamagedFileError: If the file is damaged.
        """
        return read_json(file, self.remedy(file))


def _sha256(content):
    return hashlib.sha256(content).hexdigest()


def _plain(values):
    """Return the values as JSON would return them."""
    return json.loads(json.dumps(values))


def refuse_changes(
    recorded: Mapping[str, Any], asked: Mapping[str, Any], whose: str, may_change: Collection[str] = ()
) -> None:
    """Raise a `ValueError` if a requested value differs from the recorded one.

    Args:
        recorded: Dictionary of recorded values.
        asked: Dictionary of requested values, for any of the same names.
        whose: String, what the record describes: `"the run"`.
        may_change: Names that may differ.
    """
    for name, value in asked.items():
        if name not in may_change and _plain(value) != _plain(recorded.get(name)):
            raise refusal(name, f"{recorded.get(name)!r}, as {whose} has it", value)


def default_path(config: TrainConfig, root: str | os.PathLike = "runs") -> Path:
    """Return the first free folder `runs/<model>-<data>-<number>`."""
    stem = re.sub(r"[^\w.-]+", "-", f"{config.model}-{config.data}")  # also of folder:PATH
    return free_path(root, stem)


def environment() -> dict[str, Any]:
    """Return the backend, versions and machine, for `config.json`."""
    import keras

    backend = keras.backend.backend()
    packages = ("keras", backend, "tensorflow", "numpy", "scikit-learn", "tensorflow-datasets")
    return {
        "keras_sd": __version__,
        "python": platform.python_version(),
        "backend": backend,
        **{name: version for name in packages if (version := _version(name))},
        "platform": platform.platform(),
        "processor": processor(),
        "cores": cores(),
    }


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
