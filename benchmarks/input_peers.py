"""Reading photographs for training: keras_sd's pipeline and a plain one of `tf.data`.

Both take a random crop as in Szegedy et al. 2015, resize it to 224 pixels, mirror half of the images and normalize. The
plain pipeline is written for speed only: it draws from TensorFlow's global seed, decodes by the fast transform, and
resizes by linear interpolation.
"""

import pathlib
import time

SIZE = 224
HEIGHT, WIDTH = 375, 500  # of a photograph: the most frequent size in ImageNet
NUMBER = 192
WARM_UP = 8  # batches, while `tf.data` tunes its parallel calls
KINDS = ("folder", "records", "rand_augment")


class Pipelines:
    """Endless batches of both pipelines, from JPEG files and from TFRecords.

    Args:
        directory: path of a directory for the images.
        batch_size: images in a batch.
    """

    def __init__(self, directory, batch_size):
        photographs = list(_photographs())
        files = _write_files(pathlib.Path(directory, "files"), photographs)
        records = _write_records(pathlib.Path(directory, "records"), photographs)
        sets = {"folder": _our_files(files), "records": _our_records(records)}
        sets["rand_augment"] = sets["folder"]
        self._batches = {
            kind: {
                "ours": _ours(sets[kind], batch_size, kind == "rand_augment"),
                "tf.data": _plain(files, records if kind == "records" else None, batch_size),
            }
            for kind in KINDS
        }

    def seconds(self, kind, count, backwards=False):
        """Return seconds per batch of each contestant, measured one after the other."""
        turns = list(self._batches[kind].items())[:: -1 if backwards else 1]
        return {name: _seconds(batches, count) for name, batches in turns}


def our_batches(directory, batch_size):
    """Return endless batches of keras_sd's pipeline from JPEG files, which are written to the directory."""
    return _ours(_our_files(_write_files(pathlib.Path(directory), _photographs())), batch_size, False)


def _seconds(batches, count):
    """Return seconds per batch of a restarted pipeline: a waiting one would fill its buffers during other turns."""
    batches = iter(batches)
    for _ in range(WARM_UP):
        next(batches)
    started = time.perf_counter()
    for _ in range(count):
        next(batches)
    return (time.perf_counter() - started) / count


def _photographs():
    """Yield the bytes of JPEGs that compress about as well as photographs."""
    import numpy as np
    import tensorflow as tf

    generator = np.random.default_rng(0)
    for _ in range(NUMBER):
        large = tf.image.resize(generator.uniform(0, 255, (15, 20, 3)), (HEIGHT, WIDTH), "bicubic")
        pixels = np.clip(large + generator.normal(0, 12, large.shape), 0, 255).astype("uint8")
        yield tf.io.encode_jpeg(pixels, quality=90).numpy()


def _write_files(folder, photographs):
    paths = [folder / "ab"[number % 2] / f"{number:04}.jpg" for number in range(NUMBER)]
    for path, content in zip(paths, photographs):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def _write_records(path, photographs):
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, content in enumerate(photographs):
            image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
            label = tf.train.Feature(int64_list=tf.train.Int64List(value=[number % 2]))
            features = tf.train.Features(feature={"image": image, "label": label})
            writer.write(tf.train.Example(features=features).SerializeToString())
    return path


def _parsed(record):
    import tensorflow as tf

    features = {"image": tf.io.FixedLenFeature((), tf.string), "label": tf.io.FixedLenFeature((), tf.int64)}
    example = tf.io.parse_single_example(record, features)
    return example["image"], tf.cast(example["label"], tf.int32)


def _our_files(folder):
    from keras_sd import data

    return data.load(f"folder:{folder}", image_size=SIZE)


def _our_records(path):
    from keras_sd.data import StreamingDataset, streaming, tfds

    def parse(record, use):
        image, label = _parsed(record)
        return tfds.decode(image, use), label

    shards = streaming.Shards((str(path),), (0,), (NUMBER,), parse)
    settings = {"mean": (120.0,) * 3, "std": (60.0,) * 3, "augmentation": (), "shift": 0, "size": (SIZE, SIZE, 3)}
    return StreamingDataset("photographs", ("a", "b"), shards, shards, shards, **settings)


def _ours(dataset, batch_size, with_rand_augment):
    names = ("inception_crop", "rand_augment") if with_rand_augment else ("inception_crop",)
    return dataset.training_batches(batch_size, augmentation=names)


def _plain(folder, records, batch_size):
    """Return the plain pipeline, from TFRecords or from the files of a folder."""
    import tensorflow as tf

    def one(data, label):
        box = {"min_object_covered": 0.0, "aspect_ratio_range": (3 / 4, 4 / 3), "area_range": (0.08, 1.0)}
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(data), tf.zeros((1, 0, 4)), use_image_if_no_bounding_boxes=True, **box
        )
        crop = tf.image.decode_and_crop_jpeg(data, tf.concat([begin[:2], size[:2]], 0), channels=3)
        image = tf.image.random_flip_left_right(tf.image.resize(crop, (SIZE, SIZE)))
        return (image - 120.0) / 60.0, label

    if records is not None:
        stored = tf.data.TFRecordDataset(str(records)).repeat().shuffle(NUMBER)
        images = stored.map(lambda record: one(*_parsed(record)), tf.data.AUTOTUNE)
    else:
        paths = sorted(map(str, folder.rglob("*.jpg")))
        labels = [path.split("/")[-2] == "b" for path in paths]
        stored = tf.data.Dataset.from_tensor_slices((paths, labels)).shuffle(NUMBER).repeat()
        images = stored.map(lambda path, label: one(tf.io.read_file(path), label), tf.data.AUTOTUNE)
    return images.batch(batch_size).prefetch(tf.data.AUTOTUNE)
