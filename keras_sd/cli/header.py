"""What `keras-sd train` prints before training: what runs, on what, and the step that a resumed run continues from."""

from collections.abc import Callable
from typing import Any

import keras
import typer


def print_header(network: keras.Model, dataset: Any, config: Any, devices: list[str]) -> None:
    """Print the network, the data, and the settings that decide how long a run takes and what comes of it.

    Args:
        network: A `keras.Model`.
        dataset: A data set.
        config: A `TrainConfig`.
        devices: List of names of devices; empty for the default one.
    """
    from keras_sd.backend import devices as backend
    from keras_sd.layers.nesting import count_parameters
    from keras_sd.training.evaluation import steps_of

    sizes = f"{len(dataset.train)} training, {len(dataset.validation)} validation, {len(dataset.test)} test"
    typer.echo(f"{config.model}, {count_parameters(network):,} parameters, on {dataset.name}: {sizes} images")
    places = ", ".join(devices) or next(iter(backend.accelerators()), "cpu")
    typer.echo(
        f"recipe {config.recipe}: {config.epochs} epochs of {steps_of(dataset, config)} steps, batch size "
        f"{config.batch_size}, learning rate {config.learning_rate:g} ({config.learning_rate_schedule}), on {places}"
    )


class StartingStep(keras.callbacks.Callback):
    """Print the step that a resumed run continues from.

    Args:
        write: Function of a line of text.
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
