"""Suppress TensorFlow's retracing warnings where frequent retracing is intended."""

import contextlib
import logging
from collections.abc import Iterator

LOGGER = logging.getLogger("tensorflow")


def is_no_advice(record: logging.LogRecord) -> bool:
    """Return whether a log record is not a retracing warning; a filter for loggers."""
    return "triggered tf.function retracing" not in record.getMessage()


@contextlib.contextmanager
def meant() -> Iterator[None]:
    """Suppress the warnings in a `with` block."""

    def own(record):  # a logger keeps each filter only once, so the end of a nested block would remove a shared one
        return is_no_advice(record)

    LOGGER.addFilter(own)
    try:
        yield
    finally:
        LOGGER.removeFilter(own)
