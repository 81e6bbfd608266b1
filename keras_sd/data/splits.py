"""Make data sets with three splits from images and labels."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_sd.data.dataset import PARTS, Dataset, ImageSet, Part, hold_out, statistics
from keras_sd.data.stored import fit
from keras_sd.data.streaming import StreamingDataset, sample
from keras_sd.utils.checks import check_integer, refusal

IN_MEMORY_BYTES = 2 * 2**30  # sets with more pixels than this are read when needed
HELD_OUT = {"test": 0.1, "validation": 0.1}  # fractions of each class, for splits that the data does not have
_SAMPLED = {"train": 1000, "validation": 100, "test": 100}  # images of a streaming set that are inspected first


@dataclasses.dataclass(frozen=True)
class Reading:
    """Options for reading images; arguments are those of `keras_sd.data.load`."""

    image_size: int | None = None
    test_image_size: int | None = None
    test_crop: float | None = None
    max_bad_files: int = 0

    @property
    def tests_differ(self) -> bool:
        """Whether validation and test images have another size or crop than training images."""
        return (self.test_image_size, self.test_crop) != (None, None)


def tested_otherwise(dataset: ImageSet, reading: Reading) -> ImageSet:
    """Return the set with validation and test images of the size and crop given in a `Reading`."""
    if not reading.tests_differ:
        return dataset
    side = reading.test_image_size
    size = dataset.input_shape if side is None else (side, side, dataset.input_shape[-1])
    if isinstance(dataset, StreamingDataset):
        return dataclasses.replace(dataset, test_size=size, test_crop=reading.test_crop or dataset.crop)
    crop = reading.test_crop or 1.0
    return dataclasses.replace(
        dataset, validation=_fitted(dataset.validation, size, crop), test=_fitted(dataset.test, size, crop)
    )


def _fitted(part, size, crop):
    """Return a part with images made from the stored ones."""
    source = part if part.stored is None else part.stored
    rows = tf.data.Dataset.range(len(part))
    images = rows.map(lambda row: source.read(row, lambda image: fit(image.whole(), size, crop))[0], tf.data.AUTOTUNE)
    return Part(np.stack(list(images.as_numpy_iterator())), part.labels)


def split(labels: np.ndarray, held_out: dict[str, int | float]) -> dict[str, np.ndarray]:
    """Draw splits from the training examples.

    Args:
        labels: Integer array `(n,)`.
        held_out: Dictionary from the names of splits to amounts for `hold_out`.

    Returns:
        A dictionary from the names of these splits and "train" to sorted integer arrays.
    """
    kept, parts = np.arange(len(labels)), {}
    for name, amount in held_out.items():
        stay, drawn = hold_out(labels[kept], amount)
        parts[name], kept = kept[drawn], kept[stay]
    return {"train": kept, **parts}


def check_labels(name: str, class_names: Sequence[str], labels: dict[str, np.ndarray], needed: int = 1) -> None:
    """Raise for a set that is not suitable for training.

    Args:
        name: String, the value of `data`.
        class_names: Sequence of strings.
        labels: Dictionary from the names of splits to integer arrays.
        needed: Integer, minimum number of training images of each class.

    Raises:
        ValueError: If there are fewer than two classes, a label is not a class, or a class has too few training
            images.
    """
    if len(class_names) < 2:
        raise refusal("data", f"a set of at least two classes; it has {len(class_names)}", name)
    for part, values in labels.items():
        outside = [int(label) for label in np.unique(values) if not 0 <= label < len(class_names)]
        if outside:
            allowed = f"a set with labels in [0, {len(class_names)}); its {part} split has {some(outside)}"
            raise refusal("data", allowed, name)
    counts = np.bincount(labels["train"], minlength=len(class_names))
    few = [f"{class_names[label]} ({counts[label]})" for label in np.flatnonzero(counts < needed).tolist()]
    if few:
        allowed = f"a set of at least {needed} training images of each class, including held-out ones"
        raise refusal("data", f"{allowed}; it has too few of {some(few)}", name)


def from_parts(
    name: str,
    class_names: Iterable[str],
    parts: dict[str, Any],
    held_out: Any = None,
    reading: Reading | None = None,
    **settings: Any,
) -> ImageSet:
    """Make a set in memory. Missing splits are drawn from the training split.

    Args:
        name: String, the value of `data`.
        class_names: Sequence of strings.
        parts: Dictionary from the names of splits to `Part`s.
        held_out: Dictionary of the amounts of missing splits; defaults to `HELD_OUT`.
        reading: A `Reading`; `None` to use images unchanged.
        **settings: Arguments of `Dataset`; `own_augmentation` has the defaults.

    Returns:
        A `Dataset`.
    """
    class_names = tuple(class_names)
    held_out = {part: n for part, n in (held_out or HELD_OUT).items() if part not in parts}
    check_labels(name, class_names, {part: content.labels for part, content in parts.items()}, 1 + len(held_out))
    train = parts["train"]
    drawn = {part: train.take(rows) for part, rows in split(train.labels, held_out).items()} if held_out else {}
    parts = {**parts, **drawn}
    if reading and reading.image_size:
        kept = PARTS if reading.tests_differ else ("train",)
        parts = {part: _resized(content, reading.image_size, part in kept) for part, content in parts.items()}
    mean, std = statistics(parts["train"].images)
    settings = own_augmentation(parts["train"].images.shape[1:]) | settings
    return Dataset(name, class_names, **parts, mean=mean, std=std, **settings)


def with_training_images(dataset: ImageSet, count: int) -> ImageSet:
    """Return the same set with fewer training images, and their mean and standard deviation.

    Args:
        dataset: A `Dataset`, in memory.
        count: Integer, number of images to keep, the same number of each class. The choice is the same in every run.

    Raises:
        ValueError: If the number is not a multiple of the number of classes or is out of range, or the set is streamed.
    """
    if not isinstance(dataset, Dataset):
        raise refusal("training_images", f"None for {dataset.name!r}, which is too large for memory", count)
    classes, labels = dataset.num_classes, dataset.train.labels
    most = classes * int(np.bincount(labels, minlength=classes).min())
    if check_integer("training_images", count, classes, most) % classes:
        raise refusal("training_images", f"a multiple of {classes}, the number of classes", count)
    _, rows = hold_out(labels, count // classes)
    train = dataset.train.take(rows)
    mean, std = statistics(train.images)
    return dataclasses.replace(dataset, train=train, mean=mean, std=std)


def streaming(
    name: str,
    class_names: Sequence[str],
    sources: dict[str, Any],
    size: tuple[int, int, int],
    crop: float = 1.0,
    **settings: Any,
) -> ImageSet:
    """Make a set that is read from its files.

    Args:
        name: String, the value of `data`.
        class_names: Sequence of strings.
        sources: Dictionary from the names of all three splits to `Files` or `Shards`.
        size, crop: Same as for `fit`.
        **settings: Arguments of `ImageSet`; mean and standard deviation default to those of 1,000 images.

    Returns:
        A `StreamingDataset`.
    """
    samples = {part: sample(source, size, crop, _SAMPLED[part]) for part, source in sources.items()}
    check_labels(name, class_names, {part: content.labels for part, content in samples.items()}, needed=0)
    mean, std = statistics(samples["train"].images)
    settings = {"mean": mean, "std": std} | own_augmentation(size) | settings
    return StreamingDataset(name, tuple(class_names), **sources, size=size, crop=crop, **settings)


def fits_in_memory(count: int, size: Any, num_bytes: int = 0) -> bool:
    """Return whether images of a size, and some additional bytes, are kept in memory."""
    return count * int(np.prod(size)) + num_bytes <= IN_MEMORY_BYTES


def input_size(name: str, shape: tuple, image_size: int | None) -> tuple:
    """Return the shape of an image as input of a model.

    Args:
        name: String, the value of `data`.
        shape: Tuple, height, width and channels of the stored images; `None` where they differ.
        image_size: Integer, requested height and width, or `None`.

    Raises:
        ValueError: If images differ in size and no size was requested.
    """
    channels = shape[-1] or 3
    if image_size:
        return (image_size, image_size, channels)
    if None in shape[:2]:
        raise refusal("image_size", f"given for {name!r}, whose images differ in size", None)
    return (*shape[:2], channels)


def own_augmentation(size: Any) -> dict[str, Any]:
    """Return the default augmentation of an unknown set: shifts by up to an eighth, as for CIFAR.

    Images are not mirrored, because a mirrored digit has another meaning; `augmentation=("shift_flip",)` mirrors them.
    """
    return {"augmentation": ("shift",), "shift": min(size[:2]) // 8}


def _resized(part, image_size, keep):
    size = (image_size, image_size, part.images.shape[-1])
    if part.images.shape[1:] == size:
        return part
    images = tf.data.Dataset.from_tensor_slices(part.images).map(lambda image: fit(image, size), tf.data.AUTOTUNE)
    return Part(np.stack(list(images.as_numpy_iterator())), part.labels, stored=part if keep else None)


def some(values: Any, most: int = 5) -> str:
    """Return the first of some values, and the number of further ones, as one string."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(str, values[:most])) + more
