"""Preprocess images for published weights: the resize, crop, channel order and normalization of their training.

```python
prepare = keras_sd.weights.preprocessing.for_weights("ResNet50", "a1_in1k")
model = keras_sd.applications.ResNet50(weights="a1_in1k")
model.predict(prepare(["cat.jpg", "dog.jpg"]))
```
"""

import dataclasses
import os
from typing import Any

import keras
import numpy as np
from keras import ops
from PIL import Image

from keras_sd.utils.aliases import Tensor
from keras_sd.utils.checks import check_integer, check_type, refusal
from keras_sd.utils.images import open_image
from keras_sd.weights import Preprocessing, resolve

# Pillow's mode for the channels of a network.
_MODES = {"RGB": "RGB", "BGR": "RGB", "L": "L"}


def for_weights(model_name: str, weights: Any, size: int | None = None) -> "Preprocessor":
    """Return the preprocessing that weights were trained and evaluated with.

    Args:
        model_name: A name of `keras_sd.applications.list_models()`.
        weights: As in the model's factory: a tag, `"hf://owner/name"`, or a path.
        size: Height and width to use instead of the weights' own.

    Returns:
        A `Preprocessor`.

    Raises:
        ValueError: If there are no such weights, or their preprocessing is not known.
    """
    changes = {} if size is None else {"size": check_integer("size", size)}
    known = resolve(model_name, weights).preprocessing()
    if known is None:
        allowed = (
            "published, exported or converted weights, whose preprocessing is known; for others, give it as "
            "`Preprocessor(Preprocessing(...))`, or on the command line with --mean, --std and --scale, or "
            "--preprocessing"
        )
        raise refusal("weights", allowed, os.fspath(getattr(weights, "path", weights)))
    return Preprocessor(dataclasses.replace(known, **dict[str, Any](changes)))


class Preprocessor:
    """Convert images to the input of a network, exactly as its publisher does.

    Files are opened as in training: rotated by their EXIF orientation, with 8 bits per channel (16-bit gray is scaled),
    without transparency. Images of another size are resized by Pillow, as in the loaders of PyTorch and Keras, because
    the interpolations of other libraries give different numbers. For weights trained on images that were already of
    the right size (CIFAR), larger images are reduced by antialiased bicubic interpolation and center-cropped.

    Args:
        preprocessing: A `keras_sd.weights.Preprocessing`.
    """

    def __init__(self, preprocessing: Preprocessing):
        check_type("preprocessing", preprocessing, Preprocessing, "a `keras_sd.weights.Preprocessing`")
        self.preprocessing = preprocessing

    def __repr__(self):
        return f"Preprocessor({self.preprocessing})"

    def __call__(self, images):
        """Prepare images for `model.predict`.

        Args:
            images: A path, a Pillow image, or an array (height, width, channels) with values from 0 to 255; or a
                list of these; or an array of a batch. Fractional values are rounded.

        Returns:
            A float32 array (batch, size, size, channels); channels first if `keras.config` says so.

        Raises:
            ValueError: If something is not an image, or all values of the arrays are in [0, 1].
        """
        batched = isinstance(images, list | tuple) or getattr(images, "ndim", 3) == 4
        images = [_as_array(image) for image in (images if batched else [images])]
        if not images:
            raise refusal("images", "at least one image", images)
        _check_range(images)
        pixels = np.stack([self._resized(image) for image in images])
        batch = self._normalized(pixels.astype("float32"), np)
        return batch if keras.config.image_data_format() == "channels_last" else batch.transpose(0, 3, 1, 2)

    def resized(self, image: Any) -> np.ndarray:
        """Resize and crop one image. Returns 8-bit pixels (size, size, channels), not normalized."""
        image = _as_array(image)
        _check_range([image])
        return self._resized(image)

    def _resized(self, image):
        how = self.preprocessing
        image = _opened(image, _MODES[how.channels])
        interpolation = getattr(Image.Resampling, (how.interpolation or "bicubic").upper())
        if how.keep_aspect:
            image = _center(_shorter_side(image, int(how.size / how.crop), interpolation), how.size)
        elif image.size != (how.size, how.size):
            image = image.resize((how.size, how.size), interpolation)
        pixels = np.asarray(image)
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def normalize(self, images: Tensor) -> Any:
        """Normalize a batch of the right size, for the `map` of a `tf.data.Dataset`.

        Args:
            images: Tensor (..., channels), values from 0 to 255.

        Returns:
            A float32 tensor of the same shape.

        Raises:
            ValueError: If all values of a NumPy array are in [0, 1]. The values of a tensor are not checked.
        """
        _check_range([images])
        return self._normalized(ops.cast(images, "float32"), ops)

    def _normalized(self, images, library):
        how = self.preprocessing
        if how.channels == "BGR":
            images = library.flip(images, -1)
        return (images * how.scale - np.float32(how.mean)) / np.float32(how.std)


def _as_array(image):
    return image if isinstance(image, str | os.PathLike | Image.Image) else np.asarray(image)


def _check_range(images):
    """Raise for arrays that are scaled to [0, 1]. One dark image in a batch with brighter images is allowed."""
    arrays = [image for image in images if isinstance(image, np.ndarray) and image.dtype.kind == "f" and image.size]
    least, most = min((array.min() for array in arrays), default=0), max((array.max() for array in arrays), default=0)
    if least >= 0 and 0 < most <= 1:
        raise ValueError(
            f"`images` must have values from 0 to 255. Received: {arrays[0].dtype} values from {least:g} to {most:g}, "
            "which look scaled to [0, 1]; multiply them by 255"
        )


def _opened(image, mode):
    if isinstance(image, str | os.PathLike | Image.Image):
        try:
            return open_image(image, mode)
        except ValueError as error:
            shown = f"'{image}'" if isinstance(image, str | os.PathLike) else f"{image}"
            raise ValueError(
                f"`images` must be image files or Pillow images of 8 or 16 bits. Received: {shown}, which cannot be "
                f"read: {error}"
            ) from error
    array = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or not _is_8_bit(array):
        raise ValueError(
            "`images` must be paths, Pillow images, or arrays (height, width, 1 or 3) of values from 0 to 255. "
            f"Received: {_seen(image, array)}"
        )
    return Image.fromarray(np.rint(array).astype("uint8")).convert(mode)


def _is_8_bit(array):
    return array.dtype.kind in "iuf" and array.size > 0 and 0 <= array.min() <= array.max() <= 255


def _seen(image, array):
    values = f", values from {array.min():g} to {array.max():g}" if array.dtype.kind in "iuf" and array.size else ""
    return f"an array of shape {np.shape(image)} and dtype {array.dtype}{values}"


def _shorter_side(image, size, interpolation):
    """Resize so that the shorter side has `size` pixels; the longer one is rounded down, as in torchvision."""
    width, height = image.size
    if min(width, height) == size:
        return image
    longer = int(size * max(width, height) / min(width, height))
    return image.resize((size, longer) if width <= height else (longer, size), interpolation)


def _center(image, size):
    """Crop the square in the center. Its corner is rounded to even, as in torchvision."""
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))
