"""`keras-sd train --dry-run`: settings and cost of a run, estimated from three steps; nothing is written."""

import dataclasses
import itertools
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

import typer
import yaml

if TYPE_CHECKING:
    import keras

_STEPS = 3
_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in a unit of `ru_maxrss`


def dry_run(network: "keras.Model", dataset: Any, config: Any) -> None:
    """Print the settings of a run, the size and cost of its network, and an estimate of its memory and time.

    Args:
        network: The untrained network; a few steps of training change it.
        dataset: A `keras_sd.data.Dataset`.
        config: A `TrainConfig`.
    """
    from keras_sd.analysis.cost import flops
    from keras_sd.layers.nesting import count_parameters
    from keras_sd.training.evaluation import steps_of

    typer.echo(as_yaml(config))
    typer.echo(f"parameters: {count_parameters(network):,}")
    typer.echo(f"FLOPs of a forward pass of one image: {_flops(flops, network)}")
    steps = config.epochs * steps_of(dataset, config)
    first, step = _measured(network, dataset, config, steps)
    typer.echo(f"first step: {first:.1f} s with compilation; then {step:.3f} s per step, median of {_STEPS}")
    typer.echo(f"peak memory of the process so far: {_memory() / 1e9:.2f} GB (without GPU memory)")
    typer.echo(f"training: {steps:,} steps, about {_duration(first + steps * step)}, validation not included")


def as_yaml(config: Any) -> str:
    """Return a configuration as the YAML text of a --config file."""
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(config).items()}
    return yaml.safe_dump(plain, sort_keys=False).rstrip()


def _flops(flops, network):
    try:
        return f"{flops(network):,}"
    except ValueError as error:  # a layer that cannot be counted
        return f"unknown ({error})"


def _measured(network, dataset, config, total_steps):
    """Return the seconds of the first step, and the median of the steps after it."""
    from keras_sd.training import compile_model
    from keras_sd.utils.tensors import of_engine

    compile_model(network, config, total_steps)
    network.optimizer.build(network.trainable_variables)
    batches = dataset.training_batches(config.batch_size, config.seed, **config.augmentations)
    seconds, start = [], time.perf_counter()
    for batch in itertools.islice(batches, 1 + _STEPS):
        network.train_on_batch(*of_engine(batch))
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    return seconds[0], statistics.median(seconds[1:])


def _memory():
    import resource  # not available on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


def _duration(seconds):
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"
