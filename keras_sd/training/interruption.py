"""Handling of SIGTERM from a scheduler: at once, or when a run can stop without losing a step."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Preempted(BaseException):
    """Raised after SIGTERM; like `KeyboardInterrupt`, it is not meant to be caught as an error."""


class Notice:
    """Signal handler that records the signal; the first one raises `Preempted` at once unless it is held.

    The attributes are plain, since the lock of a `threading.Event` is not safe in signal handlers.
    """

    has_come = False
    is_held = False

    def __call__(self, *_):
        was_there, self.has_come = self.has_come, True
        if not (was_there or self.is_held):
            raise Preempted

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Only record the signal within the `with` block; raise `Preempted` at the end, unless the block did."""
        self.is_held = True
        try:
            yield
        finally:
            self.is_held = False
        if self.has_come:
            raise Preempted


@contextlib.contextmanager
def noticing(number: int = signal.SIGTERM) -> Iterator[Notice]:
    """Record the signal in the yielded `Notice` within the `with` block; raise `Preempted` unless it is held.

    Python handles signals only in the main thread; in other threads this does nothing.
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
