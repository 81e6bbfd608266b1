"""Several processes of one run end together: none waits for one that is lost or has failed."""

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import typer

from keras_sd.cli.console import INTERRUPTED, PREEMPTED, tell_error

# Seconds in which a process may end by itself after another one has failed (the first one may have to save a
# checkpoint), and after it has failed itself.
_GRACE, _OWN_GRACE = 30, 10


@contextlib.contextmanager
def ending_together(peers: Any, temporary: Iterable[os.PathLike]) -> Iterator[None]:
    """End this process when another one fails, and report the end of the `with` block to the others.

    If a process is lost (killed, or its host does not answer), this one ends at once with `PREEMPTED`: the computation
    it takes part in would never end, and JAX would abort it. If a process reports a failure, as after SIGTERM in all,
    this one has time to end by itself; then it ends with the same code.

    Args:
        peers: The `Peers` of `keras_sd.training.devices.Devices`; `None` for one process.
        temporary: Paths of folders to remove if this process ends early.
    """
    if peers is None:
        yield
        return

    exit_code = 0

    def end(code, seconds):
        nonlocal exit_code
        exit_code = exit_code or code  # the first reason counts, others follow from it
        peers.report(exit_code)
        time.sleep(seconds)
        for folder in temporary:
            shutil.rmtree(folder, ignore_errors=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)  # the main thread may wait forever, and so may JAX at a normal exit

    def end_in(seconds, code):
        threading.Thread(target=end, args=(code, seconds), daemon=True).start()

    def watch():
        for process, code in peers.reports():
            if code:
                end_in(_GRACE, code)
            elif code is None and not exit_code:
                tell_error(f"process {process} is lost; restart all processes with --resume")
                end(PREEMPTED, 0)
            elif code is None and process == 0:
                end(exit_code, 0)  # without process 0, JAX would abort this one

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except BaseException as error:
        code = _exit_code(error)
        if code not in (0, PREEMPTED, INTERRUPTED):
            time.sleep(1)  # if a lost process caused the error, `watch` ends this one now
        if code:
            end_in(_OWN_GRACE, code)
        else:
            peers.report(0)
        raise
    peers.report(0)


def _exit_code(error):
    """Return the exit code of a process that ends with an exception."""
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
