"""Load a folder with images of each class."""

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
# Names of split folders in other layouts, which are unlikely names of classes.
_LIKE_PARTS = {*_PARTS, "training", "valid", "dev", "testing", "eval", "evaluation"}


def load(path: str, reading: splits.Reading, shown_as: str) -> ImageSet:
    """Load the images in a folder and its subfolders.

    The layout is `PATH/CLASS/*.png`, or `PATH/PART/CLASS/*.png` with splits named train, validation (or val) and test.
    Images in subfolders of a class also belong to that class. All files with a suffix that Pillow decodes are read; the
    log states how many others are skipped, and why. Missing validation and test splits are held out of training: a
    tenth of each class, drawn with a fixed seed from the files sorted by name.

    Args:
        path: String, the folder.
        reading: A `Reading`, with an `image_size` unless all images have the same size.
        shown_as: String, name of the resulting set.

    Returns:
        A `Dataset`, or a `StreamingDataset` if it is large.

    Raises:
        ValueError: If the folder is missing or has fewer than two classes, a class has no images, or an image cannot
            be read.
    """
    root = Path(path).expanduser().absolute()
    if not root.is_dir():
        raise refusal("data", f"the folder of a set; {root} is not a directory", shown_as)
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
    held_out = {part: fraction for part, fraction in splits.HELD_OUT.items() if part not in files}
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
        except tf.errors.OpError as error:  # wraps the error raised by `_decoder`
            said = re.search(r"/.*cannot be read as an image.*", error.message)
            raise refusal("data", f"a folder of images; {said[0] if said else error.message}", shown_as) from None
        return splits.from_parts(shown_as, class_names, parts)
    drawn = splits.split(labels["train"], held_out)
    sources |= {part: sources["train"].take(rows) for part, rows in drawn.items()}
    return splits.streaming(shown_as, class_names, sources, size)


def _part_folders(root, shown_as):
    """Return the folder of each split. A folder without split folders is all training."""
    there = [name for name in _PARTS if (root / name).is_dir()]
    if "train" in there:
        if {"validation", "val"} <= set(there):
            raise refusal("data", f"a folder with one of validation and val; {root} has both", shown_as)
        return {_PARTS[name]: root / name for name in there}
    names = _class_names(root)
    if names and all(name.lower() in _LIKE_PARTS for name in names):
        allowed = "a folder with a subfolder for each class, or with splits named train, validation (or val) and test"
        raise refusal("data", f"{allowed}; {root} has {', '.join(names)}", shown_as)
    return {"train": root}


def _class_names(folder):
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))


def _files(folder, class_names, shown_as, skipped):
    """Return paths and labels of a split, sorted by name. Other files are counted in `skipped`, by reason."""
    strangers = sorted(set(_class_names(folder)) - set(class_names))
    if strangers:
        raise refusal(
            "data", f"a folder with the training classes in all splits; {folder} also has {strangers[0]!r}", shown_as
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
    """Return why a file is not an image of a class; `None` if it is one."""
    if any(part.startswith(".") for part in file.parts):
        return "hidden"
    if not inside_class:
        return "in no class"
    if file.suffix.lower() not in suffixes():
        return file.suffix.lower() or "no suffix"
    return None


def _walk(folder):
    """Yield all files in a folder tree. Links to folders are followed unless they lead back to a parent folder."""
    for directory, names, files in os.walk(folder, onerror=_fail, followlinks=True):
        names[:] = [name for name in names if not _leads_back(directory, name)]
        yield from (Path(directory, file) for file in files)


def _fail(error):
    raise error


def _leads_back(directory, name):
    path = os.path.join(directory, name)
    return os.path.islink(path) and Path(os.path.realpath(directory)).is_relative_to(os.path.realpath(path))


def _count(root, folders):
    """Return the number of files in a folder tree, outside some of its folders."""
    return sum(not any(file.is_relative_to(folder) for folder in folders) for file in _walk(root))


def _say_skipped(skipped, shown_as):
    counts = sorted(skipped.items(), key=lambda row: (-row[1], row[0]))
    reasons = [f"{count:,} {reason}" for reason, count in counts if count]
    if reasons:
        number = skipped.total()
        files = "1 file is" if number == 1 else f"{number:,} files are"
        _log.warning("Of %s %s skipped: %s", shown_as, files, splits.some(reasons))


def _look(files, shown_as, most_bad):
    """Return the headers of the images of each split, and the files without unreadable ones.

    Args:
        files: Dictionary from the names of splits to paths and labels.
        shown_as: String, the value of `data`.
        most_bad: Integer, number of unreadable files that may be skipped.
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
    """Return the common shape of all images; height and width are `None` if they differ."""
    sizes = {look.size for look in looks}
    width, height = sizes.pop() if len(sizes) == 1 else (None, None)
    return height, width, 1 if all(look.is_gray for look in looks) else 3


def _header(path):
    """Return the header of an image, or an error if it cannot be read."""
    try:
        return look(path)
    except (ValueError, FileNotFoundError) as error:
        return ValueError(error)


def _decoder(channels):
    """Return a function that decodes the bytes of a file inside `tf.data`, given also its path.

    It uses Pillow, which reads more formats than TensorFlow, and names the file if it cannot be read.
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
