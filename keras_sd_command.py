"""Where the command `keras-sd` begins, installed as `keras_sd_command`, outside of the package `keras_sd`.

Importing anything of `keras_sd` imports TensorFlow, whose C++ code writes lines to the terminal that no setting
silences. Out here they can be sent to nowhere before the first of them.
"""

import contextlib
import os
import signal
import sys

_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h, as where a run is stopped


def main():
    """Run the command; SIGTERM ends it with a line and exit code 75, from the imports on."""
    has_come = []

    def stop(*_):
        has_come.append(True)
        raise SystemExit(_PREEMPTED)

    signal.signal(signal.SIGTERM, stop)
    try:
        with _silent_stderr():
            import keras_sd.cli
        keras_sd.cli.main()
    except BaseException as error:
        if not has_come:
            raise
        # What was interrupted may have made another error of it, as an import does.
        print("keras-sd: stopped by SIGTERM; the same command starts again", file=sys.stderr, flush=True)
        raise SystemExit(_PREEMPTED) from error


@contextlib.contextmanager
def _silent_stderr():
    """Sends file descriptor 2 to nowhere: C++ writes to it past `sys.stderr`."""
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
