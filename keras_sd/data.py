"""Image data sets: loading, a fixed split, normalisation, and batches augmented inside the graph.

```python
dataset = keras_sd.data.load("digits")
model.fit(
    dataset.training_batches(64, seed=0),
    steps_per_epoch=dataset.steps_per_epoch(64),
    validation_data=dataset.batches("validation"),
    epochs=30,
)
```
"""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_sd.suggest import unknown

PARTS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Part:
    """Images `(n, height, width, channels)` as they were stored, and their integer labels `(n,)`."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images in memory, split in three, with what it takes to feed them to a model.

    Args:
        name: Name of the data set.
        class_names: Tuple of strings, in the order of the labels.
        train, validation, test: `Part`s. The validation part is held out of the published training part.
        mean, std: Tuples of floats, one for each channel, over the training part, in units of stored pixels.
        shift: Integer, augmentation moves an image by up to so many pixels along each axis.
        flip: Boolean, whether augmentation mirrors half of the images left to right.
        white: Integer, the value of a white pixel.
    """

    name: str
    class_names: tuple[str, ...]
    train: Part
    validation: Part
    test: Part
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shift: int
    flip: bool
    white: int = 255

    @property
    def num_classes(self):
        return len(self.class_names)

    @property
    def input_shape(self):
        return self.train.images.shape[1:]

    def steps_per_epoch(self, batch_size):
        """Number of whole batches in the training part; what is left over waits for another epoch's order."""
        if not 1 <= batch_size <= len(self.train):
            raise ValueError(
                f"batch_size is {batch_size!r}; it must lie between 1 and {len(self.train)}, the number of "
                f"training images of {self.name!r}"
            )
        return len(self.train) // batch_size

    def batches(self, part, batch_size=256):
        """One pass over a part in its stored order, normalised and not augmented, as a `tf.data.Dataset`."""
        if part not in PARTS:
            raise ValueError(f"part is {part!r}; it must be one of {', '.join(PARTS)}")
        images, labels = getattr(self, part).images, getattr(self, part).labels
        pairs = tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch_size)
        return pairs.map(lambda x, y: (self.normalize(x), y), tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def training_batches(self, batch_size, seed=0, first_epoch=0):
        """An endless `tf.data.Dataset` of shuffled, augmented, normalised training batches.

        Order and augmentation of every batch follow from the seed, the epoch and the step alone: not from
        what ran before, nor from the number of threads.

        Args:
            batch_size: Integer, at most the number of training images.
            seed: Integer.
            first_epoch: Integer, the epoch to begin with.

        Returns:
            A `tf.data.Dataset` of `(images, labels)`, `steps_per_epoch(batch_size)` batches for each epoch.
        """
        steps = self.steps_per_epoch(batch_size)
        images, labels = tf.constant(self.train.images), tf.constant(self.train.labels)

        def one_epoch(epoch):
            key = tf.stack([tf.cast(seed, tf.int64), epoch])
            order = tf.random.experimental.stateless_shuffle(tf.range(len(self.train)), key)
            rows = tf.reshape(order[: steps * batch_size], (steps, batch_size))
            return tf.data.Dataset.zip(
                tf.data.Dataset.from_tensor_slices(rows),
                tf.data.Dataset.range(steps).map(lambda step: (key, step)),
            )

        def one_batch(rows, key_and_step):
            key = tf.random.fold_in(key_and_step[0], key_and_step[1])
            batch = augment(self.normalize(tf.gather(images, rows)), key, shift=self.shift, flip=self.flip)
            return batch, tf.gather(labels, rows)

        epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
        return epochs.flat_map(one_epoch).map(one_batch, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def normalize(self, images):
        """Stored pixels to float32 with zero mean and unit variance for each channel of the training part."""
        scale = np.float32(1) / np.float32(self.std)
        return tf.cast(images, tf.float32) * scale - np.float32(self.mean) * scale

    def describe(self):
        """What tells this data set and its split from others, as plain values for JSON."""
        digest = hashlib.sha256()
        for part in PARTS:
            digest.update(getattr(self, part).images.tobytes())
            digest.update(getattr(self, part).labels.tobytes())
        return {
            "name": self.name,
            **{part: len(getattr(self, part)) for part in PARTS},
            "input_shape": list(self.input_shape),
            "class_names": list(self.class_names),
            "mean": list(self.mean),
            "std": list(self.std),
            "shift": self.shift,
            "flip": self.flip,
            "white": self.white,
            "sha256": digest.hexdigest(),
        }


def augment(images, seed, *, shift, flip):
    """Moves each image by up to `shift` pixels along each axis, zeros coming in, and mirrors half of them.

    Zero is the mean of normalised images, as in He et al. 2016, section 4.2.

    Args:
        images: Float tensor `(batch, height, width, channels)`.
        seed: Integer tensor `(2,)`: the same seed moves and mirrors images in the same way.
        shift: Integer, largest shift in pixels.
        flip: Boolean, whether to mirror.

    Returns:
        A tensor of the shape and type of `images`.
    """
    batch = tf.shape(images)[0]
    height, width, channels = images.shape[1:]
    offset_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    offsets = tf.random.stateless_uniform((batch, 2), offset_seed, 0, 2 * shift + 1, tf.int32)
    rows, columns = tf.range(height), tf.range(width)[None]
    if flip:
        mirrored = tf.random.stateless_uniform((batch, 1), flip_seed) < 0.5
        columns = tf.where(mirrored, columns[:, ::-1], columns)
    padded = tf.pad(images, [[0, 0], [shift, shift], [shift, shift], [0, 0]])
    moved = tf.gather(padded, rows + offsets[:, :1], batch_dims=1)
    moved = tf.gather(moved, columns + offsets[:, 1:], axis=2, batch_dims=1)
    return tf.ensure_shape(moved, (None, height, width, channels))


def hold_out(labels, per_class, seed=0):
    """Draws a stratified part: the same number of examples of each class.

    Args:
        labels: Integer array `(n,)`.
        per_class: Integer, number of examples to draw of each class.
        seed: Integer.

    Returns:
        Two sorted integer arrays: the examples that stay, and those drawn.
    """
    generator = np.random.RandomState(seed)  # the one generator whose draws NumPy promises never to change
    drawn = [generator.permutation(np.flatnonzero(labels == label))[:per_class] for label in np.unique(labels)]
    drawn = np.sort(np.concatenate(drawn))
    return np.setdiff1d(np.arange(len(labels)), drawn), drawn


def load(name, data_dir=None):
    """Loads a data set by name.

    Args:
        name: One of `DATASETS`. "digits" comes with scikit-learn (Alpaydin and Kaynak 1998: 1,797 scanned
            digits of 8x8 pixels); "cifar10" (Krizhevsky 2009) comes from TensorFlow Datasets.
        data_dir: Directory of TensorFlow Datasets, for sets that come from there. What is in it is used as it
            is; what is not, is downloaded into it. Defaults to `~/tensorflow_datasets`.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: for an unknown name.
        FileNotFoundError: where the data is neither in the directory nor to be downloaded.
    """
    if name not in DATASETS:
        raise unknown("data", name, DATASETS)
    source = DATASETS[name]
    class_names, train, test = source.read(data_dir)
    kept, held_out = hold_out(train.labels, source.validation_per_class)
    validation = Part(train.images[held_out], train.labels[held_out])
    train = Part(train.images[kept], train.labels[kept])
    mean, std = _statistics(train.images)
    return Dataset(name, class_names, train, validation, test, mean, std, source.shift, source.flip, source.white)


def _statistics(images):
    """Mean and standard deviation of each channel, computed from how often each of the 256 values occurs."""
    values = np.arange(256.0)
    counts = np.stack([np.bincount(channel.ravel(), minlength=256) for channel in np.moveaxis(images, -1, 0)])
    weights = counts / counts.sum(1, keepdims=True)
    mean = weights @ values
    std = np.sqrt(weights @ values**2 - mean**2)
    return tuple(mean.tolist()), tuple(std.tolist())


def _read_digits(data_dir):
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = digits.images[..., None].astype("uint8"), digits.target.astype("int32")
    train, test = hold_out(labels, per_class=36)
    names = tuple(str(name) for name in digits.target_names)
    return names, Part(images[train], labels[train]), Part(images[test], labels[test])


def _read_cifar10(data_dir):
    return _read_tfds("cifar10", data_dir)


def _read_tfds(name, data_dir):
    import tensorflow_datasets as tfds

    directory = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    present = (directory / name).is_dir()
    if data_dir is not None and not directory.is_dir():
        raise FileNotFoundError(f"data_dir is {str(data_dir)!r}, which is not a directory")
    try:
        builder = tfds.builder(name, data_dir=directory)
        if not present:
            builder.download_and_prepare()
        stored = {"image": tfds.decode.SkipDecoding()}
        train, test = builder.as_dataset(split=["train", "test"], as_supervised=True, decoders=stored)
        train, test = _decoded(train), _decoded(test)
    except Exception as error:  # whatever TFDS, the network or the disk raised, the reader needs the same advice
        action = "reading it failed" if present else "it is not there and downloading it failed"
        raise FileNotFoundError(
            f"{name} in the TFDS directory {directory}: {action} ({_first_line(error)}); give a directory "
            f"that holds it as data_dir, or run where it can be downloaded"
        ) from error
    return tuple(builder.info.features["label"].names), train, test


def _decoded(examples):
    """Images that are stored as JPEG, PNG or plain pixels, and their labels, as a `Part`.

    JPEGs are decoded by the accurate integer transform, as PIL and so PyTorch's users do. TensorFlow's own default
    is the fast one: of 32x32 images it makes others, by which accuracies change in the third digit.
    """

    def decode(image, label):
        if image.dtype == tf.string:
            image = tf.io.decode_jpeg(image, dct_method="INTEGER_ACCURATE")  # which decodes PNG too
        return image, label

    images, labels = next(iter(examples.map(decode, tf.data.AUTOTUNE).batch(examples.cardinality())))
    return Part(images.numpy(), labels.numpy().astype("int32"))


def _first_line(error):
    return (str(error).strip().splitlines() or [""])[0][:200] or type(error).__name__


@dataclasses.dataclass(frozen=True)
class Source:
    """A row of the table of data sets.

    Args:
        read: Function of the data directory that returns class names, training part and test part.
        validation_per_class: Integer, training images of each class held out for validation.
        shift, flip, white: As in `Dataset`.
    """

    read: Callable[[str | None], tuple[tuple[str, ...], Part, Part]]
    validation_per_class: int
    shift: int
    flip: bool
    white: int = 255


DATASETS = {
    "digits": Source(_read_digits, validation_per_class=18, shift=1, flip=False, white=16),
    # 5,000 of the 50,000 are held out, and images are moved by up to 4 pixels: Huang et al. 2016, section 4.
    "cifar10": Source(_read_cifar10, validation_per_class=500, shift=4, flip=True),
}
