"""Entry point of the command `keras-sd`, installed as `keras_sd_command`, outside of the package `keras_sd`.

Importing the package also imports Keras and its engine, which takes seconds, unless `is_running` is true: then each
command imports what it needs (`keras_sd.cli`).
"""

import signal
import sys

is_running = False
_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h, as for a stopped run


def main():
    """Run the command; even during the imports, SIGTERM ends it with one line and exit code 75."""
    global is_running
    has_come, is_running = [], True

    def stop(*_):
        has_come.append(True)
        raise SystemExit(_PREEMPTED)

    signal.signal(signal.SIGTERM, stop)
    try:
        import keras_sd.cli

        keras_sd.cli.main()
    except BaseException as error:
        if not has_come:
            raise
        # Interrupted code, such as an import, may have turned SystemExit into another error.
        print("keras-sd: stopped by SIGTERM; run the same command again", file=sys.stderr, flush=True)
        raise SystemExit(_PREEMPTED) from error
