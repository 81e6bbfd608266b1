"""A table of augmentations for `tf.data`, and mixing of images and labels.

Everything here is a function of the images and a key. Keras has layers for some of it, but they draw from variables
that each call updates: inside `tf.data` with several threads, a batch then depends on which thread is first, and a run
cannot start in the middle. Also, Keras's CutMix draws its alpha again for each call, and its RandAugment draws one
operation for a whole batch. Tests compare with Keras's layers where possible.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_sd.data.rand_augment import rand_augment, trivial_augment
from keras_sd.data.stored import Jpeg, Pixels, scaled
from keras_sd.utils.aliases import Tensor
from keras_sd.utils.checks import refusal
from keras_sd.utils.names import unknown


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """A row of the table of augmentations.

    Args:
        function: Function of its input, a key (integer tensor `(2,)`) and the data set, whose `input_shape`, `shift`
            and `white` it may read.
        applies_to: "stored image" (`Pixels` or `Jpeg`, of any size; the result has the input size), "image" (uint8,
            of the input size) or "batch" (float32, normalized).
    """

    function: Callable
    applies_to: str


def shift(images: Tensor, key: Tensor, dataset: Any) -> Tensor:
    """Shift each image by up to the data set's `shift`; see `shift_and_mirror`."""
    return shift_and_mirror(images, key, shift=dataset.shift, flip=False)


def shift_flip(images: Tensor, key: Tensor, dataset: Any) -> Tensor:
    """Shift each image and mirror half of them: He et al. 2016, section 4.2."""
    return shift_and_mirror(images, key, shift=dataset.shift, flip=True)


def shift_and_mirror(images: Tensor, seed: Tensor, *, shift: int, flip: bool) -> Tensor:
    """Shift each image by up to `shift` pixels along each axis, padding with zeros, and mirror half of them.

    Zero is the mean of normalized images, as in He et al. 2016, section 4.2.

    Args:
        images: Float tensor `(batch, height, width, channels)`.
        seed: Integer tensor `(2,)`; the same seed shifts and mirrors images in the same way.
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


def inception_crop(
    image: Pixels | Jpeg,
    key: Tensor,
    dataset: Any,
    area: tuple[float, float] = (0.08, 1.0),
    aspect_ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Crop a random part of an image, resize it to the input size, and mirror half of them.

    Only the crop is decoded. Reference: Szegedy et al. 2015, section 6.

    Args:
        image: The stored image.
        key: Integer tensor `(2,)`.
        dataset: Object with the `input_shape`.
        area: Tuple of floats, smallest and largest fraction of the image's area.
        aspect_ratio: Tuple of floats, smallest and largest ratio of width to height.

    Returns:
        A uint8 tensor of the data set's input shape.
    """
    height, width, channels = dataset.input_shape
    crop_key, flip_key = tf.unstack(tf.random.split(key, 2))
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        image.shape,
        tf.zeros((1, 0, 4)),
        tf.cast(crop_key, tf.int64),
        min_object_covered=0.0,
        aspect_ratio_range=aspect_ratio,
        area_range=area,
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    crop = scaled(image.part(begin[:2], size[:2]), (height, width))
    is_mirrored = tf.random.stateless_uniform((), flip_key) < 0.5
    # A slice with the step -1 would take ten times as long as `tf.reverse`.
    crop = tf.cond(is_mirrored, lambda: tf.reverse(crop, [1]), lambda: crop)
    return tf.ensure_shape(crop, (height, width, channels))


def random_erasing(
    images: Tensor,
    key: Tensor,
    dataset: Any = None,
    probability: float = 0.1,
    area: tuple[float, float] = (0.02, 0.33),
    aspect_ratio: tuple[float, float] = (0.3, 3.3),
) -> Tensor:
    """Set a random rectangle of some images to zero, their mean: Zhong et al. 2017.

    The paper erases half of the images and fills with noise; a tenth and zero are from torchvision's recipe
    (Vryniotis 2021). A side longer than the image is cut to the image, while torchvision draws again.

    Args:
        images: Float tensor `(batch, height, width, channels)`, normalized.
        key: Integer tensor `(2,)`.
        dataset: Not used.
        probability: Float, probability that an image is erased.
        area: Tuple of floats, smallest and largest fraction of the image's area.
        aspect_ratio: Tuple of floats, smallest and largest ratio of height to width.

    Returns:
        A tensor of the shape and type of `images`.
    """
    batch = tf.shape(images)[0]
    whole = tf.constant(tuple(images.shape[1:3]), tf.float32)
    keys = tf.unstack(tf.random.split(key, 4))
    is_erased = tf.random.stateless_uniform((batch, 1), keys[0]) < probability
    areas = tf.random.stateless_uniform((batch, 1), keys[1], *area)
    ratios = tf.exp(tf.random.stateless_uniform((batch, 1), keys[2], *map(math.log, aspect_ratio)))
    sides = tf.sqrt(areas * tf.concat([ratios, 1 / ratios], 1) * tf.reduce_prod(whole))
    sides = tf.minimum(tf.round(sides), whole) * tf.cast(is_erased, tf.float32)
    corners = tf.floor(tf.random.stateless_uniform((batch, 2), keys[3]) * (whole - sides + 1))
    return tf.where(_inside(corners, corners + sides, images.shape), tf.zeros_like(images), images)


# In the order of application, whatever the order in which they are given.
AUGMENTATIONS = {
    "inception_crop": Augmentation(inception_crop, "stored image"),
    "rand_augment": Augmentation(rand_augment, "image"),
    "trivial_augment": Augmentation(trivial_augment, "image"),
    "shift": Augmentation(shift, "batch"),
    "shift_flip": Augmentation(shift_flip, "batch"),
    "random_erasing": Augmentation(random_erasing, "batch"),
}


def chosen(names: tuple[str, ...]) -> tuple:
    """Return the named rows of the table, in table order.

    Raises:
        ValueError: If `names` is not a sequence of names, or has an unknown or repeated name.
    """
    if not isinstance(names, tuple | list):
        raise refusal("augmentation", f"a tuple of names of {', '.join(AUGMENTATIONS)}", names)
    for name in names:
        if not isinstance(name, str) or name not in AUGMENTATIONS:
            raise unknown("augmentation", name, AUGMENTATIONS)
    if len(set(names)) < len(names) or {"shift", "shift_flip"} <= set(names):
        raise refusal("augmentation", "names that differ, with one of shift and shift_flip at most", tuple(names))
    return tuple(row for name, row in AUGMENTATIONS.items() if name in names)


def mix(images: Tensor, labels: Tensor, key: Tensor, mixup: float, cutmix: float) -> tuple[Tensor, Tensor]:
    """Mix a batch by MixUp or CutMix; if both are requested, by one of them at random, as torchvision does.

    Args:
        images: Float tensor `(batch, height, width, channels)`.
        labels: Float tensor `(batch, classes)`, one-hot.
        key: Integer tensor `(2,)`.
        mixup, cutmix: Floats of at least 0, alphas; 0 for none.

    Returns:
        A tuple, images and labels.
    """
    coin_key, mix_key = tf.unstack(tf.random.split(key, 2))
    if mixup and cutmix:
        return tf.cond(
            tf.random.stateless_uniform((), coin_key) < 0.5,
            lambda: mix_up(images, labels, mix_key, mixup),
            lambda: cut_mix(images, labels, mix_key, cutmix),
        )
    return mix_up(images, labels, mix_key, mixup) if mixup else cut_mix(images, labels, mix_key, cutmix)


def mix_up(images: Tensor, labels: Tensor, key: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Blend each image and label with those of its neighbor in the batch: Zhang et al. 2018, equation 2.

    The weights are drawn from Beta(alpha, alpha), one for each image. Batches are shuffled, so a neighbor is as good as
    a random partner, and never the image itself.
    """
    weights = beta(tf.shape(images)[0], key, alpha)
    pixel_weights = tf.reshape(weights, (-1, 1, 1, 1))
    images = pixel_weights * images + (1 - pixel_weights) * tf.roll(images, 1, 0)
    return images, _blend(labels, weights)


def cut_mix(images: Tensor, labels: Tensor, key: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of the neighbor in the batch into each image: Yun et al. 2019, section 3.1.

    The rectangle has the image's aspect ratio, a fraction of its area drawn from Beta(alpha, alpha), and a random
    center. It is cut at the edges; labels are mixed by the remaining area.
    """
    batch = tf.shape(images)[0]
    whole = tf.constant(tuple(images.shape[1:3]), tf.float32)
    area_key, center_key = tf.unstack(tf.random.split(key, 2))
    halves = tf.floor(tf.sqrt(1 - beta(batch, area_key, alpha))[:, None] * whole / 2)
    centers = tf.floor(tf.random.stateless_uniform((batch, 2), center_key) * whole)
    begin, end = tf.maximum(centers - halves, 0), tf.minimum(centers + halves, whole)
    images = tf.where(_inside(begin, end, images.shape), tf.roll(images, 1, 0), images)
    return images, _blend(labels, 1 - tf.reduce_prod((end - begin) / whole, 1))


def beta(count: Any, key: Tensor, alpha: float) -> Tensor:
    """Draw from Beta(alpha, alpha), as float32 `(count,)`.

    Computed in float64: for small alpha in float32, both gammas would be zero once in a long training, and their ratio
    NaN.
    """
    one, other = (
        tf.random.stateless_gamma((count,), k, alpha, dtype=tf.float64) for k in tf.unstack(tf.random.split(key, 2))
    )
    return tf.cast(one / (one + other), tf.float32)


def _blend(labels, weights):
    return weights[:, None] * labels + (1 - weights[:, None]) * tf.roll(labels, 1, 0)


def _inside(begin, end, shape):
    """Return whether each pixel is inside its image's rectangle, as booleans `(batch, height, width, 1)`."""
    within = [
        (tf.range(shape[axis + 1], dtype=tf.float32) >= begin[:, axis, None])
        & (tf.range(shape[axis + 1], dtype=tf.float32) < end[:, axis, None])
        for axis in (0, 1)
    ]
    return (within[0][:, :, None] & within[1][:, None])[..., None]
