"""SIGTERM, by which a scheduler takes a machine back: at once, or where a run can stop without losing a step."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Preempted(BaseException):
    """SIGTERM came; like `KeyboardInterrupt`, this is no error for anyone to handle on the way."""


class Notice:
    """Whether the signal has come; the first one raises `Preempted` at once, unless that is held back.

    Plain attributes: the lock of a `threading.Event` is not for signal handlers.
    """

    has_come = False
    is_held = False

    def __call__(self, *_):
        was_there, self.has_come = self.has_come, True
        if not (was_there or self.is_held):
            raise Preempted

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Within the block, the signal is only noticed; the block raises `Preempted` where it can, or at its end."""
        self.is_held = True
        try:
            yield
        finally:
            self.is_held = False
        if self.has_come:
            raise Preempted


@contextlib.contextmanager
def noticing(number: int = signal.SIGTERM) -> Iterator[Notice]:
    """Within the block, the signal makes the yielded `Notice` say so, and raises `Preempted` unless that is held.

    Python lets the main thread alone handle signals; in another thread this does nothing.
    """
    notice = Notice()
    if threading.current_thread() is not threading.main_thread():
        yield notice
        return
    before = signal.signal(number, notice)
    try:
        yield notice
    finally:
        signal.signal(number, signal.SIG_DFL if before is None else before)
