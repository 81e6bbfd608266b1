"""SIGTERM, by which a scheduler takes a machine back, noticed and acted on when it is convenient."""

import contextlib
import signal
import threading


class Preempted(Exception):
    """Training stops here because SIGTERM came; a checkpoint has been saved."""


class Notice:
    """Whether the signal has come.

    A plain attribute: the lock of a `threading.Event` is not for signal handlers.
    """

    has_come = False


@contextlib.contextmanager
def noticing(number=signal.SIGTERM):
    """Within the block, the signal only makes the yielded `Notice` say so.

    Python lets the main thread alone handle signals; in another thread this does nothing.
    """
    notice = Notice()
    if threading.current_thread() is not threading.main_thread():
        yield notice
        return

    def note(*_):
        notice.has_come = True

    before = signal.signal(number, note)
    try:
        yield notice
    finally:
        signal.signal(number, signal.SIG_DFL if before is None else before)
