"""Small callbacks of a run: history, best weights, and what is seen while it goes."""

import csv
import os
import time

import keras
import numpy as np

COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds")


class HistoryFile(keras.callbacks.Callback):
    """Appends a row to a CSV file after each epoch: the `COLUMNS`, epochs counted from 1.

    The learning rate is the one that the epoch's last step had; `seconds` are those of the epoch, validation
    included. Accuracy and loss of training are over the epoch's augmented images, while the weights moved.
    """

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_train_batch_begin(self, batch, logs=None):
        self.last_step = batch

    def on_epoch_end(self, epoch, logs=None):
        row = {
            **logs,
            "epoch": epoch + 1,
            "learning_rate": last_learning_rate(self.model.optimizer),
            "seconds": round(time.perf_counter() - self.start, 3),
        }
        is_new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            if is_new:
                writer.writeheader()
            writer.writerow(row)


def last_learning_rate(optimizer):
    """The learning rate of the step that was just made, as a float."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # under loss scaling
    schedule = inner._learning_rate
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        step = int(keras.ops.convert_to_numpy(inner.iterations.value))
        return float(f"{float(schedule(max(0, step - 1))):.6g}")
    return float(f"{float(keras.ops.convert_to_numpy(inner.learning_rate)):.6g}")


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the highest validation accuracy; of equals, the later.

    Late epochs have the lower learning rate, and on a small validation part equals are common.
    """

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.epoch, self.accuracy = None, -np.inf

    def on_epoch_end(self, epoch, logs=None):
        if np.isfinite(logs["loss"]) and logs["val_accuracy"] >= self.accuracy:
            self.epoch, self.accuracy = epoch + 1, logs["val_accuracy"]
            temporary = self.path.with_name("best.tmp.weights.h5")
            self.model.save_weights(temporary)
            os.replace(temporary, self.path)


class Lines(keras.callbacks.Callback):
    """Prints a line for each epoch: for logs and pipes."""

    def __init__(self, write=print):
        super().__init__()
        self.write = write

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.start
        seen = "  ".join(f"{name} {logs[name]:.4f}" for name in COLUMNS[1:5])
        self.write(f"epoch {epoch + 1}/{self.params['epochs']}  {seen}  {seconds:.1f} s")

    def close(self):
        """Nothing to give back; see `Bar`."""


class Bar(keras.callbacks.Callback):
    """A progress bar over all epochs (epoch, step, time left, loss, accuracy), and a line for each epoch."""

    def __init__(self, console=None):
        super().__init__()
        self.console = console

    def on_train_begin(self, logs=None):
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}  step {task.fields[step]}"),
            BarColumn(bar_width=None),
            TimeRemainingColumn(compact=True),
            TextColumn("left  {task.fields[seen]}"),
            console=self.console,
            expand=True,
        )
        epochs, steps = self.params["epochs"], self.params["steps"]
        fields = {"epoch": 1, "epochs": epochs, "step": f"0/{steps}", "seen": "loss -      accuracy -"}
        self.task = self.progress.add_task("", total=epochs * steps, **fields)
        self.lines = Lines(self.progress.console.print)
        self.lines.set_params(self.params)
        self.progress.start()

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.lines.on_epoch_begin(epoch)

    def on_train_batch_end(self, batch, logs=None):
        steps = self.params["steps"]
        self.progress.update(
            self.task,
            completed=self.epoch * steps + batch + 1,
            epoch=self.epoch + 1,
            step=f"{batch + 1}/{steps}",
            seen=f"loss {logs['loss']:.4f} accuracy {logs['accuracy']:.4f}",
        )

    def on_epoch_end(self, epoch, logs=None):
        self.lines.on_epoch_end(epoch, logs)

    def close(self):
        """Gives the terminal back; to be called even when training was interrupted."""
        if hasattr(self, "progress"):
            self.progress.stop()
