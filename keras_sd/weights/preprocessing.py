"""Images as published weights need them: the resize, crop, channel order and normalization of their training.

```python
prepare = keras_sd.weights.preprocessing.for_weights("ResNet50", "a1_in1k")
model = keras_sd.applications.ResNet50(weights="a1_in1k")
model.predict(prepare(["cat.jpg", "dog.jpg"]))
```
"""

import dataclasses
import os

import keras
import numpy as np
from keras import ops

from keras_sd.weights import Preprocessing, resolve

# Which of Pillow's modes has a network's channels.
_MODES = {"RGB": "RGB", "BGR": "RGB", "L": "L"}


def for_weights(model_name: str, weights, size: int | None = None) -> "Preprocessor":
    """The preprocessing that weights were trained and measured with.

    Args:
        model_name: A name of `keras_sd.applications.list_models()`.
        weights: As the model's factory takes them: a tag, `"hf://owner/name"`, a path.
        size: Height and width to prepare for, in place of the weights' own.

    Returns:
        A `Preprocessor`.

    Raises:
        ValueError: No such weights; or weights of which the preprocessing is not known.
    """
    row = resolve(model_name, weights).row
    if row is None or row.preprocessing is None:
        raise ValueError(
            f"`weights` must be published or exported ones, whose preprocessing is known. Received: "
            f"weights={os.fspath(weights)!r}, of which nothing is known; say it with `Preprocessor(Preprocessing(...))`"
        )
    changes = {} if size is None else {"size": size}
    return Preprocessor(dataclasses.replace(row.preprocessing, **changes))


class Preprocessor:
    """Turns images into the input of a network, exactly as its publisher does.

    Images of another size are resized by Pillow, as PyTorch's and Keras's own loaders do, since the interpolations
    of other libraries give other numbers. Where weights were trained on images that came in the right size (CIFAR),
    larger ones are reduced by antialiased bicubic interpolation and cropped in the centre.

    Args:
        preprocessing: A `keras_sd.weights.Preprocessing`.
    """

    def __init__(self, preprocessing: Preprocessing):
        self.preprocessing = preprocessing

    def __repr__(self):
        return f"Preprocessor({self.preprocessing})"

    def __call__(self, images):
        """Prepares images for `model.predict`.

        Args:
            images: A path, a Pillow image, or an array (height, width, channels) with values from 0 to 255; or a
                list of these; or an array of a batch.

        Returns:
            An array (batch, size, size, channels), float32; channels first if `keras.config` says so.

        Raises:
            ValueError: Something that is no image.
        """
        batched = isinstance(images, list | tuple) or getattr(images, "ndim", 3) == 4
        pixels = np.stack([self.resized(image) for image in (images if batched else [images])])
        batch = self._normalized(pixels.astype("float32"), np)
        return batch if keras.config.image_data_format() == "channels_last" else batch.transpose(0, 3, 1, 2)

    def resized(self, image) -> np.ndarray:
        """One image, resized and cropped: 8-bit pixels (size, size, channels), not normalized."""
        how = self.preprocessing
        image = _open(image, _MODES[how.channels])
        interpolation = getattr(_pillow().Resampling, (how.interpolation or "bicubic").upper())
        if how.keep_aspect:
            image = _centre(_shorter_side(image, int(how.size / how.crop), interpolation), how.size)
        elif image.size != (how.size, how.size):
            image = image.resize((how.size, how.size), interpolation)
        pixels = np.asarray(image)
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def normalize(self, images):
        """Normalizes a batch of the right size: for the `map` of a `tf.data.Dataset`.

        Args:
            images: Tensor (..., channels), values from 0 to 255.

        Returns:
            A float32 tensor of the same shape.
        """
        return self._normalized(ops.cast(images, "float32"), ops)

    def _normalized(self, images, library):
        how = self.preprocessing
        if how.channels == "BGR":
            images = library.flip(images, -1)
        return (images * how.scale - np.float32(how.mean)) / np.float32(how.std)


def _pillow():
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("Reading and resizing images needs Pillow: `pip install pillow`.") from error
    return Image


def _open(image, mode):
    pillow = _pillow()
    if isinstance(image, str | os.PathLike):
        try:
            with pillow.open(image) as file:
                return file.convert(mode)
        except (pillow.UnidentifiedImageError, pillow.DecompressionBombError) as error:
            raise ValueError(f"`images` must be image files. Received: '{image}' ({error})") from error
    if isinstance(image, pillow.Image):
        return image.convert(mode)
    array = np.asarray(image)
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or not _is_8_bit(array):
        raise ValueError(
            "`images` must be paths, Pillow images, or arrays (height, width, 1 or 3) of values from 0 to 255. "
            f"Received: an array of shape {np.shape(image)} and dtype {array.dtype}"
        )
    return pillow.fromarray(array.astype("uint8")).convert(mode)


def _is_8_bit(array):
    return array.dtype == np.uint8 or (array.dtype.kind in "iuf" and 0 <= array.min() <= array.max() <= 255)


def _shorter_side(image, size, interpolation):
    """Resizes so that the shorter side has `size` pixels; the longer one is rounded down, as in torchvision."""
    width, height = image.size
    if min(width, height) == size:
        return image
    longer = int(size * max(width, height) / min(width, height))
    return image.resize((size, longer) if width <= height else (longer, size), interpolation)


def _centre(image, size):
    """The square in the centre; its corner is rounded to even, as in torchvision."""
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))
