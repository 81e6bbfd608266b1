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
# checkpoint), and after it has failed itself; then seconds in which process 0 lets the others end before it.
_GRACE, _OWN_GRACE, _LAST_GRACE = 30, 10, 5


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

    def fail(code):
        nonlocal exit_code
        if not exit_code:  # the first reason counts, others follow from it
            exit_code = code
            peers.report(code)

    def end(seconds):
        time.sleep(seconds)
        peers.leave(_LAST_GRACE)  # without process 0, JAX would abort the others
        for folder in temporary:
            shutil.rmtree(folder, ignore_errors=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)  # the main thread may wait forever, and so may JAX at a normal exit

    def end_in(seconds):
        threading.Thread(target=end, args=(seconds,), daemon=True).start()

    def watch():
        for process, code in peers.reports():
            if code and not exit_code:
                fail(code)
                end_in(_GRACE)
            elif code is None and not exit_code:
                tell_error(f"process {process} is lost; restart all processes with --resume")
                fail(PREEMPTED)
                end(0)
            elif code is None and process == 0:
                end(0)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except BaseException as error:
        code = _exit_code(error)
        if code not in (0, PREEMPTED, INTERRUPTED):
            time.sleep(1)  # if a lost process caused the error, `watch` ends this one now
        if code:
            fail(code)
            end_in(_OWN_GRACE)
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
