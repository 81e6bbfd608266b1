"""Progress of a run: a line for each epoch, and a bar in terminals."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras

from keras_sd.training.callbacks import Clock, expected_depth

if TYPE_CHECKING:
    from rich.console import Console


class Lines(keras.callbacks.Callback):
    """Callback that prints a line for each epoch, for logs, pipes and terminals of 80 columns."""

    def __init__(self, write: Callable[[str], Any] = print) -> None:
        super().__init__()
        self.write = write

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None  # Keras passes them
        seconds = time.perf_counter() - self.start
        seen = "  ".join(f"{name} {logs[name]:.4f} (val {logs['val_' + name]:.4f})" for name in ("loss", "accuracy"))
        self.write(f"epoch {epoch + 1}/{self.params['epochs']}  {seen}  {seconds:.1f} s")

    def close(self) -> None:
        """Do nothing, unlike `Bar.close`."""


_LEAST_BAR = 6  # columns


class Bar(Clock):
    """Callback that shows a progress bar over all epochs, and prints a line for each.

    The bar shows epoch, step, time left, accuracy, loss, rate and depth; a narrow terminal omits items from
    the end of this list. The rate is the average of the epoch so far; that of the first epoch includes compilation.

    Args:
        console: A `rich.console.Console`; `None` for standard output.
        batch_size: Integer, images per step.
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
            TextColumn("left{task.fields[details]}"),
            console=self.console,
            expand=True,
            transient=True,  # the last epoch has its line
        )
        epochs, steps = self.params["epochs"], self.params["steps"]
        self.task = self.progress.add_task(
            "", total=epochs * steps, epoch=1, epochs=epochs, step=f"0/{steps}", details=""
        )
        self.details: dict[str, str] = {}
        self.lines = Lines(self.progress.console.print)
        self.lines.set_params(self.params)
        self.progress.start()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        super().on_epoch_begin(epoch)
        self.epoch = epoch
        self.lines.on_epoch_begin(epoch)
        survivors, blocks = expected_depth(self.model)
        self.details = {"accuracy": "", "loss": "", "rate": "", **self.details}
        self._update(0, depth=f"depth {survivors:.1f} of {blocks}" if blocks else "")
        self.progress.refresh()  # an epoch may end before the next automatic refresh

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        super().on_train_batch_end(batch)
        assert logs is not None  # Keras passes them
        seen = {"accuracy": f"accuracy {logs['accuracy']:.4f}", "loss": f"loss {logs['loss']:.4f}"}
        self._update(batch + 1, rate=f"{self.rate:.0f} images/s", **seen)

    def _update(self, made, **details):
        """Update the bar, `made` steps after this process began the epoch."""
        self.details |= details
        steps, step = self.params["steps"], self.params.get("steps_before", 0) + made
        completed = self.epoch * steps + step
        fields = {"epoch": self.epoch + 1, "step": f"{step}/{steps}", "details": self._fitting()}
        self.progress.update(self.task, completed=completed, **fields)

    def _fitting(self):
        """Return the details that fit into the terminal."""
        epochs, steps = self.params["epochs"], self.params["steps"]
        room = self.progress.console.width - _LEAST_BAR - len("00:00 left")
        room -= len(f"epoch {epochs}/{epochs}  step {steps}/{steps}") + 3  # spaces between columns
        text = ""
        for detail in filter(None, self.details.values()):
            if len(text) + 2 + len(detail) > room:
                break
            text += f"  {detail}"
        return text

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.lines.on_epoch_end(epoch, logs)

    def close(self) -> None:
        """Release the terminal; call it even if training was interrupted."""
        if hasattr(self, "progress"):
            self.progress.stop()


class StartingStep(keras.callbacks.Callback):
    """Print the step that a resumed run continues from.

    Args:
        write: Function that takes a line of text.
    """

    def __init__(self, write: Callable[[str], Any] = print):
        super().__init__()
        self.write = write
        self._is_told = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        steps, epochs = self.params["steps"], self.params["epochs"]
        step = epoch * steps + self.params.get("steps_before", 0)
        if step and not self._is_told:
            self.write(f"resumed after step {step} of {epochs * steps}")
        self._is_told = True
