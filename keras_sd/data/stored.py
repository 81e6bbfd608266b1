"""Stored images, whose size is known before decoding, and of which a part can be decoded alone."""

import tensorflow as tf

from keras_sd.utils.aliases import Tensor


class Pixels:
    """A decoded image.

    Args:
        image: uint8 tensor `(height, width, channels)`.
    """

    def __init__(self, image: Tensor) -> None:
        self.image = image

    @property
    def shape(self) -> Tensor:
        """Height, width and channels, an integer tensor."""
        return tf.shape(self.image)

    def whole(self) -> Tensor:
        """Return the image, a uint8 tensor `(height, width, channels)`."""
        return self.image

    def part(self, begin: Tensor, size: Tensor) -> Tensor:
        """Return a part of the image, a uint8 tensor.

        Args:
            begin, size: Integer tensors `(2,)`: first row and column; height and width.
        """
        return self.image[begin[0] : begin[0] + size[0], begin[1] : begin[1] + size[1]]


class Jpeg:
    """An image as the bytes of a JPEG; methods are those of `Pixels`.

    It is decoded with the accurate integer transform, as in PIL and therefore in PyTorch. TensorFlow's default is a
    fast transform whose 32x32 images differ, which changes accuracies in the third digit. If colors have a lower
    resolution, the pixels at the edges of a part differ slightly from those of the whole, because they lack a neighbor.

    Args:
        data: String tensor, the bytes.
        channels: Integer, 1 or 3.
    """

    def __init__(self, data: Tensor, channels: int) -> None:
        self.data, self.channels = data, channels

    @property
    def shape(self) -> Tensor:
        return tf.image.extract_jpeg_shape(self.data)

    def whole(self) -> Tensor:
        return tf.io.decode_jpeg(self.data, channels=self.channels, dct_method="INTEGER_ACCURATE")

    def part(self, begin: Tensor, size: Tensor) -> Tensor:
        window = tf.concat([begin, size], 0)
        return tf.image.decode_and_crop_jpeg(self.data, window, channels=self.channels, dct_method="INTEGER_ACCURATE")


def scaled(image: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize an image quickly: by area averaging if it shrinks, otherwise by linear interpolation.

    Both are free of aliasing, and take a third of the time of `tf.image.resize(..., antialias=True)`.

    Args:
        image: uint8 tensor `(height, width, channels)`.
        size: Tuple of integers, height and width.

    Returns:
        A uint8 tensor.
    """
    shrinks = tf.reduce_all(tf.shape(image)[:2] >= size)
    resized = tf.cond(
        shrinks, lambda: tf.image.resize(image, size, method="area"), lambda: tf.image.resize(image, size)
    )
    return tf.cast(tf.round(resized), tf.uint8)


def fit(image: Tensor, size: tuple[int, int, int], crop: float = 1.0) -> Tensor:
    """Resize the short side of an image to the size divided by `crop`, then crop the center.

    Args:
        image: uint8 tensor `(height, width, channels)`, of any height and width.
        size: Tuple of integers, height, width and channels of the result.
        crop: Float in (0, 1].

    Returns:
        A uint8 tensor of shape `size`.
    """

    def resized():
        target = tf.constant(size[:2], tf.float32) / crop
        sides = tf.cast(tf.shape(image)[:2], tf.float32)
        sides = tf.cast(tf.round(sides * tf.reduce_max(target / sides)), tf.int32)
        larger = tf.image.resize(image, tf.maximum(sides, size[:2]), antialias=True)
        row, column = tf.unstack((tf.shape(larger)[:2] - size[:2]) // 2)
        middle = larger[row : row + size[0], column : column + size[1]]
        return tf.cast(tf.round(middle), tf.uint8)

    if crop < 1:
        return tf.ensure_shape(resized(), size)
    return tf.ensure_shape(tf.cond(tf.reduce_all(tf.shape(image) == size), lambda: image, resized), size)
