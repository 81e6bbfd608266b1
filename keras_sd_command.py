"""Where the command `keras-sd` begins, installed as `keras_sd_command`, outside of the package `keras_sd`.

The package imports Keras and its engine when it is imported, which takes seconds, unless `is_running` is true: then
commands import what they need (`keras_sd.cli`).
"""

import signal
import sys

is_running = False
_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h, as where a run is stopped


def main():
    """Run the command; SIGTERM ends it with a line and exit code 75, from the imports on."""
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
        # What was interrupted may have made another error of it, as an import does.
        print("keras-sd: stopped by SIGTERM; the same command starts again", file=sys.stderr, flush=True)
        raise SystemExit(_PREEMPTED) from error
