"""`keras-sd models` and `keras-sd summary`."""

from typing import Annotated

import typer

from keras_sd.cli import tables
from keras_sd.cli.console import usage_errors

SurvivalProbability = Annotated[float, typer.Option(help="Survival probability of the last block; 1 keeps all.")]


def models(
    survival_probability: SurvivalProbability = 0.5, as_json: tables.Json = False, as_csv: tables.Csv = False
) -> None:
    """List the models with parameters, blocks, and the average number of blocks that a training step runs."""
    from keras_sd import applications
    from keras_sd.models.specs import can_drop_blocks, override
    from keras_sd.schedules import expected_depth

    columns = (
        tables.Column("model"),
        tables.Column("parameters", "{:,}".format, is_number=True),
        tables.Column("blocks", is_number=True),
        tables.Column(f"expected depth at {survival_probability:g}", "{:.2f}".format, is_number=True),
        tables.Column("weights", rank=1, wraps=True),
    )
    with usage_errors():
        rows = []
        for row in applications.MODELS.values():
            depth = None
            if can_drop_blocks(row.spec):
                spec = override(row.spec, survival_probability=survival_probability)
                depth = expected_depth(spec.survival_probabilities)
            rows.append((row.name, row.parameters, row.spec.num_blocks, depth, " ".join(row.weights) or None))
        tables.print_table(columns, rows, as_json, as_csv, "Models, at their default input and classes")


def summary(
    model: Annotated[str, typer.Argument(help="Name of a model.")],
    survival_probability: Annotated[float | None, typer.Option(help="Survival probability of the last block.")] = None,
) -> None:
    """Print the layers of a model."""
    from keras_sd import applications

    with usage_errors():
        asked = {} if survival_probability is None else {"survival_probability": survival_probability}
        network = applications.get_model(model, weights=None, **asked)
    network.summary()
