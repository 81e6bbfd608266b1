"""One-line errors, and output that survives a closed pipe, for every command."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import typer

# EX_TEMPFAIL of sysexits.h asks the scheduler that sent SIGTERM to try again later. Ctrl-C exits with 128 + SIGINT.
PREEMPTED, INTERRUPTED = 75, 130


def printable(text: object) -> str:
    """Return a text as one line; characters that UTF-8 cannot encode are escaped."""
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
        typer.echo("keras-sd: interrupted before anything was started", err=True)
        raise typer.Exit(INTERRUPTED) from None


class Pipe:
    """A stream that discards writes after its reader has closed the pipe, as in `keras-sd runs | head`.

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
            os.dup2(nowhere, self._stream.fileno())  # the buffer is still flushed at exit
            os.close(nowhere)


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Redirect file descriptor 2 to the null device: C++ bypasses `sys.stderr`, and no setting silences it."""
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
