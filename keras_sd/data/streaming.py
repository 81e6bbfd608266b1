"""Image data sets that do not fit in memory: images are read when needed, in an order determined by a seed."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_sd.data import order
from keras_sd.data.dataset import PARTS, ImageSet, Part
from keras_sd.data.stored import Jpeg, Pixels, fit
from keras_sd.utils.aliases import Tensor


@dataclasses.dataclass(frozen=True)
class Files:
    """Files with one image each. A reference is the index of a file.

    Args:
        paths: Tuple of strings.
        labels: Integer array `(n,)`.
        is_jpeg: Boolean array `(n,)`, whether a file is a JPEG that TensorFlow decodes in the same way as Pillow.
        channels: Integer, channels of the images.
        decode: Function of the bytes and the path of a file (string tensors) that returns a uint8 image.
        contents: Array of bytes `(n,)`, the files in memory; `None` to read them when needed.
    """

    paths: tuple[str, ...]
    labels: np.ndarray
    is_jpeg: np.ndarray
    channels: int
    decode: Callable
    contents: np.ndarray | None = None

    def __len__(self):
        return len(self.paths)

    def ordered(self) -> tf.data.Dataset:
        return tf.data.Dataset.range(len(self))

    def shuffled(self, key: Tensor, is_wanted: np.ndarray) -> tf.data.Dataset:
        """Return the references of each step of an epoch; see `order.of_rows`."""
        return order.of_rows(len(self), key, is_wanted)

    def read(self, reference: Any, use: Callable) -> tuple[Tensor, Tensor]:
        """Apply a function to a stored image. Returns the result and the label."""
        path, label, is_jpeg, *contents = (tf.gather(column, reference) for column in self._tensors)
        data = contents[0] if contents else tf.io.read_file(path)

        def by_tensorflow():
            return use(Jpeg(data, self.channels))

        def by_pillow():
            return use(Pixels(self.decode(data, path)))

        if self.is_jpeg.all() or not self.is_jpeg.any():
            return (by_tensorflow if self.is_jpeg.all() else by_pillow)(), label
        return tf.cond(is_jpeg, by_tensorflow, by_pillow), label

    def take(self, rows: np.ndarray) -> Files:
        """Return the files of the given rows, an integer array."""
        return dataclasses.replace(
            self,
            paths=tuple(self.paths[row] for row in rows),
            labels=self.labels[rows],
            is_jpeg=self.is_jpeg[rows],
            contents=None if self.contents is None else self.contents[rows],
        )

    def kept(self) -> Files:
        """Return the same files with their bytes in memory, which read images by row number."""
        return dataclasses.replace(self, contents=np.array([Path(path).read_bytes() for path in self.paths], object))

    def row_order(self) -> Callable:
        """Return a function like `shuffled` that gives row numbers in the order of its references."""
        return self.shuffled

    @functools.cached_property
    def _tensors(self):
        with tf.init_scope(), tf.device("CPU"):
            columns = (tf.constant(self.paths), tf.constant(self.labels, tf.int32), tf.constant(self.is_jpeg))
            return columns if self.contents is None else (*columns, tf.constant(self.contents))

    @property
    def num_bytes(self) -> int:
        """Total size of the files in bytes."""
        return sum(Path(path).stat().st_size for path in self.paths)

    def fingerprint(self) -> list[str]:
        """Return strings that change if files are added, removed, or change their size."""
        return [f"{path} {Path(path).stat().st_size} {label}" for path, label in zip(self.paths, self.labels)]


@dataclasses.dataclass(frozen=True)
class Shards:
    """TFRecord files with many images each. A reference is the record itself.

    Args:
        filenames: Tuple of strings.
        skips, takes: Tuples of integers, number of examples to skip at the start of each file, and to use after them.
        parse: Function of a record (a string tensor) and a function of a stored image. Applies the latter to the
            record's image, and returns the result and an integer label.
    """

    filenames: tuple[str, ...]
    skips: tuple[int, ...]
    takes: tuple[int, ...]
    parse: Callable

    def __len__(self):
        return sum(self.takes)

    def ordered(self) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(self._files()).flat_map(_records)

    def shuffled(self, key: Tensor, is_wanted: np.ndarray) -> tf.data.Dataset:
        """Return the references of each step of an epoch; see `order.of_files`."""
        return order.of_files(self._files(), _records, key, is_wanted)

    def row_order(self) -> Callable:
        """Return a function like `shuffled` that gives row numbers in the order of its references."""
        takes = np.array(self.takes, "int64")
        columns = tuple(map(tf.constant, (np.cumsum(takes) - takes, np.zeros_like(takes), takes)))
        return functools.partial(order.of_files, columns, _rows)

    def kept(self) -> Any:
        """Return the records in memory, which read images by row number."""
        return Records(np.array(list(self.ordered().as_numpy_iterator()), object), self.parse)

    def read(self, reference: Any, use: Callable) -> tuple[Tensor, Tensor]:
        """Apply a function to a stored image. Returns the result and the label."""
        return self.parse(reference, use)

    def fingerprint(self) -> list[str]:
        """Return strings that change if files are added, removed, or change their size."""
        rows = zip(self.filenames, self.skips, self.takes)
        return [f"{Path(name).name} {Path(name).stat().st_size} {skip} {take}" for name, skip, take in rows]

    def _files(self):
        return tuple(map(tf.constant, (self.filenames, np.int64(self.skips), np.array(self.takes, "int64"))))


def _records(filename, skip, take):
    return tf.data.TFRecordDataset(filename).skip(skip).take(take)


def _rows(first, skip, take):
    return tf.data.Dataset.range(first + skip, first + skip + take)


@dataclasses.dataclass(frozen=True)
class Records:
    """Records of `Shards` in memory. A reference is the number of a record.

    Args:
        records: Array of bytes `(n,)`.
        parse: Same as for `Shards`.
    """

    records: np.ndarray
    parse: Callable

    def read(self, reference: Any, use: Callable) -> tuple[Tensor, Tensor]:
        """Apply a function to a stored image. Returns the result and the label."""
        return self.parse(tf.gather(self._tensor, reference), use)

    def take(self, rows: np.ndarray) -> Records:
        """Return the records of the given rows, an integer array."""
        return Records(self.records[rows], self.parse)

    @functools.cached_property
    def _tensor(self):
        with tf.init_scope(), tf.device("CPU"):
            return tf.constant(self.records)


@dataclasses.dataclass(frozen=True, repr=False)
class StreamingDataset(ImageSet):
    """An image data set that is read from files; its splits are `Files` or `Shards`.

    Args:
        size: Tuple of integers, shape of an image as input of a model.
        crop: Float in (0, 1], side of the center crop of an image that is not augmented, as a fraction.
        test_size, test_crop: The same for validation and test images; `None` for the values above.
    Other arguments are those of `ImageSet`.
    """

    size: tuple[int, int, int] = dataclasses.field(kw_only=True)
    crop: float = dataclasses.field(default=1.0, kw_only=True)
    test_size: tuple[int, int, int] | None = dataclasses.field(default=None, kw_only=True)
    test_crop: float | None = dataclasses.field(default=None, kw_only=True)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.size

    def _stored(self, part, chosen):
        size, crop = self.size, self.crop
        if part is not self.train:
            size, crop = self.test_shape, self.test_crop or crop
        return chosen(part.ordered()).map(
            lambda reference: _fitted(part, reference, size, crop), tf.data.AUTOTUNE, deterministic=True
        )

    @property
    def test_shape(self) -> tuple[int, int, int]:
        return self.test_size or self.size

    def _order(self, key, is_wanted):
        return self.train.shuffled(key, is_wanted)

    def _read(self, reference, crop):
        return self.train.read(reference, crop or (lambda image: fit(image.whole(), self.size, self.crop)))

    def _fingerprint(self):
        digest = hashlib.sha256()
        for part in PARTS:
            digest.update("\n".join([part, *getattr(self, part).fingerprint()]).encode())
        tested = {} if self.test_crop is None else {"test_crop": self.test_crop}
        return {"crop": self.crop, **tested, "files_sha256": digest.hexdigest()}


def in_memory(source: Any, size: tuple[int, int, int], crop: float = 1.0, keep: bool = False) -> Any:
    """Read all images of a split into memory.

    Args:
        source: `Files` or `Shards`.
        size, crop: Same as for `fit`.
        keep: Whether the part also keeps the stored images, for training that starts from them.

    Returns:
        A `Part`.
    """
    images, labels = np.empty((len(source), *size), "uint8"), np.empty(len(source), "int32")
    examples = source.ordered().map(lambda ref: _fitted(source, ref, size, crop), tf.data.AUTOTUNE, deterministic=True)
    start = 0
    for x, y in examples.batch(256).prefetch(2).as_numpy_iterator():
        images[start : start + len(y)], labels[start : start + len(y)] = x, y
        start += len(y)
    if start < len(source):
        raise ValueError(f"{len(source)} images were expected and {start} found")
    return Part(images, labels, source.kept() if keep else None, source.row_order())


def _fitted(source, reference, size, crop):
    return source.read(reference, lambda image: fit(image.whole(), size, crop))


def sample(source: Any, size: tuple[int, int, int], crop: float = 1.0, count: int = 1000) -> Part:
    """Return a sample of the images of a split, the same one each time.

    Args:
        source: `Files` or `Shards`.
        size, crop: Same as for `fit`.
        count: Integer, maximum number of images.

    Returns:
        A `Part`.
    """
    references = source.shuffled(tf.constant([0, 0], tf.int64), np.ones(1, bool)).unbatch().take(count)
    examples = references.map(lambda ref: _fitted(source, ref, size, crop), tf.data.AUTOTUNE, deterministic=True)
    images, labels = zip(*examples.as_numpy_iterator())
    return Part(np.stack(images), np.array(labels, "int32"))
