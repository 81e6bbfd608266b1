"""TensorFlow's advice against compiling steps often, kept back where compiling them often is meant."""

import contextlib
import logging
from collections.abc import Iterator

LOGGER = logging.getLogger("tensorflow")


def is_no_advice(record: logging.LogRecord) -> bool:
    """A filter of log records that drops the advice."""
    return "triggered tf.function retracing" not in record.getMessage()


@contextlib.contextmanager
def meant() -> Iterator[None]:
    """Within the block there is no advice."""

    def own(record):  # a logger has one and the same filter once: what ends inside of the block would take it away
        return is_no_advice(record)

    LOGGER.addFilter(own)
    try:
        yield
    finally:
        LOGGER.removeFilter(own)
