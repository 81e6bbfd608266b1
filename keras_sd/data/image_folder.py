"""A folder of images by class."""

import collections
import concurrent.futures
import re
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image, ImageOps

from keras_sd.data import splits
from keras_sd.data.streaming import Files, in_memory

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_PARTS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


def load(path, image_size, shown_as):
    """A set of the images below a folder.

    `PATH/CLASS/*.png` (or .jpg, .bmp, .webp), or `PATH/PART/CLASS/*.png` with parts named train, validation (or val)
    and test. What is missing of the latter two is held out of training: a tenth of each class, drawn by a fixed seed
    from the files in the order of their names.

    Args:
        path: String, the folder.
        image_size: Integer, height and width to resize to; `None` if all images have one size.
        shown_as: String, the name that the set gets.

    Returns:
        A `Dataset`, or a `StreamingDataset` if it is large.

    Raises:
        ValueError: for a folder that is missing, has fewer than two classes, a class without images, or an image
            that cannot be read.
    """
    root = Path(path).expanduser().absolute()
    if not root.is_dir():
        raise ValueError(f"data is {shown_as!r}; {root} must be a directory")
    folders = {_PARTS[name]: root / name for name in _PARTS if (root / name).is_dir()}
    folders = folders if "train" in folders else {"train": root}
    class_names = _class_names(folders["train"])
    files = {part: _files(folder, class_names, shown_as) for part, folder in folders.items()}
    shapes, channels = _look(files, shown_as)
    size = splits.input_size(shown_as, (*shapes, channels), image_size)
    read = _reader(channels)
    labels = {part: np.array(part_labels, "int32") for part, (_, part_labels) in files.items()}
    held_out = {part: share for part, share in splits.HELD_OUT.items() if part not in files}
    splits.check_labels(shown_as, class_names, labels, 1 + len(held_out))
    sources = {part: Files(tuple(paths), labels[part], read) for part, (paths, _) in files.items()}
    if splits.fits_in_memory(sum(map(len, labels.values())), size):
        try:
            parts = {part: in_memory(source, size) for part, source in sources.items()}
        except tf.errors.OpError as error:  # TensorFlow's version of what `_reader` raised
            said = re.search(r"/.*cannot be read as an image.*", error.message)
            raise ValueError(f"data is {shown_as!r}; {said[0] if said else error.message}") from None
        return splits.from_parts(shown_as, class_names, parts)
    for part, rows in splits.split(labels["train"], held_out).items():
        paths = np.array(files["train"][0])[rows]
        sources[part] = Files(tuple(paths.tolist()), labels["train"][rows], read)
    return splits.streaming(shown_as, class_names, sources, size)


def _class_names(folder):
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))


def _files(folder, class_names, shown_as):
    """Paths and labels of a part, in the order of the names."""
    strangers = sorted(set(_class_names(folder)) - set(class_names))
    if strangers:
        raise ValueError(f"data is {shown_as!r}; {folder} has {strangers[0]!r}, which must be a class of training, too")
    paths, labels = [], []
    for label, name in enumerate(class_names):
        found = sorted(str(file) for file in (folder / name).glob("*") if file.suffix.lower() in SUFFIXES)
        if not found:
            raise ValueError(f"data is {shown_as!r}; {folder / name} must hold images ({', '.join(SUFFIXES)})")
        paths += found
        labels += [label] * len(found)
    return paths, labels


def _look(files, shown_as):
    """The size that all images share (`None`s if they do not) and their number of channels; reads all headers."""
    paths = [path for part, _ in files.values() for path in part]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        found = list(pool.map(_header, paths))
    unreadable = [path for path, header in zip(paths, found) if header is None]
    if unreadable:
        raise ValueError(
            f"data is {shown_as!r}, of which {len(unreadable)} files cannot be read as images: "
            f"{splits.some(unreadable)}"
        )
    sizes = collections.Counter((height, width) for (width, height), _ in found)
    is_grey = all(mode in ("1", "L") for _, mode in found)
    return sizes.popitem()[0] if len(sizes) == 1 else (None, None), 1 if is_grey else 3


def _header(path):
    """Size and mode of an image; `None` if it has none, or is a PNG whose checksums are wrong."""
    try:
        with Image.open(path) as image:
            size, mode = image.size, image.mode
            if "exif" in image.info and image.getexif().get(ExifTags.Base.Orientation, 1) > 4:
                size = size[::-1]  # it is to be turned by a quarter
            image.verify()
        return size, mode
    except Exception:  # of a torn file PIL raises nearly anything
        return None


def _reader(channels):
    """A function of a path that reads an image inside `tf.data`.

    By PIL, which reads more kinds of files than TensorFlow, and says which one it cannot read.
    """

    def pixels(path):
        try:
            with Image.open(path.decode()) as image:
                image = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
                return np.asarray(image).reshape(*image.size[::-1], channels)
        except Exception as error:
            raise ValueError(f"{path.decode()} cannot be read as an image: {error}") from None

    def read(path):
        return tf.ensure_shape(tf.numpy_function(pixels, [path], tf.uint8, stateful=False), (None, None, channels))

    return read
