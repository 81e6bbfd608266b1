"""From images and labels, however they were stored, to a set with three parts."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_sd.data.dataset import PARTS, Dataset, ImageSet, Part, hold_out, statistics
from keras_sd.data.stored import fit
from keras_sd.data.streaming import StreamingDataset, sample
from keras_sd.utils.checks import check_integer, refusal

IN_MEMORY_BYTES = 2 * 2**30  # sets of more pixels than this are read as they are needed
HELD_OUT = {"test": 0.1, "validation": 0.1}  # shares of each class, where a part does not come with the data
_SAMPLED = {"train": 1000, "validation": 100, "test": 100}  # images of a streaming set that are looked at beforehand


@dataclasses.dataclass(frozen=True)
class Reading:
    """How images are read; arguments are those of `keras_sd.data.load`."""

    image_size: int | None = None
    test_image_size: int | None = None
    test_crop: float | None = None
    max_bad_files: int = 0

    @property
    def tests_differ(self) -> bool:
        """Whether validation and test images are of another size or part than those of training."""
        return (self.test_image_size, self.test_crop) != (None, None)


def tested_otherwise(dataset: ImageSet, reading: Reading) -> ImageSet:
    """Return the set with validation and test images of the size and part that a `Reading` asks for."""
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
    """A part with images made of the stored ones."""
    source = part if part.stored is None else part.stored
    rows = tf.data.Dataset.range(len(part))
    images = rows.map(lambda row: source.read(row, lambda image: fit(image.whole(), size, crop))[0], tf.data.AUTOTUNE)
    return Part(np.stack(list(images.as_numpy_iterator())), part.labels)


def split(labels: np.ndarray, held_out: dict[str, int | float]) -> dict[str, np.ndarray]:
    """Draw parts out of the training examples.

    Args:
        labels: Integer array `(n,)`.
        held_out: Dictionary from the names of parts to amounts as `hold_out` takes them.

    Returns:
        A dictionary of the names of these parts and "train", to sorted integer arrays.
    """
    kept, parts = np.arange(len(labels)), {}
    for name, amount in held_out.items():
        stay, drawn = hold_out(labels[kept], amount)
        parts[name], kept = kept[drawn], kept[stay]
    return {"train": kept, **parts}


def check_labels(name: str, class_names: Sequence[str], labels: dict[str, np.ndarray], needed: int = 1) -> None:
    """Refuse a set that cannot be learned from.

    Args:
        name: String, what came as `data`.
        class_names: Sequence of strings.
        labels: Dictionary from the names of parts to integer arrays.
        needed: Integer, how many training images of each class there must be.

    Raises:
        ValueError: for fewer than two classes, a label that is no class, or a class with too few training images.
    """
    if len(class_names) < 2:
        raise refusal("data", f"a set of at least two classes; it has {len(class_names)}", name)
    for part, values in labels.items():
        outside = [int(label) for label in np.unique(values) if not 0 <= label < len(class_names)]
        if outside:
            allowed = f"a set with labels in [0, {len(class_names)}); its {part} part has {some(outside)}"
            raise refusal("data", allowed, name)
    counts = np.bincount(labels["train"], minlength=len(class_names))
    few = [f"{class_names[label]} ({counts[label]})" for label in np.flatnonzero(counts < needed).tolist()]
    if few:
        allowed = f"a set of at least {needed} training images of each class, with those that are held out"
        raise refusal("data", f"{allowed}; it has too few of {some(few)}", name)


def from_parts(
    name: str,
    class_names: Iterable[str],
    parts: dict[str, Any],
    held_out: Any = None,
    reading: Reading | None = None,
    **settings: Any,
) -> ImageSet:
    """A set in memory; parts that are missing are drawn from the training part.

    Args:
        name: String, what came as `data`.
        class_names: Sequence of strings.
        parts: Dictionary from the names of parts to `Part`s.
        held_out: Dictionary of the amounts of missing parts; `HELD_OUT` has the default.
        reading: A `Reading`; `None` to take images as they are.
        **settings: Arguments of `Dataset`; `own_augmentation` gives the defaults.

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
    """Return the same set with fewer training images: the mean and standard deviation are theirs.

    Args:
        dataset: A `Dataset`, in memory.
        count: Integer, how many to keep, equally many of each class. Which ones is the same in every run.

    Raises:
        ValueError: For a number that the classes do not share equally or do not have, or a set that is streamed.
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
    """A set that stays in its files.

    Args:
        name: String, what came as `data`.
        class_names: Sequence of strings.
        sources: Dictionary from the names of all three parts to `Files` or `Shards`.
        size, crop: As of `fit`.
        **settings: Arguments of `ImageSet`; mean and standard deviation are those of 1,000 images if not given.

    Returns:
        A `StreamingDataset`.
    """
    samples = {part: sample(source, size, crop, _SAMPLED[part]) for part, source in sources.items()}
    check_labels(name, class_names, {part: content.labels for part, content in samples.items()}, needed=0)
    mean, std = statistics(samples["train"].images)
    settings = {"mean": mean, "std": std} | own_augmentation(size) | settings
    return StreamingDataset(name, tuple(class_names), **sources, size=size, crop=crop, **settings)


def fits_in_memory(count: int, size: Any, num_bytes: int = 0) -> bool:
    """Whether images of a size are kept in memory, with some bytes more."""
    return count * int(np.prod(size)) + num_bytes <= IN_MEMORY_BYTES


def input_size(name: str, shape: tuple, image_size: int | None) -> tuple:
    """The shape of an image as a model takes it.

    Args:
        name: String, what came as `data`.
        shape: Tuple, height, width and channels of the stored images; `None` where they differ.
        image_size: Integer, height and width that were asked for, or `None`.

    Raises:
        ValueError: where images differ and nothing was asked for.
    """
    channels = shape[-1] or 3
    if image_size:
        return (image_size, image_size, channels)
    if None in shape[:2]:
        raise refusal("image_size", f"given for {name!r}, whose images differ in size", None)
    return (*shape[:2], channels)


def own_augmentation(size: Any) -> dict[str, Any]:
    """How sets are augmented about which nothing is known: moved by an eighth, as CIFAR's are.

    They are not mirrored: a mirrored digit is another thing. `augmentation=("shift_flip",)` asks for it.
    """
    return {"augmentation": ("shift",), "shift": min(size[:2]) // 8}


def _resized(part, image_size, keep):
    size = (image_size, image_size, part.images.shape[-1])
    if part.images.shape[1:] == size:
        return part
    images = tf.data.Dataset.from_tensor_slices(part.images).map(lambda image: fit(image, size), tf.data.AUTOTUNE)
    return Part(np.stack(list(images.as_numpy_iterator())), part.labels, stored=part if keep else None)


def some(values: Any, most: int = 5) -> str:
    """The first of some values, and how many more there are, as one string."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(str, values[:most])) + more
