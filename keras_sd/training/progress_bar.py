"""What is seen of a run while it goes: a line for each epoch, and a bar where there is a terminal."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras

from keras_sd.training.callbacks import COLUMNS, Clock, expected_depth

if TYPE_CHECKING:
    from rich.console import Console


class Lines(keras.callbacks.Callback):
    """Prints a line for each epoch: for logs and pipes."""

    def __init__(self, write: Callable[[str], Any] = print) -> None:
        super().__init__()
        self.write = write

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None  # Keras hands them over
        seconds = time.perf_counter() - self.start
        seen = "  ".join(f"{name} {logs[name]:.4f}" for name in COLUMNS[1:5])
        self.write(f"epoch {epoch + 1}/{self.params['epochs']}  {seen}  {seconds:.1f} s")

    def close(self) -> None:
        """Nothing to give back; see `Bar`."""


class Bar(Clock):
    """A progress bar over all epochs, and a line for each: epoch, step, rate, time left, expected depth, loss.

    The rate is that of the epoch's training so far; the first epoch's has the compilation in it.

    Args:
        console: A `rich.console.Console`, by default one for the standard output.
        batch_size: Integer, images in a step.
    """

    def __init__(self, console: "Console | None" = None, batch_size: int = 1) -> None:
        super().__init__(batch_size)
        self.console = console

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}  step {task.fields[step]}"),
            BarColumn(bar_width=None),
            TimeRemainingColumn(compact=True),
            TextColumn("left  {task.fields[rate]}{task.fields[depth]}  {task.fields[seen]}"),
            console=self.console,
            expand=True,
        )
        epochs, steps = self.params["epochs"], self.params["steps"]
        fields = {"epoch": 1, "epochs": epochs, "step": f"0/{steps}", "rate": "- images/s", "depth": ""}
        self.task = self.progress.add_task("", total=epochs * steps, seen="loss -      accuracy -", **fields)
        self.lines = Lines(self.progress.console.print)
        self.lines.set_params(self.params)
        self.progress.start()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        super().on_epoch_begin(epoch)
        self.epoch = epoch
        self.lines.on_epoch_begin(epoch)
        survivors, blocks = expected_depth(self.model)
        self._update(0, depth=f"  depth {survivors:.1f} of {blocks}" if blocks else "")
        self.progress.refresh()  # an epoch may be over before the next regular one

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        super().on_train_batch_end(batch)
        assert logs is not None  # Keras hands them over
        seen = f"loss {logs['loss']:.4f} accuracy {logs['accuracy']:.4f}"
        self._update(batch + 1, rate=f"{self.rate:.0f} images/s", seen=seen)

    def _update(self, made, **fields):
        """Show the place in the training, a number of steps after this process began the epoch."""
        steps, step = self.params["steps"], self.params.get("steps_before", 0) + made
        completed = self.epoch * steps + step
        self.progress.update(self.task, completed=completed, epoch=self.epoch + 1, step=f"{step}/{steps}", **fields)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.lines.on_epoch_end(epoch, logs)

    def close(self) -> None:
        """Give the terminal back; to be called even when training was interrupted."""
        if hasattr(self, "progress"):
            self.progress.stop()
