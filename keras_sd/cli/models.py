"""`keras-sd models` and `keras-sd summary`."""

import dataclasses
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from keras_sd.cli.console import usage_errors

SurvivalProbability = Annotated[float, typer.Option(help="Of the last block; 1 keeps every block.")]


def models(survival_probability: SurvivalProbability = 0.5):
    """Lists the models: parameters, blocks, and how many of the blocks a training step runs on average."""
    from keras_sd import applications
    from keras_sd.schedules import expected_depth

    table = Table("model", title="Models, at their default input and classes")
    for heading in ("parameters", "blocks", f"expected depth at {survival_probability:g}"):
        table.add_column(heading, justify="right")
    with usage_errors():
        for row in applications.MODELS.values():
            depth = "-"
            if can_drop_blocks(row.spec):
                spec = dataclasses.replace(row.spec, survival_probability=survival_probability)
                depth = f"{expected_depth(spec.survival_probabilities):.2f}"
            table.add_row(row.name, f"{row.parameters:,}", f"{row.spec.num_blocks}", depth)
    Console().print(table)


def can_drop_blocks(spec):
    """Whether a network can do without some of its blocks: not plain ones, nor perceptrons."""
    try:
        dataclasses.replace(spec, survival_probability=0.5)
    except (TypeError, ValueError):
        return False
    return True


_CONSTRUCTORS = {name.lower(): name for name in ("ResNet", "DenseNet", "PlainNet")}


def identify(name):
    """The name of a model, or of a constructor of models of any size, as it is written; can it do without a block?"""
    from keras_sd import applications

    constructor = _CONSTRUCTORS.get(str(name).lower())
    if constructor:
        return constructor, constructor != "PlainNet"
    row = applications.find(name)
    return row.name, can_drop_blocks(row.spec)


def summary(
    model: Annotated[str, typer.Argument(help="Name of a model.")],
    survival_probability: Annotated[float | None, typer.Option(help="Of the last block.")] = None,
):
    """Prints the layers of a model."""
    from keras_sd import applications

    with usage_errors():
        asked = {} if survival_probability is None else {"survival_probability": survival_probability}
        network = applications.get_model(model, weights=None, **asked)
    network.summary()
