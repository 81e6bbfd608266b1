"""The command `keras-sd`. Slow imports are left to the subcommands that need them."""

import functools
import os
import sys
from collections.abc import Callable, Collection
from typing import Any

import typer

from keras_sd._version import __version__
from keras_sd.cli import weights
from keras_sd.cli.bench import bench
from keras_sd.cli.console import Pipe, usage_errors
from keras_sd.cli.doctor import doctor
from keras_sd.cli.evaluate import evaluate
from keras_sd.cli.imports import IMAGES, NETWORKS, load_silently
from keras_sd.cli.models import models, summary
from keras_sd.cli.predict import predict
from keras_sd.cli.publish import convert, export
from keras_sd.cli.runs import plot, recipes, runs
from keras_sd.cli.study import study
from keras_sd.cli.train import train
from keras_sd.cli.tune import tune
from keras_sd.utils import jax_environment
from keras_sd.utils.checks import refusal
from keras_sd.utils.names import here
from keras_sd.weights import cache


class Program(typer.core.TyperGroup):
    """Command group that refuses empty arguments and values: `Path("")` would be the current directory."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        before = ""
        with usage_errors():
            for word in args:
                option, equals, value = word.partition("=")
                if not word.strip() and not before.startswith("--"):
                    raise refusal("arguments", "values that are not empty", args)
                if own := self._own_name(option, args):
                    allowed = f"options of `keras-sd {args[0]}`, where {option} is called {own}"
                    raise refusal("arguments", allowed, option)
                if not word.strip() or (option.startswith("--") and equals and not value.strip()):
                    raise refusal(option.strip() or before, "a value that is not empty", value)
                before = word
        return super().parse_args(ctx, args)

    def _own_name(self, option: str, args: list[str]) -> str | None:
        """Return this command's name for an option of other libraries; `None` for any other word."""
        found, name = self.commands.get(args[0]), here(option) if option.startswith("--") else None
        if found is None or name is None:
            return None
        own = "--" + name.replace("_", "-").replace(" or ", " or --")
        options = {text for parameter in found.params for text in parameter.opts}
        return own if option not in options and own.split()[0].rstrip(",") in options else None


app = typer.Typer(cls=Program, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def with_imports(command: Callable, packages: Collection[str]) -> Callable:
    """Return a command that imports packages of `keras_sd`, and with them Keras, after parsing its arguments."""

    @functools.wraps(command)
    def run(*arguments, **options):
        load_silently(packages)
        return command(*arguments, **options)

    return run


_COMMANDS: dict[Callable, tuple[str, ...]] = {
    train: IMAGES,
    recipes: (),
    runs: (),
    plot: (),
    evaluate: IMAGES,
    predict: IMAGES,
    models: (),
    summary: NETWORKS,
    convert: NETWORKS,
    export: NETWORKS,
    bench: IMAGES,
    study: (),  # imports them unless it lists the studies
    tune: IMAGES,
    doctor: NETWORKS,
}
for command, packages in _COMMANDS.items():
    app.command()(with_imports(command, packages))
app.add_typer(weights.app, name="weights")


def _print_version(wanted: bool):
    if wanted:
        typer.echo(f"keras-sd {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Train, test and measure networks with stochastic depth and dense connectivity."""


def main() -> None:
    """Run the command."""
    os.environ.setdefault(jax_environment.CACHE_DIR, str(cache.home() / "jax"))
    jax_environment.shorten_compilation(os.environ)
    sys.stdout = Pipe(sys.stdout)
    app()
