"""Load NumPy files of images and labels."""

import zipfile
from pathlib import Path

import numpy as np

from keras_sd.data import splits
from keras_sd.data.dataset import ImageSet, Part
from keras_sd.utils.checks import refusal

_MOST_COLORS = 4  # with at most this many rows and more channels, the axes are channels first


def load(path: str, reading: splits.Reading, shown_as: str) -> ImageSet:
    """Load the arrays of an `.npz` file as a set in memory.

    Arrays are named `x_train`, `y_train`, `x_test`, `y_test`, and optionally `x_validation`, `y_validation` (otherwise
    a tenth of each class of the training split is held out) and `class_names`. Images are uint8 `(n, height, width)`
    or `(n, height, width, channels)`; labels are integers from 0, `(n,)` or `(n, 1)`.

    Args:
        path: String, the file.
        reading: A `Reading`.
        shown_as: String, name of the resulting set.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: If the file or its arrays do not have this form.
    """
    arrays = _arrays(Path(path).expanduser(), shown_as)
    names = [part for part in ("train", "test", "validation") if part != "validation" or "x_validation" in arrays]
    parts = {part: _part(arrays, part, shown_as) for part in names}
    shape = parts["train"].images.shape[1:]
    for part, content in parts.items():
        if content.images.shape[1:] != shape:
            allowed = f"a file whose x_{part} has images of {shape}, as x_train has"
            raise refusal("data", f"{allowed}; they are of {content.images.shape[1:]}", shown_as)
    count = int(parts["train"].labels.max()) + 1
    class_names = [str(name) for name in arrays.get("class_names", range(count))]
    return splits.from_parts(shown_as, class_names, parts, reading=reading)


def _arrays(path, shown_as):
    if not path.is_file():
        raise refusal("data", f"a file; {path} is not a file", shown_as)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise refusal("data", f"an .npz file that can be read ({error})", shown_as) from None
    missing = [name for name in ("x_train", "y_train", "x_test", "y_test") if name not in arrays]
    if missing or ("x_validation" in arrays) != ("y_validation" in arrays):
        allowed = "a file of x_train, y_train, x_test, y_test, and both or neither of x_validation and y_validation"
        raise refusal("data", f"{allowed}; it has {', '.join(arrays) or 'no arrays'}", shown_as)
    return arrays


def _part(arrays, part, shown_as):
    images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if images.ndim == 3:
        images = images[..., None]
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    wrong = None
    if images.ndim != 4 or images.dtype != np.uint8 or 0 in images.shape:
        wrong = (
            f"x_{part} must be uint8 (n, height, width, channels), none of them 0; it is {images.dtype} {images.shape}"
        )
    elif images.shape[1] <= _MOST_COLORS < images.shape[3]:
        wrong = (
            f"x_{part} must be (n, height, width, channels); it is {images.shape}, with channels first. "
            f"Convert it with np.moveaxis(x_{part}, 1, -1)"
        )
    elif labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        wrong = f"y_{part} must be whole numbers (n,); it is {labels.dtype} {labels.shape}"
    elif len(labels) != len(images):
        wrong = f"y_{part} must have {len(images)} labels, one for each image; it has {len(labels)}"
    if wrong:
        raise refusal("data", f"a file of images and labels: {wrong}", shown_as)
    return Part(np.ascontiguousarray(images), labels.astype("int32"))
