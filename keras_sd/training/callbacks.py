"""Callbacks of a run: history, best weights, and warm-up of survival probabilities."""

import csv
import dataclasses
import io
import logging
import time
from pathlib import Path

import keras
import numpy as np

from keras_sd.layers.blocks import GatedBlocks
from keras_sd.layers.nesting import walk
from keras_sd.layers.template import parts
from keras_sd.training.checkpoint import capture, restore
from keras_sd.training.config import TrainConfig
from keras_sd.training.curves import COLUMNS
from keras_sd.training.head_first import HeadFirst
from keras_sd.utils import retracing
from keras_sd.utils.files import save_atomically, write_atomically

logger = logging.getLogger(__name__)


class Clock(keras.callbacks.Callback):
    """Callback that times epochs: `seconds` includes validation; `rate` is in images per second of training alone.

    Args:
        batch_size: Integer, images in a step.
    """

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.start = time.perf_counter()
        self.rate = float("nan")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.rate = (batch + 1) * self.batch_size / (time.perf_counter() - self.start)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.start


class HistoryFile(Clock):
    """Callback that adds a row to a CSV file after each epoch: the `COLUMNS`, with epochs counted from 1.

    The whole file is rewritten each time, including the rows that it had when training began.

    The learning rate is that of the last step of the epoch. `seconds` includes validation, `images_per_second` does
    not. Training accuracy and loss are averages over the augmented images of the epoch, during which weights change.

    Args:
        path: Path of the file.
        batch_size: Integer, images in a step.
    """

    def __init__(self, path: Path, batch_size: int) -> None:
        super().__init__(batch_size)
        self.path = path
        self._text = ""

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._text = self.path.read_bytes().decode() if self.path.exists() else ""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        row = {
            **(logs or {}),
            "epoch": epoch + 1,
            "learning_rate": last_learning_rate(self.model.optimizer),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.rate, 1),
        }
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
        if not self._text:
            writer.writeheader()
        writer.writerow(row)
        self._text += text.getvalue()
        write_atomically(self.path, self._text.encode())


def last_learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """Return the learning rate of the last step, as a float."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # under loss scaling
    schedule = inner._learning_rate
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        step = int(keras.ops.convert_to_numpy(inner.iterations))
        return float(f"{float(schedule(max(0, step - 1))):.6g}")
    return float(f"{float(keras.ops.convert_to_numpy(inner.learning_rate)):.6g}")


@dataclasses.dataclass(frozen=True)
class Best:
    """The best epoch of a run so far.

    Args:
        epoch: Integer, counted from 1; `None` before the first one.
        accuracy: Float, on validation.
        weights: List of arrays, of all variables of the model; `None` if a checkpoint of version 0.1 has none.
    """

    epoch: int | None = None
    accuracy: float = -np.inf
    weights: list[np.ndarray] | None = None


class BestWeights(keras.callbacks.Callback):
    """Callback that keeps the weights of the epoch with the highest validation accuracy; of equals, the later one.

    Later epochs have lower learning rates, and ties are common on a small validation split.

    `best` is authoritative: checkpoints contain it, and the file is written from it. If the file cannot be written, as
    on a full disk, a warning is logged; `flush` writes it later.

    Args:
        path: Path of the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.best = Best()
        self._is_written = True

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None  # Keras passes them
        if not (np.isfinite(logs["loss"]) and logs["val_accuracy"] >= self.best.accuracy):
            return
        self._is_written = False
        self.best = Best(epoch + 1, float(logs["val_accuracy"]), capture(self.model, ["model"])["model"])
        try:
            self._write(self.model)
        except OSError as error:
            logger.warning("%s is not saved, training goes on: %s", self.path, error)

    def flush(self, model: keras.Model) -> None:
        """Write the file if it is not that of `best`; the model's weights are replaced for this and then restored.

        Args:
            model: The run's model.

        Raises:
            OSError: The file cannot be written.
        """
        if self._is_written or self.best.weights is None:
            return
        held = capture(model, ["model"])
        restore(model, {"model": self.best.weights}, ["model"])
        try:
            self._write(model)
        finally:
            restore(model, held, ["model"])

    def resume(self, best: Best, model: keras.Model) -> None:
        """Resume with the best epoch of a checkpoint; its weights replace those in the file.

        The file may be damaged, or belong to an epoch that was lost when the process was killed.
        """
        self.best, self._is_written = best, False
        if best.epoch is None:
            self.path.unlink(missing_ok=True)
        self.flush(model)

    def _write(self, model):
        save_atomically(model.save_weights, self.path)
        self._is_written = True


class SurvivalWarmup(keras.callbacks.Callback):
    """Callback that lowers survival probabilities from 1 to their final values at the beginning of training.

    In epoch `e`, counted from 0, of `E` they are `1 - s (1 - p)` with `s = min(1, e / (fraction E))`. They are an
    input of the compiled steps. If shapes depend on them (`gates="systematic"`, `granularity="subset"`), and in layers
    inside a stack's blocks, they are constants, and each epoch of the warm-up compiles its steps again.

    Args:
        fraction: Float in (0, 1], length of the warm-up as a fraction of the training.
    """

    def __init__(self, fraction: float) -> None:
        super().__init__()
        self.fraction = fraction
        self.final: dict[GatedBlocks, tuple[float, ...]] = {}
        self.ramp = 1.0
        self._compiles_anew = False

    def set_model(self, model: keras.Model) -> None:
        # Here, before Keras on JAX determines the variables of a step.
        super().set_model(model)
        probabilities = {layer: layer.survival_probabilities for layer in gated_blocks(model)}
        self.final = {layer: final for layer, final in probabilities.items() if min(final) < 1}
        seen_by_keras = {id(part) for part in parts(model)}  # without layers inside a stack's template
        fed = [layer for layer in self.final if layer.can_be_fed and id(layer) in seen_by_keras]
        for layer in fed:
            layer.feed_probabilities()
        self._compiles_anew = len(fed) < len(self.final)
        if fed:
            self._forget_steps()

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        retracing.LOGGER.addFilter(retracing.is_no_advice)
        self.ramp = 1.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._set(min(1.0, epoch / (self.fraction * self.params["epochs"])))

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self._set(1.0)
        retracing.LOGGER.removeFilter(retracing.is_no_advice)

    def _set(self, ramp):
        if ramp == self.ramp or not self.final:
            return
        self.ramp = ramp
        for layer, final in self.final.items():
            layer.survival_probabilities = final if ramp == 1 else tuple(1 - ramp * (1 - p) for p in final)
        if self._compiles_anew:
            self._forget_steps()

    def _forget_steps(self):
        self.model.make_train_function(force=True)
        self.model.make_test_function(force=True)


def gated_blocks(model: keras.Model) -> list[GatedBlocks]:
    """Return the layers of a model whose blocks stochastic depth can drop."""
    layers = walk(model, into_blocks=True)
    return [layer for layer in layers if isinstance(layer, GatedBlocks) and layer.kind != "plain"]


def expected_depth(model: keras.Model) -> tuple[float, int]:
    """Return the expected number of blocks that survive a training step, and the number of blocks."""
    probabilities = [p for layer in gated_blocks(model) for p in layer.survival_probabilities]
    return sum(probabilities), len(probabilities)


def of_config(config: TrainConfig) -> list[keras.callbacks.Callback]:
    """Return the callbacks that a configuration requests, in addition to those of every run."""
    warmup = [SurvivalWarmup(config.survival_warmup)] if config.survival_warmup else []
    return [*warmup, HeadFirst(config)] if config.head_only_epochs else warmup
