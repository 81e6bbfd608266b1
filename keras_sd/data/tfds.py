"""Load data sets of TensorFlow Datasets by name."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_sd.data import splits
from keras_sd.data.dataset import ImageSet, Part, hold_out
from keras_sd.data.stored import Jpeg, Pixels
from keras_sd.data.streaming import Shards, in_memory
from keras_sd.utils.aliases import Tensor
from keras_sd.utils.checks import refusal
from keras_sd.utils.names import unknown

MOST_HELD_OUT = 10_000  # images of a split that is held out of the training split of a streaming set


def published(
    name: str, data_dir: str | os.PathLike | None, reading: splits.Reading, *, held_out: Any, **settings: Any
) -> ImageSet:
    """Load a data set with its published splits into memory.

    Args:
        name: Name in TensorFlow Datasets.
        data_dir: Directory of TensorFlow Datasets, or `None`.
        reading: A `Reading`.
        held_out: Dictionary from each published split to train on, to the number of images per class held out of it
            for validation.
        **settings: Arguments of `Dataset`.

    Returns:
        A `Dataset`.
    """
    builder, advice = _builder(name, data_dir)
    size, class_names = _image(builder, name).shape, builder.info.features["label"].names
    with advice:
        test, *stored = (in_memory(_shards(builder, part), size) for part in ("test", *held_out))
    train: list[Part] = []
    validation: list[Part] = []
    for part, count in zip(stored, held_out.values()):
        for chosen, rows in zip((train, validation), hold_out(part.labels, count)):
            chosen.append(part.take(rows))
    parts = {"train": _joined(train), "validation": _joined(validation), "test": test}
    return splits.from_parts(name, class_names, parts, reading=reading, **settings)


def any_set(
    name: str,
    data_dir: str | os.PathLike | None,
    reading: splits.Reading,
    *,
    shown_as: str | None = None,
    test: str | None = None,
    crop: float = 1.0,
    **settings: Any,
) -> ImageSet:
    """Load a classification set, in memory if it is small, otherwise streaming.

    Published splits are used unchanged. If only one of test and validation is published, it is used as the test split.
    Missing splits are held out of training; for a streaming set, from the end of the training split, because
    TensorFlow Datasets stores it in random order.

    Args:
        name: Name in TensorFlow Datasets, with a configuration (`name/config`) or version (`name:1.0.0`) if needed.
        data_dir: Directory of TensorFlow Datasets, or `None`.
        reading: A `Reading`.
        shown_as: String, name of the resulting set.
        test: String, the published split to test on.
        crop: Float in (0, 1], side of the center crop used for testing, as a fraction.
        **settings: Arguments of `ImageSet`.

    Returns:
        A `Dataset` or a `StreamingDataset`.
    """
    shown_as = shown_as or name
    builder, advice = _builder(name, data_dir)
    shape = _image(builder, shown_as).shape
    size = splits.input_size(shown_as, shape, reading.image_size)
    class_names = builder.info.features["label"].names
    specs = _published_parts(builder, shown_as, test)
    counts = {part: builder.info.splits[spec].num_examples for part, spec in specs.items()}
    keep = shape != size or crop < 1  # training may start from the stored images
    num_bytes = builder.info.splits[specs["train"]].num_bytes if keep else 0
    in_one = splits.fits_in_memory(sum(counts.values()), size, num_bytes)
    with advice:
        if in_one:
            parts = {
                part: in_memory(_shards(builder, spec), size, crop, keep and (part == "train" or reading.tests_differ))
                for part, spec in specs.items()
            }
        else:
            sources = {part: _shards(builder, spec) for part, spec in _held_out(specs, counts["train"]).items()}
    if in_one:
        settings = {name: value for name, value in settings.items() if name not in ("mean", "std")}
        return splits.from_parts(shown_as, class_names, parts, **settings)
    return splits.streaming(shown_as, class_names, sources, size, crop, **settings)


def _held_out(specs, count):
    """Return the specifications of all three splits. Missing ones are the last images of the training split."""
    size, end, specs = min(count // 10, MOST_HELD_OUT), count, dict(specs)
    for part in ("test", "validation"):
        if part not in specs:
            specs[part] = f"train[{end - size}:{end}]"
            end -= size
    return specs | {"train": f"train[:{end}]"}


def _published_parts(builder, shown_as, test=None):
    """Return the name of each split in TensorFlow Datasets."""
    there = list(builder.info.splits)
    if "train" not in there:
        raise refusal("data", f"a set with a split named train; it has {', '.join(there)}", shown_as)
    if test is None:
        test = next((part for part in ("test", "validation") if part in there), None)
    parts = {"train": "train"} | ({"test": test} if test else {})
    return parts | ({"validation": "validation"} if "validation" in there and test != "validation" else {})


def _image(builder, shown_as):
    """Return the feature of the images, after checking that this is a classification set."""
    features = builder.info.features
    there = {name: type(features[name]).__name__ for name in sorted(features)} if hasattr(features, "keys") else {}
    if (there.get("image"), there.get("label")) != ("Image", "ClassLabel"):
        described = ", ".join(f"{name} ({kind})" for name, kind in there.items()) or repr(features)
        raise refusal("data", f"a set with image (Image) and label (ClassLabel); it has {described}", shown_as)
    if features["image"].np_dtype != np.uint8:
        raise refusal("data", f"a set of uint8 images; they are {features['image'].np_dtype}", shown_as)
    return features["image"]


def _builder(name, data_dir):
    """Return a builder with its data, and a context that adds advice to errors in reading the data."""
    import tensorflow_datasets as tfds

    directory = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    if data_dir is not None and not directory.is_dir():
        raise refusal("data_dir", "a directory", str(data_dir), FileNotFoundError)
    folder = directory / name.partition(":")[0]
    present = folder.is_dir()
    known = {*tfds.list_builders(with_community_datasets=False), *(f.name for f in directory.glob("*") if f.is_dir())}
    if name.partition(":")[0].partition("/")[0] not in known:
        raise unknown("data", f"tfds:{name}", sorted(f"tfds:{there}" for there in known))
    with _advice(name, directory, present):
        builder = tfds.builder(name, data_dir=directory)
        if not present:
            builder.download_and_prepare()
    return builder, _advice(name, directory, present)


class _advice(contextlib.AbstractContextManager):
    """A context that adds the same advice to all errors of TFDS, the network and the disk."""

    def __init__(self, name, directory, present):
        action = "reading it failed" if present else "it is missing and downloading it failed"
        self.failure = f"{name} in the TFDS directory {directory}: {action}"

    def __exit__(self, kind, error, traceback):
        if isinstance(error, Exception) and not isinstance(error, ValueError):
            raise FileNotFoundError(
                f"{self.failure} ({_first_line(error)}). Give a directory that contains it as data_dir, or run where "
                f"it can be downloaded"
            ) from error


def _shards(builder, spec):
    """Return the files of a split, or of a range of it."""
    import tensorflow_datasets as tfds

    stored_as = builder.info.file_format
    if stored_as != tfds.core.FileFormat.TFRECORD:
        raise refusal("data", f"a set stored as tfrecord; it is stored as {stored_as.value}", builder.name)
    files = builder.info.splits[spec].file_instructions
    filenames, skips, takes = zip(*((str(file.filename), file.skip, file.take) for file in files))
    features = tfds.features.FeaturesDict({name: builder.info.features[name] for name in ("image", "label")})
    shape = features["image"].shape

    def parse(record, use):
        example = features.deserialize_example(record, decoders={"image": tfds.decode.SkipDecoding()})
        return decode(example["image"], use, shape[-1] or 3), tf.cast(example["label"], tf.int32)

    return Shards(filenames, skips, takes, parse)


def decode(image: Tensor, use: Callable, channels: int = 3) -> Tensor:
    """Apply a function to a stored image, which is the bytes of a JPEG or PNG, or plain pixels."""
    if image.dtype != tf.string:
        return use(Pixels(image))
    return tf.cond(
        tf.io.is_jpeg(image),
        lambda: use(Jpeg(image, channels)),
        lambda: use(Pixels(tf.io.decode_png(image, channels=channels))),
    )


def _joined(parts):
    if len(parts) == 1:
        return parts[0]
    return Part(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts]))


def _first_line(error):
    return (str(error).strip().splitlines() or [""])[0][:200] or type(error).__name__
