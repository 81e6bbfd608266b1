"""A folder of images by class."""

import collections
import concurrent.futures
import io
import logging
import os
import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_sd.data import splits
from keras_sd.data.dataset import ImageSet
from keras_sd.data.streaming import Files, in_memory
from keras_sd.utils.checks import refusal
from keras_sd.utils.images import look, open_image, suffixes

_log = logging.getLogger(__name__)

_PARTS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
# Names that folders of parts have elsewhere: a class is hardly called so.
_LIKE_PARTS = {*_PARTS, "training", "valid", "dev", "testing", "eval", "evaluation"}


def load(path: str, reading: splits.Reading, shown_as: str) -> ImageSet:
    """Load the images below a folder.

    `PATH/CLASS/*.png`, or `PATH/PART/CLASS/*.png` with parts named train, validation (or val) and test; images in
    folders below a class are of that class, too. All files are read that Pillow decodes, by their suffix; the log
    says how many others there are, and why they are skipped. What is missing of validation and test is held out of
    training: a tenth of each class, drawn by a fixed seed from the files in the order of their names.

    Args:
        path: String, the folder.
        reading: A `Reading`, with an `image_size` unless all images have one size.
        shown_as: String, the name that the set gets.

    Returns:
        A `Dataset`, or a `StreamingDataset` if it is large.

    Raises:
        ValueError: for a folder that is missing, has fewer than two classes, a class without images, or an image
            that cannot be read.
    """
    root = Path(path).expanduser().absolute()
    if not root.is_dir():
        raise refusal("data", f"the folder of a set; {root} is no directory", shown_as)
    folders = _part_folders(root, shown_as)
    class_names = _class_names(folders["train"])
    skipped: collections.Counter[str] = collections.Counter()
    files = {part: _files(folder, class_names, shown_as, skipped) for part, folder in folders.items()}
    if folders["train"] != root:
        skipped[f"outside of {', '.join(folder.name for folder in folders.values())}"] += _count(root, folders.values())
    _say_skipped(skipped, shown_as)
    looks, files = _look(files, shown_as, reading.max_bad_files)
    shape = _common_shape([look for part in looks.values() for look in part])
    size = splits.input_size(shown_as, shape, reading.image_size)
    labels = {part: np.array(part_labels, "int32") for part, (_, part_labels) in files.items()}
    held_out = {part: share for part, share in splits.HELD_OUT.items() if part not in files}
    splits.check_labels(shown_as, class_names, labels, 1 + len(held_out))
    sources = {part: _source(paths, labels[part], looks[part], size[-1]) for part, (paths, _) in files.items()}
    is_resized = shape != size
    kept = sources["train"].num_bytes if is_resized else 0
    if splits.fits_in_memory(sum(map(len, labels.values())), size, kept):
        try:
            parts = {
                part: in_memory(source, size, keep=is_resized and (part == "train" or reading.tests_differ))
                for part, source in sources.items()
            }
        except tf.errors.OpError as error:  # TensorFlow's version of what `_decoder` raised
            said = re.search(r"/.*cannot be read as an image.*", error.message)
            raise refusal("data", f"a folder of images; {said[0] if said else error.message}", shown_as) from None
        return splits.from_parts(shown_as, class_names, parts)
    drawn = splits.split(labels["train"], held_out)
    sources |= {part: sources["train"].take(rows) for part, rows in drawn.items()}
    return splits.streaming(shown_as, class_names, sources, size)


def _part_folders(root, shown_as):
    """The folders of the parts; where the folder is not divided so, all of it is training."""
    there = [name for name in _PARTS if (root / name).is_dir()]
    if "train" in there:
        if {"validation", "val"} <= set(there):
            raise refusal("data", f"a folder with one of validation and val; {root} has both", shown_as)
        return {_PARTS[name]: root / name for name in there}
    names = _class_names(root)
    if names and all(name.lower() in _LIKE_PARTS for name in names):
        allowed = "a folder with one of each class, or with parts named train, validation (or val) and test"
        raise refusal("data", f"{allowed}; {root} has {', '.join(names)}", shown_as)
    return {"train": root}


def _class_names(folder):
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))


def _files(folder, class_names, shown_as, skipped):
    """Paths and labels of a part, in the order of the names; what is no image is counted in `skipped`, by reason."""
    strangers = sorted(set(_class_names(folder)) - set(class_names))
    if strangers:
        raise refusal(
            "data", f"a folder with the classes of training in all parts; {folder} has {strangers[0]!r}", shown_as
        )
    found = {name: [] for name in class_names}
    for file in _walk(folder):
        name, *rest = file.relative_to(folder).parts
        reason = _reason(file.relative_to(folder), rest)
        if reason:
            skipped[reason] += 1
        else:
            found[name].append(str(file))
    for name, files in found.items():
        if not files:
            allowed = "a folder of images of each class, with a suffix such as .png or .jpg"
            raise refusal("data", f"{allowed}; {folder / name} has none", shown_as)
    paths = [path for files in found.values() for path in sorted(files)]
    return paths, [label for label, files in enumerate(found.values()) for _ in files]


def _reason(file, inside_class):
    """Why a file is no image of a class, `None` for one that is."""
    if any(part.startswith(".") for part in file.parts):
        return "hidden"
    if not inside_class:
        return "in no class"
    if file.suffix.lower() not in suffixes():
        return file.suffix.lower() or "no suffix"
    return None


def _walk(folder):
    """All files below a folder; links to folders are followed, unless they lead back to where they are."""
    for directory, names, files in os.walk(folder, onerror=_fail, followlinks=True):
        names[:] = [name for name in names if not _leads_back(directory, name)]
        yield from (Path(directory, file) for file in files)


def _fail(error):
    raise error


def _leads_back(directory, name):
    path = os.path.join(directory, name)
    return os.path.islink(path) and Path(os.path.realpath(directory)).is_relative_to(os.path.realpath(path))


def _count(root, folders):
    """The number of files that are below a folder, but not below some folders in it."""
    return sum(not any(file.is_relative_to(folder) for folder in folders) for file in _walk(root))


def _say_skipped(skipped, shown_as):
    counts = sorted(skipped.items(), key=lambda row: (-row[1], row[0]))
    reasons = [f"{count:,} {reason}" for reason, count in counts if count]
    if reasons:
        number = skipped.total()
        files = "1 file is" if number == 1 else f"{number:,} files are"
        _log.warning("Of %s %s skipped: %s", shown_as, files, splits.some(reasons))


def _look(files, shown_as, most_bad):
    """What is known of the images of each part beforehand, and the files without those that cannot be read.

    Args:
        files: Dictionary from the names of parts to paths and labels.
        shown_as: String, what came as `data`.
        most_bad: Integer, how many files may be skipped since they cannot be read.
    """
    paths = [path for part, _ in files.values() for path in part]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        found = dict(zip(paths, pool.map(_header, paths)))
    bad = [f"{path} ({header})" for path, header in found.items() if isinstance(header, ValueError)]
    said = "1 file cannot be read as an image" if len(bad) == 1 else f"{len(bad):,} files cannot be read as images"
    if len(bad) > most_bad:
        allowed = f"a folder of images that can be read{f', but for {most_bad:,}' if most_bad else ''}"
        raise refusal("data", f"{allowed}; {said}: {splits.some(bad)}", shown_as)
    if bad:
        _log.warning("Of %s %s: %s", shown_as, said, splits.some(bad))
    looks, whole = {}, {}
    for part, (part_paths, labels) in files.items():
        rows = [(path, label) for path, label in zip(part_paths, labels) if not isinstance(found[path], ValueError)]
        whole[part] = [path for path, _ in rows], [label for _, label in rows]
        looks[part] = [found[path] for path, _ in rows]
    return looks, whole


def _source(paths, labels, looks, channels):
    is_jpeg = np.array([look.is_plain_jpeg for look in looks])
    return Files(tuple(paths), labels, is_jpeg, channels, _decoder(channels))


def _common_shape(looks):
    """The shape that all images share; height and width are `None` where they differ."""
    sizes = {look.size for look in looks}
    width, height = sizes.pop() if len(sizes) == 1 else (None, None)
    return height, width, 1 if all(look.is_grey for look in looks) else 3


def _header(path):
    """What is known of an image, or the error where it cannot be read."""
    try:
        return look(path)
    except (ValueError, FileNotFoundError) as error:
        return ValueError(error)


def _decoder(channels):
    """A function of the bytes and the path of a file that decodes an image inside `tf.data`.

    By Pillow, which reads more kinds of files than TensorFlow, and says which one it cannot read.
    """

    def pixels(data, path):
        try:
            image = open_image(io.BytesIO(data), "L" if channels == 1 else "RGB")
        except Exception as error:
            raise ValueError(f"{path.decode()} cannot be read as an image: {error}") from None
        return np.asarray(image).reshape(*image.size[::-1], channels)

    def decode(data, path):
        image = tf.numpy_function(pixels, [data, path], tf.uint8, stateful=False)
        return tf.ensure_shape(image, (None, None, channels))

    return decode
