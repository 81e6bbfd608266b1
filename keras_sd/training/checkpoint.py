"""Checkpoints: the complete state of a run, each in one file, from which it resumes as if never interrupted."""

import concurrent.futures
import dataclasses
import hashlib
import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_sd.layers.blocks import FedProbabilities
from keras_sd.utils.checks import check_integer
from keras_sd.utils.files import write_atomically

logger = logging.getLogger(__name__)

_DIGEST_SIZE = hashlib.sha256().digest_size


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a step.

    Args:
        step: Integer, number of steps since the start of the run.
        record: Dictionary of plain values that are not part of the model.
        arrays: Lists of arrays from `capture`, and as "best" those of the model after its best epoch.
    """

    step: int
    record: dict
    arrays: dict[str, list[np.ndarray]]

    def is_finite(self) -> bool:
        """Return whether all weights and all optimizer variables are finite."""
        arrays = self.arrays["model"] + self.arrays["optimizer"]
        # Including half precision, whose NumPy types have other kinds.
        return all(np.isfinite(a.astype("float32")).all() for a in arrays if a.dtype.kind not in "iub")


_VARIABLES = {
    "model": lambda model: [v for v in model.variables if not isinstance(v, FedProbabilities)],
    "optimizer": lambda model: model.optimizer.variables,
    "metrics": lambda model: model.metrics_variables,
}


def _variables(model, group):
    if hasattr(model, "jax_state_sync"):  # on JAX, `fit` keeps the state apart from the variables within an epoch
        model.jax_state_sync()
    return _VARIABLES[group](model)


def capture(
    model: keras.Model, groups: Sequence[str] = ("model", "optimizer", "metrics")
) -> dict[str, list[np.ndarray]]:
    """Return copies of all variables that a training step changes.

    Args:
        model: A compiled `keras.Model` whose optimizer is built.
        groups: Names of the groups to return.

    Returns:
        A dictionary of lists of arrays: of the "model" (weights, moving statistics, seed generators), of the
        "optimizer" (loss scale and averaged weights included), and of the "metrics".
    """
    return {group: [keras.ops.convert_to_numpy(variable) for variable in _variables(model, group)] for group in groups}


def restore(
    model: keras.Model, arrays: Mapping[str, list[np.ndarray]], groups: Sequence[str] = ("model", "optimizer")
) -> None:
    """Restore the variables that `capture` returned.

    Raises:
        ValueError: The arrays belong to another model; nothing is changed then.
    """
    pairs: list[tuple[keras.Variable, np.ndarray]] = []
    for group in groups:
        variables, values = _variables(model, group), arrays[group]
        if [tuple(v.shape) for v in variables] != [a.shape for a in values]:
            raise ValueError(f"checkpoint has other variables than this model: {group} differs in number or shape")
        pairs += zip(variables, values)
    for variable, value in pairs:
        variable.assign(value.view(np.dtype(variable.dtype)))  # files store bfloat16 as bytes


def encode(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint as bytes: NumPy's npz format, followed by its SHA-256."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        f"{group}/{i}": a for group, values in checkpoint.arrays.items() for i, a in enumerate(values)
    }
    record = json.dumps({"step": checkpoint.step, "counts": _counts(checkpoint.arrays), **checkpoint.record})
    np.savez(buffer, record=np.frombuffer(record.encode(), "uint8"), **arrays)
    return buffer.getvalue() + hashlib.sha256(buffer.getbuffer()).digest()


def decode(content: bytes) -> Checkpoint:
    """Return the checkpoint that `encode` turned into bytes.

    Raises:
        ValueError: The bytes are not exactly those that `encode` returned.
    """
    payload = memoryview(content)[:-_DIGEST_SIZE]
    if hashlib.sha256(payload).digest() != content[-_DIGEST_SIZE:]:
        raise ValueError("torn or corrupt: its checksum is wrong")
    with np.load(io.BytesIO(payload)) as file:
        record = json.loads(file["record"].tobytes())
        arrays = {group: [file[f"{group}/{i}"] for i in range(n)] for group, n in record.pop("counts").items()}
    return Checkpoint(record.pop("step"), record, arrays)


def _counts(arrays):
    return {group: len(values) for group, values in arrays.items()}


def filename(step: int) -> str:
    """Return the name of the checkpoint of a step; names are in the order of steps."""
    return f"step-{step:010d}.npz"


class Checkpoints:
    """The checkpoints of a run: a folder, to which a thread writes while training continues.

    Writes are atomic, even if the process is killed. If a file cannot be written, as on a full disk, a warning is
    logged and earlier checkpoints are kept.

    Args:
        path: Path of the folder, which is created if needed.
        keep: Integer, number of checkpoints to keep.

    Raises:
        ValueError: `keep` is less than 1.
    """

    def __init__(self, path: Path, keep: int = 2) -> None:
        self.path = path
        self.keep = check_integer("keep", keep)
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._pending: concurrent.futures.Future[None] | None = None
        path.mkdir(exist_ok=True)
        for file in path.glob("*.tmp"):  # left by a process that was killed
            file.unlink()

    def save(self, checkpoint: Checkpoint) -> None:
        """Start writing a checkpoint after the previous one is complete."""
        self.wait()
        self._pending = self._writer.submit(self._write, checkpoint)

    def wait(self) -> None:
        """Wait until nothing is being written."""
        if self._pending is not None:
            self._pending.result()

    def newest(self) -> Checkpoint | None:
        """Return the newest intact checkpoint, or `None`.

        Newer damaged files are removed; if no file is intact, none is removed.
        """
        self.wait()
        damaged = []
        for file in reversed(self._files()):
            try:
                checkpoint = decode(file.read_bytes())
            except ValueError as error:
                logger.warning("checkpoint %s is skipped: it is %s", file, error)
                damaged.append(file)
                continue
            for other in damaged:
                other.unlink()
            return checkpoint
        return None

    def _files(self):
        return sorted(file for file in self.path.glob("step-*.npz") if file.is_file())

    def _write(self, checkpoint):
        try:
            write_atomically(self.path / filename(checkpoint.step), encode(checkpoint))
        except OSError as error:
            logger.warning("checkpoint of step %d is not saved, training goes on: %s", checkpoint.step, error)
            return
        for file in self._files()[: -self.keep]:
            file.unlink()
