"""The order in which an epoch shows its images, as the references of each step.

Several processes can share the work: each asks for the rows of a step that it needs, and gets the references that one
process would have in these rows.
"""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_sd.utils.aliases import Tensor

SHUFFLED_TOGETHER = 4096  # records of files that are read at the same time
FILES_AT_ONCE = 16


def of_rows(count: int, key: Tensor, is_wanted: np.ndarray) -> tf.data.Dataset:
    """Return the steps of an epoch over rows that can be read in any order: a shuffle of all of them.

    Args:
        count: Integer, number of rows.
        key: Integer tensor `(2,)`, determines the order.
        is_wanted: Boolean array, one entry for each reference of a step.

    Returns:
        A `tf.data.Dataset` with an integer vector for each whole step, the row numbers in the wanted places.
    """
    order = tf.random.experimental.stateless_shuffle(tf.range(count), key)
    size = len(is_wanted)
    steps = tf.reshape(order[: count // size * size], (-1, size))
    return tf.data.Dataset.from_tensor_slices(tf.gather(steps, np.flatnonzero(is_wanted), axis=1))


def of_files(
    files: tuple[Tensor, Tensor, Tensor], read: Callable, key: Tensor, is_wanted: np.ndarray
) -> tf.data.Dataset:
    """Return the steps of an epoch over files that must be read from the beginning.

    The files are shuffled and divided into up to 16 lanes with the same number of records. Each lane fills the same
    rows of every step, so a process reads only the lanes of its rows. Inside a lane, blocks of neighboring records are
    shuffled, one at a time, because the shuffling of `tf.data` also depends on the global seed.

    Args:
        files: Columns of a table of the files: what `read` needs, number of records to skip at the start, and number
            of records to use after them.
        read: Function of a row of that table that returns a `tf.data.Dataset` of references.
        key, is_wanted: As in `of_rows`.

    Returns:
        A `tf.data.Dataset` with a vector of references for each whole step.
    """
    size, count = len(is_wanted), len(files[0])
    files_at_once = min(FILES_AT_ONCE, count)
    lanes = math.gcd(size, 2 ** int(math.log2(files_at_once)))
    is_wanted = is_wanted.reshape(lanes, size // lanes)
    wanted_lanes = np.flatnonzero(is_wanted.any(1))
    wanted_rows = np.flatnonzero(is_wanted[wanted_lanes])

    files_key, key = tf.unstack(tf.random.split(key, 2))
    order = tf.random.experimental.stateless_shuffle(tf.range(count), files_key)
    columns = [tf.gather(column, order) for column in files]
    length = tf.reduce_sum(files[2]) // size * (size // lanes)  # references of a lane in all whole steps

    def lane(number):
        part = _cut(columns, number * length, (number + 1) * length)
        return _shuffled(part, read, tf.random.fold_in(key, number), files_at_once // lanes, lanes)

    numbers = tf.data.Dataset.from_tensor_slices(wanted_lanes)
    references = _interleaved(numbers, lane, len(wanted_lanes), size // lanes)
    steps = references.batch(len(wanted_lanes) * size // lanes)
    return steps if is_wanted.all() else steps.map(lambda references: tf.gather(references, wanted_rows))


def _interleaved(items, read, at_once, block_length=1):
    """Return what `read` gives for all items, taking turns among `at_once` of them."""
    if at_once == 1:
        return items.flat_map(read)
    parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
    return items.interleave(read, cycle_length=at_once, block_length=block_length, **parallel)


def _cut(files, begin, end):
    """Return the rows of a table of files for the records from `begin` to `end`, counted over all files."""
    _, skips, takes = files
    ends = tf.cumsum(takes)
    starts = ends - takes
    first, last = tf.maximum(starts, begin), tf.minimum(ends, end)
    cut = files[0], skips + first - starts, last - first
    return tuple(tf.boolean_mask(column, last > first) for column in cut)


def _shuffled(files, read, key, files_at_once, lanes):
    """Return the content of the files of one of several lanes, in an order determined by a key."""
    contents = _interleaved(tf.data.Dataset.from_tensor_slices(files), read, files_at_once)

    def shuffled_block(number, block):
        order = tf.random.experimental.stateless_shuffle(tf.range(tf.shape(block)[0]), tf.random.fold_in(key, number))
        return tf.data.Dataset.from_tensor_slices(tf.gather(block, order))

    return contents.batch(SHUFFLED_TOGETHER // lanes).prefetch(1).enumerate().flat_map(shuffled_block)
