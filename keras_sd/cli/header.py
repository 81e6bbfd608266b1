"""The lines that `keras-sd train` prints before training."""

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import keras


def print_header(network: "keras.Model", dataset: Any, config: Any, devices: list[str], threads: int | None) -> None:
    """Print the network, the data, and the settings that decide the duration and outcome of a run.

    Args:
        network: A `keras.Model`.
        dataset: A data set.
        config: A `TrainConfig`.
        devices: List of device names; empty for the default device.
        threads: CPU threads set per operation; `None` if the engine decides.
    """
    from keras_sd.backend import devices as backend
    from keras_sd.layers.nesting import count_parameters
    from keras_sd.training.evaluation import steps_of

    places = ", ".join(devices) or next(iter(backend.accelerators()), "cpu")
    places += f", {threads} thread{'s' if threads > 1 else ''} per operation" if threads else ""
    for line in (
        f"{config.model}: {count_parameters(network):,} parameters",
        f"{dataset.name}: {len(dataset.train):,} training, {len(dataset.validation):,} validation, "
        f"{len(dataset.test):,} test images",
        f"recipe {config.recipe}: {config.epochs} epochs of {steps_of(dataset, config)} steps, "
        f"batch size {config.batch_size}",
        f"learning rate {config.learning_rate:g} ({config.learning_rate_schedule}), on {places}",
    ):
        typer.echo(line)
