"""Sets that stay in files: complete epochs, an order that follows from seed and step, the same images as in memory."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_sd import data
from keras_sd.data import order, stored, streaming

EVERYTHING = {
    "augmentation": ("random_erasing", "inception_crop", "rand_augment", "shift_flip"),
    "mixup": 0.2,
    "cutmix": 1.0,
}


def first(dataset, count):
    return [(x.numpy(), y.numpy()) for x, y in dataset.take(count)]


def assert_equal(batches, others):
    assert len(batches) == len(others)
    for (x, y), (x2, y2) in zip(batches, others):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)


@pytest.fixture(params=["tfds", "folder", "memory"])
def tiny(request, store_tfds, store_folder, noise, monkeypatch):
    """A set of 54 training, 6 validation and 6 test images of 6x6 pixels, one of three classes each."""
    if request.param != "memory":
        request.getfixturevalue("all_stream")
    if request.param == "folder":
        store_folder("set/train", dict.fromkeys("abc", 20))
        return data.load(f"folder:{store_folder('set/test', dict.fromkeys('abc', 2)).parent}")
    return data.load("tfds:tiny", store_tfds("tiny", {"train": noise(60), "test": noise(6)}, ["a", "b", "c"]))


@pytest.mark.slow
def test_an_epoch_shows_each_image_once_and_no_held_out_one(tiny):
    assert [len(getattr(tiny, part)) for part in data.PARTS] == [54, 6, 6]
    batches = first(tiny.training_batches(9, augmentation=()), 12)
    epochs = [[image.tobytes() for x, _ in part for image in x] for part in (batches[:6], batches[6:])]
    held_out = {
        image.tobytes() for part in ("validation", "test") for x, _ in tiny.batches(part) for image in x.numpy()
    }
    stored = {image.tobytes() for x, _ in tiny.batches("train") for image in x.numpy()}
    assert len(held_out) == 12
    for epoch in epochs:
        assert len(set(epoch)) == 54
        assert set(epoch) == stored
        assert not set(epoch) & held_out
    assert epochs[0] != epochs[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_the_number_of_batches_is_known(tiny):
    """Otherwise Keras warns, at the end of each validation, that the input ran out of data."""
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for part, count in (("validation", 2), ("train", 14)):
        assert len(tiny.batches(part, 4)) == count
        model.evaluate(tiny.batches(part, 4), verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({}, id="own"),
        pytest.param({"augmentation": ("inception_crop",), "mixup": 0.2}, id="some", marks=pytest.mark.large),
        pytest.param(EVERYTHING, id="everything", marks=pytest.mark.large),
    ],
)
def test_the_nth_batch_follows_from_seed_and_n_alone(tiny, arguments):
    whole = first(tiny.training_batches(8, seed=3, **arguments), 14)
    for first_step in (4, 9):  # an epoch has six
        tf.random.set_seed(first_step)  # of no consequence
        later = first(tiny.training_batches(8, seed=3, first_step=first_step, **arguments), 14 - first_step)
        assert_equal(whole[first_step:], later)
    assert (whole[0][0] != first(tiny.training_batches(8, seed=4, **arguments), 1)[0][0]).any()
    assert (whole[0][0] != whole[6][0]).any()


@pytest.mark.slow
@pytest.mark.parametrize("threads", [*(pytest.param(n, marks=pytest.mark.large) for n in (1, 2)), 16])
@pytest.mark.parametrize(
    "tiny", ["folder", *(pytest.param(name, marks=pytest.mark.large) for name in ("tfds", "memory"))], indirect=True
)
def test_the_number_of_threads_is_of_no_consequence(tiny, threads, monkeypatch):
    expected = first(tiny.training_batches(8, **EVERYTHING), 8)
    monkeypatch.setattr(tf.data, "AUTOTUNE", threads)  # the number of parallel calls of each stage
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    assert_equal(expected, first(tiny.training_batches(8, **EVERYTHING).with_options(options), 8))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["inception_crop", pytest.param("rand_augment", marks=pytest.mark.large), "shift_flip"]
)
def test_each_image_of_each_batch_is_augmented_in_its_own_way(name):
    image = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), "uint8")
    part = data.Part(image.repeat(40, 0), np.arange(40, dtype="int32"))
    sets = data.Dataset("same", tuple(map(str, range(40))), part, part, part, (0.0,) * 3, (1.0,) * 3, (name,), 4)
    batches = first(sets.training_batches(10, mixup=1.0), 4)
    shares = {row.tobytes() for _, y in batches for row in y}
    assert len(shares) == 40
    images = {image.tobytes() for x, _ in first(sets.training_batches(10), 4) for image in x}
    assert len(images) > 25


@pytest.mark.slow
def test_labels_belong_to_their_images(tiny):
    label_of = {x.tobytes(): y for batch in tiny.batches("train") for x, y in zip(*(part.numpy() for part in batch))}
    for images, labels in first(tiny.training_batches(9, augmentation=()), 6):
        assert [label_of[image.tobytes()] for image in images] == labels.tolist()


def shuffled(shards, *key):
    """All records of one order."""
    return [record[0] for record in shards.shuffled(tf.constant(key), np.ones(1, bool)).unbatch().as_numpy_iterator()]


def test_several_shards_are_read_whole_and_in_another_order_each_epoch(tmp_path):
    names = [str(tmp_path / str(number)) for number in range(5)]
    for number, name in enumerate(names):
        with tf.io.TFRecordWriter(name) as writer:
            for example in range(7):
                writer.write(bytes([10 * number + example]))
    shards = streaming.Shards(names, (0, 2, 0, 0, 0), (7, 5, 7, 7, 3), None)
    ordered = [record[0] for record in shards.ordered().as_numpy_iterator()]
    assert ordered == [*range(7), *range(12, 17), *range(20, 27), *range(30, 37), *range(40, 43)]
    orders = [shuffled(shards, 0, epoch) for epoch in (0, 0, 1)]
    assert all(sorted(order) == ordered for order in orders)
    assert orders[0] == orders[1] != orders[2]
    assert len(shards) == len(ordered)


def test_blocks_of_records_are_shuffled_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(order, "SHUFFLED_TOGETHER", 8)
    with tf.io.TFRecordWriter(str(tmp_path / "records")) as writer:
        for example in range(20):
            writer.write(bytes([example]))
    shards = streaming.Shards((str(tmp_path / "records"),), (0,), (20,), None)
    found = shuffled(shards, 0, 1)
    blocks = [found[:8], found[8:16], found[16:]]
    assert [sorted(block) for block in blocks] == [[*range(8)], [*range(8, 16)], [*range(16, 20)]]
    assert [found.index(n) for n in range(8)] != [found.index(n) - 8 for n in range(8, 16)]


@pytest.mark.slow
def test_streaming_and_memory_give_the_same_images(store_tfds, noise, monkeypatch):
    folder = store_tfds("tiny", {"train": noise(40, 9, 12), "test": noise(6, 9, 12)}, ["a", "b", "c"], (None, None, 3))
    in_memory = data.load("tfds:tiny", folder, image_size=5)
    monkeypatch.setattr(data.splits, "IN_MEMORY_BYTES", 0)
    streamed = data.load("tfds:tiny", folder, image_size=5)
    assert isinstance(in_memory, data.Dataset)
    assert isinstance(streamed, data.StreamingDataset)
    same = dataclasses.replace(streamed, mean=in_memory.mean, std=in_memory.std)
    assert_equal(first(in_memory.batches("test"), 1), first(same.batches("test"), 1))
    described = streamed.describe()
    assert [described[part] for part in data.PARTS] == [36, 4, 6]
    assert described["input_shape"] == [5, 5, 3]
    assert len(described["files_sha256"]) == 64
    # Of all 36 images, since there are fewer than 1,000.
    images = np.concatenate([x for x, _ in first(streamed.batches("train"), 1)])
    assert images.mean((0, 1, 2)) == pytest.approx(0, abs=1e-5)
    assert images.std((0, 1, 2)) == pytest.approx(1, abs=1e-5)


OFTEN = ("inception_crop", "rand_augment")  # of stored images, and of single images


@pytest.fixture
def both(store_tfds, store_folder, noise, monkeypatch):
    """`both(kind)`: the same set in memory and streamed, with images that are larger than the input."""

    def load(kind):
        if kind == "folder":
            store_folder("set", {"a": 9}, (9, 14))
            name, folder = f"folder:{store_folder('set', {'b': 10}, (12, 8), suffix='.jpg')}", None
        else:
            parts = {"train": noise(19, 9, 12), "validation": noise(4, 9, 12), "test": noise(3, 9, 12)}
            name, folder = "tfds:tiny", store_tfds("tiny", parts, ["a", "b", "c"], (None, None, 3))
        held = data.load(name, folder, image_size=6)
        monkeypatch.setattr(data.splits, "IN_MEMORY_BYTES", 0)
        streamed = data.load(name, folder, image_size=6)
        assert (type(held), type(streamed)) == (data.Dataset, data.StreamingDataset)
        return held, streamed

    return load


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        *(
            pytest.param("folder", {"augmentation": (name,)}, marks=[] if name in OFTEN else [pytest.mark.large])
            for name in data.AUGMENTATIONS
        ),
        ("folder", {"augmentation": (), "first_step": 2}),
        ("folder", {"augmentation": ("inception_crop", "random_erasing"), "mixup": 0.2, "cutmix": 1.0}),
        ("tfds", {"augmentation": ("inception_crop", "shift_flip")}),
        pytest.param("tfds", {"augmentation": ()}, marks=pytest.mark.large),
    ],
    ids=str,
)
def test_batches_are_the_same_in_memory_and_streamed(both, kind, arguments):
    """Of every augmentation: crops are taken from the images as they are stored, not from resized ones."""
    held, streamed = (first(one.training_batches(4, seed=3, **arguments), 6) for one in both(kind))
    assert_equal(held, streamed)


def test_several_shards_have_one_order_in_memory_and_streamed(tmp_path, monkeypatch):
    monkeypatch.setattr(order, "SHUFFLED_TOGETHER", 8)
    names = [str(tmp_path / str(number)) for number in range(5)]
    for number, name in enumerate(names):
        with tf.io.TFRecordWriter(name) as writer:
            for example in range(7):
                writer.write(bytes([10 * number + example]))
    shards = streaming.Shards(names, (0, 2, 0, 0, 0), (7, 5, 7, 7, 3), lambda record, use: use(record))
    asked, rows = (tf.constant([0, 7]), np.array([True, True, False, True])), shards.kept()
    streamed = [step.tolist() for step in shards.shuffled(*asked).as_numpy_iterator()]
    assert [[rows.read(row, tf.identity).numpy() for row in step] for step in shards.row_order()(*asked)] == streamed
    assert [len(step) for step in streamed] == [3] * 7


def test_crops_of_a_file_of_arrays_are_of_its_own_images(tmp_path):
    """Stripes of one pixel survive a crop and its resizing only where the crop is taken before."""
    images = np.zeros((30, 48, 48, 1), "uint8")
    images[:, :, ::2] = 255
    labels = np.arange(30) % 2
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    sets = data.load(f"npz:{tmp_path / 'a.npz'}", image_size=16)
    x, _ = first(sets.training_batches(26, augmentation=("inception_crop",)), 1)[0]
    pixels = x * sets.std[0] + sets.mean[0]
    assert np.ptp(sets.train.images) < 80
    assert np.ptp(pixels, (1, 2, 3)).max() > 120


def test_an_image_is_fitted_by_its_middle():
    image = np.arange(8 * 16, dtype="uint8").reshape(8, 16, 1)
    np.testing.assert_array_equal(stored.fit(tf.constant(image), (8, 8, 1)), image[:, 4:12])
    np.testing.assert_array_equal(stored.fit(tf.constant(image), (8, 16, 1)), image)
    np.testing.assert_array_equal(stored.fit(tf.constant(image), (4, 4, 1), crop=0.5), image[2:6, 6:10])
    halved = image.reshape(4, 2, 8, 2).mean((1, 3))[1:3, 2:6]  # of a ramp, inside, any even filter gives the mean
    np.testing.assert_allclose(stored.fit(tf.constant(image), (4, 8, 1))[1:3, 2:6, 0], halved, atol=0.51)
