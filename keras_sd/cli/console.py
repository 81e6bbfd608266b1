"""What every command needs: errors of one line, and output that may lose its reader."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import typer

# Of sysexits.h, "try again later": what a scheduler that sent SIGTERM should do. Ctrl-C exits with 128 + SIGINT.
PREEMPTED, INTERRUPTED = 75, 130


def printable(text: object) -> str:
    """Return a text in one line, with escapes for what is not UTF-8."""
    return " ".join(str(text).split()).encode("utf-8", "backslashreplace").decode()


def tell_error(error: object) -> None:
    """Print an error as one line on stderr."""
    typer.echo(f"keras-sd: error: {printable(error)}", err=True)


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Turn a bad value into one line on stderr and exit code 2, and Ctrl-C into exit code 130."""
    try:
        yield
    except (ValueError, OSError) as error:
        tell_error(error)
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        typer.echo("keras-sd: interrupted, nothing was begun", err=True)
        raise typer.Exit(INTERRUPTED) from None


class Pipe:
    """A stream whose reader may leave, as in `keras-sd runs | head`: what is written from then on is discarded.

    Args:
        stream: A text stream with a file descriptor.
    """

    def __init__(self, stream: Any):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._while_read():
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._while_read():
            self._stream.flush()

    @contextlib.contextmanager
    def _while_read(self):
        try:
            yield
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # what is buffered is written when the process ends
            os.close(nowhere)


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere: C++ writes to it past `sys.stderr`, lines that no setting silences."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
