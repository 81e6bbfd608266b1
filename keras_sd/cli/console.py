"""What every command needs: errors of one line."""

import contextlib

import typer


@contextlib.contextmanager
def usage_errors():
    """Turns a bad value into one line on stderr and exit code 2."""
    try:
        yield
    except (ValueError, OSError) as error:
        typer.echo(f"keras-sd: error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from error
