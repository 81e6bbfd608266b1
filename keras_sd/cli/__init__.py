"""The command `keras-sd`. What takes long to import is imported by the command that needs it."""

import sys

import typer

from keras_sd._version import __version__
from keras_sd.cli import weights
from keras_sd.cli.bench import bench
from keras_sd.cli.console import Pipe
from keras_sd.cli.evaluate import evaluate
from keras_sd.cli.models import models, summary
from keras_sd.cli.publish import convert, export, predict
from keras_sd.cli.runs import plot, recipes, runs
from keras_sd.cli.study import study
from keras_sd.cli.train import train
from keras_sd.cli.tune import tune

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for command in (train, recipes, runs, plot, evaluate, predict, models, summary, convert, export, bench, study, tune):
    app.command()(command)
app.add_typer(weights.app, name="weights")


def _print_version(wanted: bool):
    if wanted:
        typer.echo(f"keras-sd {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Version."),
):
    """Networks with stochastic depth and dense connectivity: train, test, measure."""


def main():
    """Run the command."""
    sys.stdout = Pipe(sys.stdout)
    app()
