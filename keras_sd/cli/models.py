"""`keras-sd models` and `keras-sd summary`."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from keras_sd.cli.console import usage_errors

SurvivalProbability = Annotated[float, typer.Option(help="Of the last block; 1 keeps every block.")]


def models(survival_probability: SurvivalProbability = 0.5) -> None:
    """List the models: parameters, blocks, and how many of the blocks a training step runs on average."""
    from keras_sd import applications
    from keras_sd.models.specs import override
    from keras_sd.runs import networks
    from keras_sd.schedules import expected_depth

    table = Table("model", title="Models, at their default input and classes")
    for heading in ("parameters", "blocks", f"expected depth at {survival_probability:g}"):
        table.add_column(heading, justify="right")
    with usage_errors():
        for row in applications.MODELS.values():
            depth = "-"
            if networks.can_drop_blocks(row.spec):
                spec = override(row.spec, survival_probability=survival_probability)
                depth = f"{expected_depth(spec.survival_probabilities):.2f}"
            table.add_row(row.name, f"{row.parameters:,}", f"{row.spec.num_blocks}", depth)
    Console().print(table)


def summary(
    model: Annotated[str, typer.Argument(help="Name of a model.")],
    survival_probability: Annotated[float | None, typer.Option(help="Of the last block.")] = None,
) -> None:
    """Print the layers of a model."""
    from keras_sd import applications

    with usage_errors():
        asked = {} if survival_probability is None else {"survival_probability": survival_probability}
        network = applications.get_model(model, weights=None, **asked)
    network.summary()
