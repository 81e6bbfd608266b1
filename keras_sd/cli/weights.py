"""`keras-sd weights`: published weights, their files, and the cache."""

from pathlib import Path
from typing import Annotated

import typer

from keras_sd.cli import tables
from keras_sd.cli.console import usage_errors

app = typer.Typer(no_args_is_help=True, help="Published weights: list, fetch, verify, path, clear.")

Name = Annotated[str, typer.Argument(help="Weights such as ResNet50.a1_in1k; see `keras-sd weights list`.")]


@app.command("list")
def list_(
    architecture: Annotated[str | None, typer.Argument(help="Only of this architecture, such as ResNet50.")] = None,
    as_json: tables.Json = False,
    as_csv: tables.Csv = False,
) -> None:
    """List the published weights: accuracy as published, input size, license, and whether they are in the cache."""
    from keras_sd.weights import cache, registry

    columns = (
        tables.Column("weights"),
        tables.Column("top-1", "{:.2%}".format, is_number=True),
        tables.Column("input", is_number=True),
        tables.Column("cached", lambda cached: "yes" if cached else ""),
        tables.Column("license", rank=1),
        tables.Column("hash", rank=2),
    )
    with usage_errors():
        names = registry.list_weights(architecture)
        if not names:
            known = ", ".join(dict.fromkeys(row.architecture for row in registry.WEIGHTS.values()))
            raise ValueError(f"No weights are published for architecture {architecture!r}. Known: {known}.")
        rows = []
        for row in map(registry.get_row, names):
            digest = "SHA-256" if row.published.sha256 else "MD5" if row.published.md5 else "the hub's"
            is_cached = cache.cached_path(row.published).exists()
            size = row.preprocessing and row.preprocessing.size
            rows.append((row.name, row.accuracy, size, is_cached, row.license, digest))
        tables.print_table(columns, rows, as_json, as_csv)


@app.command()
def fetch(name: Name) -> None:
    """Download weights into the cache, verify them, and print the file's path."""
    from keras_sd.weights import cache, registry

    with usage_errors():
        typer.echo(cache.fetch(registry.get_row(name).published))


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="Weights; by default, all in the cache.")] = None,
    file: Annotated[Path | None, typer.Option(help="File to check instead of the cached one.")] = None,
) -> None:
    """Check that files match their published hashes and can be read. Exit code 1 if one fails."""
    from keras_sd.weights import cache, registry
    from keras_sd.weights.formats import readers

    with usage_errors():
        if file is not None and name is None:
            raise ValueError("--file needs the name of the weights that the file should be.")
        rows = [registry.get_row(name)] if name else list(registry.WEIGHTS.values())
    failed = False
    for row in rows:
        path = file or cache.cached_path(row.published)
        if name is None and not path.exists():
            continue
        try:
            digest = cache.verify(row.published, path)
            count = len(readers.read(path).arrays)
            typer.echo(f"{row.name}: good, {digest}, {count} arrays")
        except ValueError as error:
            failed = True
            typer.echo(f"{row.name}: bad. {error}", err=True)
    raise typer.Exit(int(failed))


@app.command()
def path(
    name: Annotated[str | None, typer.Argument(help="Weights; by default, the cache directory.")] = None,
) -> None:
    """Print the path of a file in the cache, whether it exists or not."""
    from keras_sd.weights import cache, registry

    with usage_errors():
        typer.echo(cache.cached_path(registry.get_row(name).published) if name else cache.directory())


@app.command()
def clear(
    name: Annotated[str | None, typer.Argument(help="Weights to remove.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove all published weights.")] = False,
) -> None:
    """Remove published weights from the cache. Other files are kept."""
    from keras_sd.weights import cache, registry

    with usage_errors():
        if (name is None) != everything:
            raise ValueError("`clear` needs either the name of weights or --all.")
        rows = [registry.get_row(name)] if name else registry.WEIGHTS.values()
        for removed in cache.clear(row.published for row in rows):
            typer.echo(f"removed {removed}")
