"""RandAugment and TrivialAugment: operations drawn at random for each image.

RandAugment (Cubuk et al. 2020) applies two of the same strength; TrivialAugment (Müller and Hutter 2021) applies one of
random strength.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from keras_sd.utils.aliases import Tensor

FILL = 128  # fills the area outside a moved image; the authors' code has the same gray


def rand_augment(image: Tensor, key: Tensor, dataset: Any, num_operations: int = 2, magnitude: float = 9) -> Tensor:
    """Apply random operations, with the strength that the paper found for ResNet-50 on ImageNet.

    Only the drawn operations are computed. Their ranges are those of torchvision.

    Args:
        image: uint8 tensor `(height, width, channels)`.
        key: Integer tensor `(2,)`.
        dataset: Object with `white`, the value of a white pixel.
        num_operations: Integer, number of operations, applied in sequence.
        magnitude: Float in [0, 30].

    Returns:
        A tensor of the shape and type of `image`.
    """
    which_key, sign_key = tf.unstack(tf.random.split(key, 2))
    which = tf.random.stateless_uniform((num_operations,), which_key, 0, len(OPERATIONS), tf.int32)
    signs = tf.where(tf.random.stateless_uniform((num_operations,), sign_key) < 0.5, -1.0, 1.0)
    pixels = _to_bytes(image, dataset)
    for number in range(num_operations):
        pixels = apply(pixels, which[number], signs[number], magnitude / 30)
    return _from_bytes(pixels, dataset)


def trivial_augment(image: Tensor, key: Tensor, dataset: Any) -> Tensor:
    """Apply one random operation, with one of 31 strengths at random: the wide form of TrivialAugment.

    Args:
        image: uint8 tensor `(height, width, channels)`, of known height and width.
        key: Integer tensor `(2,)`.
        dataset: Object with `white`, the value of a white pixel.

    Returns:
        A tensor of the shape and type of `image`.
    """
    which_key, sign_key, bin_key = tf.unstack(tf.random.split(key, 3))
    which = tf.random.stateless_uniform((), which_key, 0, len(OPERATIONS), tf.int32)
    sign = tf.where(tf.random.stateless_uniform((), sign_key) < 0.5, -1.0, 1.0)
    strength = tf.cast(tf.random.stateless_uniform((), bin_key, 0, 31, tf.int32), tf.float32) / 30
    height, width = image.shape[:2]
    strongest = WIDE | {"translate_x": 32 / width, "translate_y": 32 / height}
    return _from_bytes(apply(_to_bytes(image, dataset), which, sign, strength, strongest), dataset)


def apply(
    image: Tensor, which: Tensor, sign: Tensor, strength: Tensor | float, strongest: Mapping[str, float] | None = None
) -> Tensor:
    """Apply one operation.

    Args:
        image: uint8 tensor `(height, width, channels)` with white at 255.
        which: Integer tensor, index of the operation in `OPERATIONS`.
        sign: Float tensor, 1 or -1, direction of operations that have one.
        strength: Float in [0, 1], fraction of the operation's maximum.
        strongest: Mapping from names of operations to their maximum strength; defaults to RandAugment's.

    Returns:
        A tensor of the shape and type of `image`.
    """
    most = {name: {"most": value} for name, value in (strongest or {}).items()}
    branches = [
        functools.partial(function, image, strength, sign, **most.get(name, {}))
        for name, function in OPERATIONS.items()
    ]
    return tf.ensure_shape(tf.switch_case(which, branches), image.shape)


def _to_bytes(image, dataset):
    return _bytes(tf.cast(image, tf.float32) * (255 / dataset.white))


def _from_bytes(pixels, dataset):
    return _bytes(tf.cast(pixels, tf.float32) * (dataset.white / 255))


def _bytes(pixels):
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)


def _identity(image, strength, sign):
    return image


def _shear_x(image, strength, sign, most=0.3):
    return _transform(image, (1, most * strength * sign), (0, 1))


def _shear_y(image, strength, sign, most=0.3):
    return _transform(image, (1, 0), (most * strength * sign, 1))


def _translate_x(image, strength, sign, most=150 / 331):
    return _transform(image, (1, 0), (0, 1), (strength * sign * most, 0))


def _translate_y(image, strength, sign, most=150 / 331):
    return _transform(image, (1, 0), (0, 1), (0, strength * sign * most))


def _rotate(image, strength, sign, most=30):
    angle = math.radians(most) * strength * sign
    return _transform(image, (tf.cos(angle), -tf.sin(angle)), (tf.sin(angle), tf.cos(angle)))


def _transform(image, row_of_x, row_of_y, shift=(0, 0)):
    """Sample each pixel at its position under a linear map about the center and a shift in fractions of the sides."""
    height, width = (tf.cast(side, tf.float32) for side in tf.unstack(tf.shape(image)[:2]))
    x, y = (width - 1) / 2, (height - 1) / 2
    numbers = []
    for (of_x, of_y), center, moved in ((row_of_x, x, shift[0] * width), (row_of_y, y, shift[1] * height)):
        numbers += [of_x, of_y, center - of_x * x - of_y * y + tf.round(moved)]
    transform = tf.stack([tf.cast(number, tf.float32) for number in (*numbers, 0, 0)])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=transform[None],
        output_shape=tf.shape(image)[:2],
        fill_value=float(FILL),
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )[0]


def _brightness(image, strength, sign, most=0.9):
    return _enhance(image, tf.zeros_like(image), most * strength * sign)


def _color(image, strength, sign, most=0.9):
    return _enhance(image, tf.broadcast_to(_gray(image), tf.shape(image)), most * strength * sign)


def _contrast(image, strength, sign, most=0.9):
    mean = tf.round(tf.reduce_mean(tf.cast(_gray(image), tf.float32)))
    return _enhance(image, tf.fill(tf.shape(image), mean), most * strength * sign)


def _sharpness(image, strength, sign, most=0.9):
    """Blend with the smoothed image; the outermost pixels, which lack neighbors, are kept."""
    channels = image.shape[-1]
    kernel = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32) / 13
    kernel = tf.tile(kernel[:, :, None, None], (1, 1, channels, 1))
    pixels = tf.cast(image, tf.float32)
    inner = tf.round(tf.nn.depthwise_conv2d(pixels[None], kernel, (1, 1, 1, 1), "VALID"))[0]
    is_inner = tf.pad(tf.ones_like(inner, tf.bool), ((1, 1), (1, 1), (0, 0)))
    smooth = tf.where(is_inner, tf.pad(inner, ((1, 1), (1, 1), (0, 0))), pixels)
    return _enhance(image, smooth, most * strength * sign)


def _enhance(image, plain, strength):
    """Move away from a plain version of the image (strength above 0) or toward it (below)."""
    image, plain = tf.cast(image, tf.float32), tf.cast(plain, tf.float32)
    return _bytes(plain + (1 + strength) * (image - plain))


def _gray(image):
    """Return the luminance by ITU-R 601 as uint8; images without three colors are already gray."""
    if image.shape[-1] != 3:
        return image
    return _bytes(tf.reduce_sum(tf.cast(image, tf.float32) * [0.299, 0.587, 0.114], -1, keepdims=True))


def _posterize(image, strength, sign, most=4):
    step = tf.cast(2 ** tf.cast(tf.round(most * strength), tf.int32), tf.uint8)
    return image // step * step


def _solarize(image, strength, sign):
    return tf.where(tf.cast(image, tf.float32) >= 255 * (1 - strength), 255 - image, image)


def _auto_contrast(image, strength, sign):
    """Stretch each channel to the whole range; a constant channel is kept."""
    pixels = tf.cast(image, tf.float32)
    low, high = tf.reduce_min(pixels, (0, 1)), tf.reduce_max(pixels, (0, 1))
    stretched = tf.floor((pixels - low) * 255 / tf.maximum(high - low, 1))
    return tf.cast(tf.where(high > low, stretched, pixels), tf.uint8)


def _equalize(image, strength, sign):
    """Equalize each channel's histogram, with the integer arithmetic of PIL's `equalize`."""
    return tf.stack([_equalize_channel(channel) for channel in tf.unstack(image, axis=-1)], -1)


def _equalize_channel(channel):
    values = tf.cast(channel, tf.int32)
    counts = tf.math.bincount(tf.reshape(values, (-1,)), minlength=256, maxlength=256)
    largest = tf.gather(counts, tf.reduce_max(values))
    step = (tf.reduce_sum(counts) - largest) // 255
    table = (step // 2 + tf.cumsum(counts, exclusive=True)) // tf.maximum(step, 1)
    return tf.cast(tf.where(step > 0, tf.gather(tf.minimum(table, 255), values), values), tf.uint8)


OPERATIONS = {
    "identity": _identity,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "brightness": _brightness,
    "color": _color,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
}

# Maximum strengths in the wide space of TrivialAugment, where they differ from RandAugment's; shifts are 32 pixels.
WIDE = dict.fromkeys(("shear_x", "shear_y", "brightness", "color", "contrast", "sharpness"), 0.99) | {
    "rotate": 135.0,
    "posterize": 6.0,
}
