"""Each of several processes reads its part of every batch, and only that; together they have the batches of one."""

import numpy as np
import pytest
import tensorflow as tf

from keras_sd import data
from keras_sd.data import order, streaming

BATCH = 8  # an epoch has three steps

# Arguments, and the images that each of two processes reads in a step.
CASES = {
    "none": ({"augmentation": ()}, 4),
    "image": ({"augmentation": ("inception_crop", "rand_augment")}, 4),
    "batch": ({"augmentation": ("shift_flip", "random_erasing")}, 4),
    "mixup": ({"augmentation": (), "mixup": 0.2}, 5),
    "all": ({"augmentation": ("inception_crop", "shift_flip"), "mixup": 0.2, "cutmix": 1.0, "repeats": 2}, 5),
}


# Run by `make test`; the others combine the same steps of the pipeline.
OFTEN = (("memory", "none"), ("memory", "mixup"), ("stream", "batch"), ("stream", "all"))


class Counted:
    """Stored images in memory that count how often they are read."""

    def __init__(self, count):
        self.part = data.Part(
            np.random.default_rng(0).integers(0, 256, (count, 6, 6, 3), "uint8"), np.arange(count, dtype="int32") % 3
        )
        self.reads = 0

    def __len__(self):
        return len(self.part)

    def ordered(self):
        return tf.data.Dataset.range(len(self), output_type=tf.int32)

    def shuffled(self, key, is_wanted):
        return order.of_rows(len(self), key, is_wanted)

    def read(self, reference, use):
        def counted(number):
            self.reads += 1
            return number

        number = tf.numpy_function(counted, [reference], tf.int32)
        number.set_shape(())
        return self.part.read(number, use)


def stream(source):
    return streaming.StreamingDataset(
        "counted", ("a", "b", "c"), source, source, source, (120.0,) * 3, (60.0,) * 3, (), 1, size=(6, 6, 3)
    )


def assert_together(parts, whole):
    """The parts of all processes are the whole batches."""
    for step, expected in enumerate(whole):
        for tensor in range(2):
            together = np.concatenate([own[step][tensor] for own in parts])
            np.testing.assert_array_equal(together, expected[tensor])


def batches(dataset, **arguments):
    """Three batches of two epochs."""
    batches = dataset.training_batches(BATCH, seed=1, first_step=2, **arguments)
    return [(x.numpy(), y.numpy()) for x, y in batches.take(3)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        pytest.param(
            kind, CASES[name][0], marks=[] if (kind, name) in OFTEN else [pytest.mark.large], id=f"{kind}-{name}"
        )
        for kind in ("memory", "stream")
        for name in CASES
    ],
)
def test_parts_of_processes_make_the_batches_of_one(kind, arguments):
    source = Counted(26)
    part = source.part
    dataset = stream(source)
    if kind == "memory":
        dataset = data.Dataset("memory", dataset.class_names, part, part, part, dataset.mean, dataset.std, (), 1)
    whole = batches(dataset, **arguments)
    parts = [batches(dataset, process=(i, 4), **arguments) for i in range(4)]
    assert_together(parts, whole)


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "count"), CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("index", [0, pytest.param(1, marks=pytest.mark.large)])
def test_only_the_images_of_a_process_are_read(index, arguments, count, monkeypatch):
    source = Counted(26)
    monkeypatch.setattr(tf.data, "AUTOTUNE", 1)  # so that few images are read ahead
    pipeline = stream(source).training_batches(BATCH, process=(index, 2), **arguments)
    steps = 50
    for _ in pipeline.take(steps):
        pass
    ahead = 4  # steps that the pipeline prefetches at most
    assert steps * count <= source.reads <= (steps + ahead) * count


@pytest.mark.parametrize("kind", ["memory", "stream"])
def test_parts_of_a_validation_split_are_decoded_once(kind):
    """Also of the last batch, which is smaller."""
    source = Counted(28)
    dataset = stream(source)
    if kind == "memory":
        part = source.part
        dataset = data.Dataset("memory", dataset.class_names, part, part, part, dataset.mean, dataset.std, (), 1)
    whole = [(x.numpy(), y.numpy()) for x, y in dataset.batches("validation", BATCH)]
    read, source.reads = source.reads, 0
    parts = [[(x.numpy(), y.numpy()) for x, y in dataset.batches("validation", BATCH, (i, 4))] for i in range(4)]
    assert source.reads == read
    assert_together(parts, whole)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "processes", "share"), [(32, 4, 1 / 4), (32, 2, 1 / 2), (12, 3, 1 / 2), (5, 5, 1)])
def test_a_process_reads_the_files_of_its_rows(size, processes, share):
    """20 files of 40 records are read in 16 lanes, with batches of 12 in 4 and of 5 in one."""
    read = [0]

    def record(number):
        read[0] += 1
        return number

    def records(first, skip, take):
        numbers = tf.data.Dataset.range(first + skip, first + skip + take)
        return numbers.map(lambda number: tf.ensure_shape(tf.numpy_function(record, [number], tf.int64), ()))

    starts = np.arange(0, 800, 40)
    files = tuple(map(tf.constant, (starts, np.zeros_like(starts), np.full_like(starts, 40))))
    steps = np.stack([*order.of_files(files, records, tf.constant([0, 1]), np.ones(size, bool)).as_numpy_iterator()])
    assert len(np.unique(steps)) == steps.size == 800 // size * size
    for index, rows in enumerate(np.split(np.arange(size), processes)):
        read[0] = 0
        own = order.of_files(files, records, tf.constant([0, 1]), np.isin(np.arange(size), rows))
        np.testing.assert_array_equal(np.stack([*own.as_numpy_iterator()]), steps[:, rows], err_msg=f"{index}")
        assert read[0] == pytest.approx(800 * share, abs=16)  # whole steps only: up to 31 records are left out


@pytest.mark.parametrize(
    ("process", "message"),
    [((0, 3), "`batch_size` must be a multiple of the 3 processes"), ((2, 2), "`process` must be an integer from 0")],
)
def test_bad_processes(process, message):
    with pytest.raises(ValueError, match=message):
        stream(Counted(26)).training_batches(BATCH, process=process)
