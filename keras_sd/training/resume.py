"""The progress of a run: counted, saved, and resumed."""

import time

import keras
from keras import ops

from keras_sd.backend import devices
from keras_sd.training import checkpoint
from keras_sd.training.callbacks import Best, BestWeights
from keras_sd.training.checkpoint import Checkpoint, Checkpoints
from keras_sd.training.divergence import Diverged
from keras_sd.training.interruption import Notice, Preempted
from keras_sd.training.run_folder import RunFolder
from keras_sd.utils.files import write_atomically


class Progress(keras.callbacks.Callback):
    """The state of a run outside its model, with which an interrupted epoch is resumed.

    `fit` runs all steps of each epoch and starts it with empty metrics. An epoch that another process started gets only
    its remaining steps and continues with its metrics. Callbacks find the number of steps made before in their
    `params["steps_before"]`.

    Args:
        folder: The `RunFolder`.
        best: The run's `BestWeights`.
        steps_per_epoch: Integer.
        saved: The `Checkpoint` to resume from; `None` at the start of a run.
    """

    def __init__(
        self, folder: RunFolder, best: BestWeights, steps_per_epoch: int, saved: Checkpoint | None = None
    ) -> None:
        super().__init__()
        self.folder, self.best, self.steps_per_epoch = folder, best, steps_per_epoch
        self.step = 0
        self.start = time.perf_counter()
        self._saved = saved

    @property
    def epoch(self) -> int:
        """Number of complete epochs."""
        return self.step // self.steps_per_epoch

    @property
    def seconds(self) -> float:
        """Seconds since the start of the run, without the work lost by interruptions."""
        return time.perf_counter() - self.start

    def take_up(self, model: keras.Model) -> None:
        """Set model and folder to the state of the checkpoint, or to the start."""
        self.folder.results.unlink(missing_ok=True)  # first, since it describes the best weights that are here now
        history, seconds, best = None, 0.0, Best()
        if self._saved is not None:
            record, arrays = self._saved.record, self._saved.arrays
            history, seconds = record["history"], record["seconds"]
            best = Best(record["best_epoch"], record["best_accuracy"], arrays.get("best"))
        self.best.resume(best, model)
        if self._saved is not None:
            checkpoint.restore(model, arrays)
            self.step = self._saved.step
        self.start = time.perf_counter() - seconds
        if history is None:
            self.folder.history.unlink(missing_ok=True)
        else:
            write_atomically(self.folder.history, history.encode())

    def checkpoint(self) -> Checkpoint:
        """Return a `Checkpoint` of the current state."""
        history, best = self.folder.history, self.best.best
        record = {
            "history": history.read_bytes().decode() if history.exists() else None,
            "seconds": self.seconds,
            "best_epoch": best.epoch,
            "best_accuracy": best.accuracy,
        }
        arrays = checkpoint.capture(self.model)
        if best.weights is not None:
            arrays["best"] = best.weights
        return checkpoint.Checkpoint(self.step, record, arrays)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.params["steps_before"] = self.step % self.steps_per_epoch
        if self._saved is not None:
            if self.params["steps_before"]:
                _take_up_metrics(self.model, self._saved.arrays)
            self._saved = None

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.step += 1
        if self.step % self.steps_per_epoch == 0:
            self.model.stop_training = True  # ends the epoch if another process started it

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.model.stop_training = False


def _take_up_metrics(model, arrays):
    if len(model.metrics_variables) < len(arrays["metrics"]):
        # On TensorFlow they are created by the first batch, whatever its content.
        model.compute_metrics(None, ops.zeros(1, "int32"), ops.zeros((1, *model.output_shape[1:])))
    checkpoint.restore(model, arrays, ["metrics"])


class Saving(keras.callbacks.Callback):
    """Callback that saves checkpoints: at the start, after each epoch, every `every` steps, and after SIGTERM.

    The last step of an epoch is saved after its validation. Several processes all stop after the same step.

    Args:
        progress: The run's `Progress`.
        checkpoints: The `Checkpoints` to add to.
        every: Integer, steps between checkpoints.
        notice: The `Notice` of SIGTERM.

    Raises:
        Diverged: Weights are not finite; they are not saved.
        Preempted: After SIGTERM, when everything is saved.
    """

    def __init__(self, progress: Progress, checkpoints: Checkpoints, every: int, notice: Notice) -> None:
        super().__init__()
        self.progress, self.checkpoints, self.every, self.notice = progress, checkpoints, every, notice

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if self.progress.step == 0:
            self._save(devices.any_process(self.notice.has_come))

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        step = self.progress.step
        if step % self.progress.steps_per_epoch == 0:
            return
        must_stop = devices.any_process(self.notice.has_come, step)
        if must_stop or step % self.every == 0:
            self._save(must_stop)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._save(devices.any_process(self.notice.has_come))

    def _save(self, must_stop):
        now = self.progress.checkpoint()
        if not now.is_finite():
            raise Diverged(now.step)
        self.checkpoints.save(now)
        if must_stop:
            self.checkpoints.wait()
            raise Preempted
