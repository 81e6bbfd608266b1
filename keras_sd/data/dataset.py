"""Image data sets with three splits, which provide batches for a model; and one that keeps its images in memory."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from keras_sd.data import augmentation as augmenting
from keras_sd.data import order
from keras_sd.data.stored import Pixels
from keras_sd.utils.aliases import Tensor
from keras_sd.utils.checks import check_choice, check_integer, check_number, refusal

PARTS = ("train", "validation", "test")
# Numbers that no example or augmentation of a batch has, so that these operations have separate keys.
_IMAGES, _MIXING = -1, -2
_MOST_STEPS = 2**40  # of a training run


@dataclasses.dataclass(frozen=True)
class Part:
    """Images of the input size and their labels, in memory.

    Args:
        images: uint8 array `(n, height, width, channels)`.
        labels: Integer array `(n,)`.
        stored: Object with the stored images, before resizing. Its `read` applies a function to the stored image of a
            row and also returns the label; its `take` selects rows. `None` if the images were not resized.
        order: Function like `order.of_rows`, without the number of rows; `None` for that function.
    """

    images: np.ndarray
    labels: np.ndarray
    stored: Any = None
    order: Callable | None = None

    def __len__(self):
        return len(self.labels)

    def take(self, rows: Any) -> Part:
        """Return a part with the given rows, an integer array."""
        return Part(self.images[rows], self.labels[rows], None if self.stored is None else self.stored.take(rows))

    def read(self, row: Tensor, use: Callable) -> tuple[Tensor, Tensor]:
        """Apply a function to the image of a row, inside `tf.data`. Returns the result and the label."""
        images, labels = self.tensors
        return use(Pixels(images[row])), labels[row]

    @functools.cached_property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """Images and labels as tensors, created once and shared by all pipelines."""
        with tf.init_scope(), tf.device("CPU"):  # where `tf.data` runs; on a GPU they would use its memory
            return tf.constant(self.images), tf.constant(self.labels)


@dataclasses.dataclass(frozen=True, repr=False)
class ImageSet:
    """Base class of all image data sets; subclasses define where images come from.

    Args:
        name: Name of the data set.
        class_names: Tuple of strings, in label order.
        train, validation, test: The splits, objects with a length. The validation split is held out of training.
        mean, std: Tuples of floats, one for each channel, over the training split, in units of stored pixels.
        augmentation: Tuple of names of rows of `AUGMENTATIONS`, the default augmentation in training.
        shift: Integer, largest shift of an image along each axis in augmentation, in pixels.
        white: Integer, value of a white pixel.
        workers: Integer, number of threads that read and augment images; `None` to let `tf.data` choose.
    """

    name: str
    class_names: tuple[str, ...]
    train: Part
    validation: Part
    test: Part
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: tuple[str, ...]
    shift: int
    white: int = dataclasses.field(default=255, kw_only=True)
    workers: int | None = dataclasses.field(default=None, kw_only=True)

    def __repr__(self):
        """Return a summary of the set for a notebook, without its arrays."""
        sizes = ", ".join(f"{part}={len(getattr(self, part)):,}" for part in PARTS)
        shape = "x".join(map(str, self.input_shape))
        return f"{type(self).__name__}({self.name!r}, {sizes}, images {shape}, {self.num_classes} classes)"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of an image as input of a model: height, width, channels."""
        raise NotImplementedError

    @property
    def test_shape(self) -> tuple[int, int, int]:
        """Shape of a validation or test image."""
        raise NotImplementedError

    @property
    def model_shape(self) -> tuple[int | None, int | None, int]:
        """Input shape that a model needs: height and width are `None` if test images have another size."""
        return self.input_shape if self.test_shape == self.input_shape else (None, None, self.input_shape[-1])

    def _stored(self, part, chosen):
        """Return images and labels of a split in order, not normalized, as a `tf.data.Dataset`.

        Args:
            part: The split.
            chosen: Function that takes the images to return from a `tf.data.Dataset` of all of them. What it leaves out
                need not be decoded.
        """
        raise NotImplementedError

    def _order(self, key, is_wanted):
        """Return references to training images, a vector for each step of an epoch, as a `tf.data.Dataset`.

        Args:
            key: Integer tensor `(2,)`, determines the order.
            is_wanted: Boolean array, one entry for each reference of a step; the vectors have only these.
        """
        raise NotImplementedError

    def _read(self, reference, crop):
        """Apply a function to a stored training image. Returns the result and the label.

        With `None` as the function, the result is the image at the input size.
        """
        raise NotImplementedError

    # Function of a batch of references that returns images and labels at once, if the set has them in memory.
    _gather: ClassVar[Any] = None

    def _fingerprint(self):
        """Return a dictionary that identifies this set among others with the same name."""
        raise NotImplementedError

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Return the number of whole batches in the training split.

        The remainder of an epoch is skipped; each epoch reshuffles.
        """
        is_whole = isinstance(batch_size, int | np.integer) and not isinstance(batch_size, bool)
        if not is_whole or not 1 <= batch_size <= len(self.train):
            allowed = f"between 1 and {len(self.train)}, the number of training images of {self.name!r}"
            raise refusal("batch_size", allowed, batch_size)
        return len(self.train) // batch_size

    def batches(self, part: str, batch_size: int = 256, process: tuple[int, int] = (0, 1)) -> tf.data.Dataset:
        """Return one pass over a split in stored order, normalized and not augmented, as a `tf.data.Dataset`.

        Args:
            part: "train", "validation" or "test".
            batch_size: Integer.
            process: As in `training_batches`. The number of processes must also be a divisor of the size of the last
                batch.

        Raises:
            ValueError: If a value is outside its range.
        """
        source = getattr(self, check_choice("part", part, PARTS))
        check_integer("batch_size", batch_size, 1, 2**63 - 1)
        index, count = process
        _rows_of(process, batch_size)
        if len(source) % count:
            raise refusal("process", f"a divisor of the {len(source)} images in {part!r}", count)

        def chosen(examples):
            return examples if count == 1 else examples.enumerate().filter(is_own).map(lambda _, example: example)

        def is_own(place, _):
            row = place % batch_size
            rows = tf.minimum(len(source) - (place - row), batch_size)  # fewer in the last batch
            return row * count // rows == index

        batches = self._stored(source, chosen).batch(batch_size // count)
        batches = batches.map(lambda x, y: (self.normalize(x), y), tf.data.AUTOTUNE, deterministic=True)
        # `tf.data` does not know how many records files have, and Keras warns where an unknown number of batches ends.
        batches = batches.apply(tf.data.experimental.assert_cardinality(-(-len(source) // batch_size)))
        return self._delivered(batches)

    def training_batches(
        self,
        batch_size: int,
        seed: int = 0,
        first_step: int = 0,
        augmentation: tuple[str, ...] | None = None,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        repeats: int = 1,
        process: tuple[int, int] = (0, 1),
    ) -> tf.data.Dataset:
        """Return an endless `tf.data.Dataset` of shuffled, augmented, normalized training batches.

        Order and augmentation of each batch depend only on the seed and the step number: not on earlier steps, the
        number of threads or TensorFlow's global seed.

        Args:
            batch_size: Integer, at most the number of training images.
            seed: Integer in [0, 2**63).
            first_step: Integer, first step, counted from the start of the whole training.
            augmentation: Tuple of names of rows of `AUGMENTATIONS`, applied in the order of that table; `None`
                for the data set's default, `()` for none.
            mixup, cutmix: Floats of at least 0, alphas of MixUp and CutMix; 0 for none. If both are above 0, each
                batch is mixed by one of them, drawn at random.
            repeats: Integer, number of differently augmented copies of each image in a batch (Hoffer et al. 2020); a
                divisor of the batch size. The number of steps per epoch is the same, so an epoch has only a fraction
                of the images.
            process: Tuple of integers, index of this process and number of processes, a divisor of the batch size.
                Each process gets its part of each batch, and reads and augments only these images; with MixUp or
                CutMix, also the image that is mixed into its first one. See `order.of_files` for the files that it
                reads.

        Returns:
            A `tf.data.Dataset` of `(images, labels)` with `steps_per_epoch(batch_size)` batches per epoch.
            Labels are integers, or with mixing, float32 rows that sum to 1.

        Raises:
            ValueError: If a value is outside its range.
        """
        steps = self.steps_per_epoch(batch_size)
        augmentations = augmenting.chosen(self.augmentation if augmentation is None else augmentation)
        check_integer("first_step", first_step, 0, _MOST_STEPS)
        if batch_size % check_integer("repeats", repeats):
            raise refusal("repeats", f"a divisor of the batch size {batch_size}", repeats)
        for argument, alpha in (("mixup", mixup), ("cutmix", cutmix)):
            check_number(argument, alpha, "a number of at least 0", lambda number: number >= 0)
        seed = check_integer("seed", seed, 0, 2**63 - 1)
        own, is_read = _rows_of(process, batch_size, bool(mixup or cutmix))
        rows = np.flatnonzero(is_read)
        is_wanted = np.zeros(batch_size // repeats, bool)
        is_wanted[rows % len(is_wanted)] = True  # copies of an image are as far apart as possible
        copies = np.searchsorted(np.flatnonzero(is_wanted), rows % len(is_wanted))
        of_images = [row for row in augmentations if row.applies_to != "batch"]
        of_batch = [row for row in augmentations if row.applies_to == "batch"]

        def step_key(step):
            return tf.random.fold_in(tf.stack([tf.cast(seed, tf.int64), step // steps]), step % steps)

        def one_epoch(epoch):
            """Return the steps of an epoch, numbered from the start of the training, and their references."""
            first = tf.maximum(first_step - epoch * steps, 0)
            numbers = tf.data.Dataset.range(epoch * steps + first, (epoch + 1) * steps)
            references = self._order(tf.stack([tf.cast(seed, tf.int64), epoch]), is_wanted)
            return tf.data.Dataset.zip(numbers, references.skip(first))

        def each_row(step, references):
            return tf.fill(rows.shape, step), rows, references

        def one_image(step, row, reference):
            key = tf.random.fold_in(step_key(step), _IMAGES)
            return step, self._augmented(reference, tf.random.fold_in(key, row), of_images)

        def one_batch(step, read):
            key = step_key(step)
            images, labels = read
            images = self.normalize(images)
            if not (of_batch or mixup or cutmix):
                return images, labels
            if not is_read.all():  # the numbers drawn for an image depend on the size of the batch
                images, labels = (_spread(x, rows, batch_size) for x in (images, labels))
            for number, row in enumerate(of_batch):
                images = row.function(images, tf.random.fold_in(key, number) if number else key, self)
            if mixup or cutmix:
                labels = tf.one_hot(labels, self.num_classes)
                images, labels = augmenting.mix(images, labels, tf.random.fold_in(key, _MIXING), mixup, cutmix)
            return images[own], labels[own]

        examples = tf.data.Dataset.range(first_step // steps, np.iinfo(np.int64).max).flat_map(one_epoch)
        if repeats > 1:
            examples = examples.map(lambda step, references: (step, tf.gather(references, copies)))
        parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
        if of_images or self._gather is None:
            images = examples.map(each_row).unbatch().map(one_image, **parallel).batch(len(rows), drop_remainder=True)
            batches = images.map(lambda numbers, read: one_batch(numbers[0], read), **parallel)
        else:
            gather = self._gather
            batches = examples.map(lambda step, references: one_batch(step, gather(references)), **parallel)
        return self._delivered(batches)

    def _delivered(self, batches):
        """Prefetch batches, with the requested number of threads."""
        options = tf.data.Options()
        # Maps then use as many threads as there are cores from the beginning. The thread that would tune this number
        # sleeps for up to a minute between two attempts, and may miss that its iterator is deleted. The deletion, at
        # the end of `fit` or in a garbage collection, then waits for it.
        options.autotune.enabled = False
        if self.workers is not None:
            options.threading.private_threadpool_size = check_integer("workers", self.workers)
        return batches.prefetch(tf.data.AUTOTUNE).with_options(options)

    def normalize(self, images: Tensor) -> Tensor:
        """Convert stored pixels to float32, with zero mean and unit variance per channel over the training split."""
        images = tf.convert_to_tensor(images)
        mean, std = np.array(self.mean, "float32"), np.array(self.std, "float32")
        scale = np.float32(1) / std
        # Row by row: repeating three numbers for each pixel takes several times as long.
        scale, offset = (np.tile(values, images.shape[-2]) for values in (scale, mean * scale))
        rows = tf.reshape(tf.cast(images, tf.float32), (-1, len(scale)))
        return tf.ensure_shape(tf.reshape(rows * scale - offset, tf.shape(images)), images.shape)

    def describe(self) -> dict[str, Any]:
        """Return a description that identifies this data set and its splits, as plain values for JSON."""
        return {
            "name": self.name,
            **{part: len(getattr(self, part)) for part in PARTS},
            "input_shape": list(self.input_shape),
            **({} if self.test_shape == self.input_shape else {"test_shape": list(self.test_shape)}),
            "class_names": list(self.class_names),
            "mean": list(self.mean),
            "std": list(self.std),
            "augmentation": list(self.augmentation),
            "shift": self.shift,
            "white": self.white,
            **self._fingerprint(),
        }

    def _augmented(self, reference, key, rows):
        """Return the augmented image and the label of a reference.

        Args:
            reference: Tensor `()`, identifies an example.
            key: Integer tensor `(2,)`, key of the example.
            rows: Rows of `AUGMENTATIONS` that apply to single images.
        """
        pairs = [(row.function, tf.random.fold_in(key, place)) for place, row in enumerate(rows)]
        crop = None
        if rows and rows[0].applies_to == "stored image":
            (function, crop_key), *pairs = pairs
            crop = lambda image: function(image, crop_key, self)  # noqa: E731
        image, label = self._read(reference, crop)
        for function, image_key in pairs:
            image = function(image, image_key, self)
        return tf.ensure_shape(image, self.input_shape), label


@dataclasses.dataclass(frozen=True, repr=False)
class Dataset(ImageSet):
    """An image data set in memory, whose splits are `Part`s. Arguments are those of `ImageSet`."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.train.images.shape[1:]

    @property
    def test_shape(self) -> tuple[int, int, int]:
        return self.test.images.shape[1:]

    def _stored(self, part, chosen):
        return chosen(tf.data.Dataset.from_tensor_slices((part.images, part.labels)))

    def _order(self, key, is_wanted):
        if self.train.order is not None:
            return self.train.order(key, is_wanted)
        return order.of_rows(len(self.train), key, is_wanted)

    def _gather(self, rows):
        images, labels = self.train.tensors
        return tf.gather(images, rows), tf.gather(labels, rows)

    def _read(self, row, crop):
        if crop is None:
            return self.train.read(row, Pixels.whole)
        return (self.train if self.train.stored is None else self.train.stored).read(row, crop)

    def _fingerprint(self):
        digest = hashlib.sha256()
        for part in PARTS:
            digest.update(np.ascontiguousarray(getattr(self, part).images))
            digest.update(np.ascontiguousarray(getattr(self, part).labels))
        return {"sha256": digest.hexdigest()}


def _rows_of(process, batch_size, is_mixed=False):
    """Return the rows of a batch that belong to a process, as a slice, and which rows it must read, as booleans."""
    index, count = process
    if batch_size % check_integer("process", count):
        raise refusal("batch_size", f"a multiple of the {count} processes", batch_size)
    size = batch_size // count
    start = check_integer("process", index, 0, count - 1) * size
    is_read = np.zeros(batch_size, bool)
    is_read[start : start + size] = True
    is_read[start - 1] |= is_mixed  # each image is mixed with the one before it
    return slice(start, start + size), is_read


def _spread(values, rows, count):
    """Return a tensor of `count` rows with the values in the given rows, and zeros in the others."""
    zeros = tf.zeros((count, *values.shape[1:]), values.dtype)
    return tf.tensor_scatter_nd_update(zeros, rows[:, None], values)


def hold_out(labels: np.ndarray, per_class: int | float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw a stratified split: the same number of examples of each class, or the same fraction.

    Args:
        labels: Integer array `(n,)`.
        per_class: Integer, number of examples to draw of each class; or a float in (0, 1), fraction of each class,
            rounded, but at least one example.
        seed: Integer in [0, 2**32).

    Returns:
        Two sorted integer arrays: the remaining examples, and those drawn.

    Raises:
        ValueError: If a number or seed is outside its range, or labels are not integers.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"`labels` must be integers (n,). Received: an array of {labels.dtype} {labels.shape}")
    if isinstance(per_class, float):
        check_number("per_class", per_class, "a whole number of at least 1, or in (0, 1)", lambda n: 0 < n < 1)
    else:
        check_integer("per_class", per_class)
    seed = check_integer("seed", seed, 0, 2**32 - 1)
    generator = np.random.RandomState(seed)  # the only generator whose draws NumPy guarantees never to change
    drawn = []
    for label in np.unique(labels):
        examples = generator.permutation(np.flatnonzero(labels == label))
        count = max(1, round(per_class * len(examples))) if isinstance(per_class, float) else per_class
        drawn.append(examples[:count])
    held_out = np.sort(np.concatenate(drawn))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, computed from the counts of the 256 values.

    Args:
        images: uint8 array `(n, height, width, channels)`.

    Returns:
        Two tuples of floats. The standard deviation of a constant channel is given as 1.
    """
    values = np.arange(256.0)
    counts: Any = 0
    for start in range(0, len(images), 4096):  # bincount needs eight bytes per value
        channels = np.moveaxis(images[start : start + 4096], -1, 0)
        counts = counts + np.stack([np.bincount(channel.ravel(), minlength=256) for channel in channels])
    weights = counts / counts.sum(1, keepdims=True)
    mean = weights @ values
    std = np.sqrt(np.maximum(weights @ values**2 - mean**2, 0))
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())
