"""What every command needs: a quiet start of TensorFlow, and errors of one line."""

import contextlib
import os
import sys

import typer


@contextlib.contextmanager
def usage_errors():
    """Turns a bad value into one line on stderr and exit code 2."""
    try:
        yield
    except (ValueError, OSError) as error:
        typer.echo(f"keras-sd: error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from error


def start_tensorflow():
    """Imports TensorFlow without the lines that its C++ code writes on being imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "tensorflow" in sys.modules:
        return
    with _silent_stderr():
        import tensorflow  # noqa: F401


@contextlib.contextmanager
def _silent_stderr():
    """Sends file descriptor 2 to nowhere: C++ writes to it past `sys.stderr`."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
