"""Checkpoints: all that a run needs to go on as if it had never stopped, in one file each."""

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
        step: Integer, steps made since the start of the run.
        record: Dictionary of plain values: what is not in the model.
        arrays: Lists of arrays as `capture` returns them, and those of the model after its best epoch as "best".
    """

    step: int
    record: dict
    arrays: dict[str, list[np.ndarray]]

    def is_finite(self) -> bool:
        """Whether all weights and all numbers of the optimiser are finite."""
        arrays = self.arrays["model"] + self.arrays["optimizer"]
        # Of half precision too, whose NumPy types are of other kinds.
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
    """Return copies of all that a training step changes.

    Args:
        model: A compiled `keras.Model` whose optimizer is built.
        groups: Names of what is wanted.

    Returns:
        A dictionary of lists of arrays: of the "model" (weights, moving statistics, seed generators), of the
        "optimizer" (loss scale and averaged weights included), and of the "metrics".
    """
    return {group: [keras.ops.convert_to_numpy(variable) for variable in _variables(model, group)] for group in groups}


def restore(
    model: keras.Model, arrays: Mapping[str, list[np.ndarray]], groups: Sequence[str] = ("model", "optimizer")
) -> None:
    """Put back what `capture` took.

    Raises:
        ValueError: where the arrays are of another model; nothing is changed then.
    """
    pairs: list[tuple[keras.Variable, np.ndarray]] = []
    for group in groups:
        variables, values = _variables(model, group), arrays[group]
        if [tuple(v.shape) for v in variables] != [a.shape for a in values]:
            raise ValueError(f"checkpoint has other variables than this model: {group} differs in number or shape")
        pairs += zip(variables, values)
    for variable, value in pairs:
        variable.assign(value.view(np.dtype(variable.dtype)))  # files know bfloat16 as bytes


def encode(checkpoint: Checkpoint) -> bytes:
    """A checkpoint as bytes: NumPy's npz format, and behind it the SHA-256 of that."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        f"{group}/{i}": a for group, values in checkpoint.arrays.items() for i, a in enumerate(values)
    }
    record = json.dumps({"step": checkpoint.step, "counts": _counts(checkpoint.arrays), **checkpoint.record})
    np.savez(buffer, record=np.frombuffer(record.encode(), "uint8"), **arrays)
    return buffer.getvalue() + hashlib.sha256(buffer.getbuffer()).digest()


def decode(content: bytes) -> Checkpoint:
    """The checkpoint of some bytes.

    Raises:
        ValueError: where they are not what `encode` returned, to the last bit.
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


class Checkpoints:
    """The checkpoints of a run: a folder, in which a thread writes while training goes on.

    A file is there whole or not at all, whenever the process is killed. Where one cannot be written, as on a
    full disk, that is a warning, and those before it stay.

    Args:
        path: Path of the folder, which is made if need be.
        keep: Integer, how many to keep.

    Raises:
        ValueError: where `keep` is below 1.
    """

    def __init__(self, path: Path, keep: int = 2) -> None:
        self.path = path
        self.keep = check_integer("keep", keep)
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._pending: concurrent.futures.Future[None] | None = None
        path.mkdir(exist_ok=True)
        for file in path.glob("*.tmp"):  # of a process that was killed
            file.unlink()

    def save(self, checkpoint: Checkpoint) -> None:
        """Begin to write a checkpoint, once the one before it is written."""
        self.wait()
        self._pending = self._writer.submit(self._write, checkpoint)

    def wait(self) -> None:
        """Return when nothing is being written."""
        if self._pending is not None:
            self._pending.result()

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, `None` without one.

        Newer files, which are not, are removed; where none is whole, all are left as they are.
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
            write_atomically(self.path / f"step-{checkpoint.step:010d}.npz", encode(checkpoint))
        except OSError as error:
            logger.warning("checkpoint of step %d is not saved, training goes on: %s", checkpoint.step, error)
            return
        for file in self._files()[: -self.keep]:
            file.unlink()
