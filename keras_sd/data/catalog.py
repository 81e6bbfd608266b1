"""The table of data sets, and loading by name."""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

from keras_sd.data import image_folder, npz, splits, tfds
from keras_sd.data.dataset import ImageSet, Part
from keras_sd.utils import names
from keras_sd.utils.checks import check_integer, check_number, check_type, refusal
from keras_sd.utils.names import unknown

MOST_PIXELS = 65_536  # along a side of an image


def load(
    name: str,
    data_dir: str | os.PathLike | None = None,
    image_size: int | None = None,
    training_images: int | None = None,
    test_image_size: int | None = None,
    test_crop: float | None = None,
    max_bad_files: int = 0,
) -> ImageSet:
    """Load a data set.

    Args:
        name: A name of `DATASETS`, or one of three forms:
            `tfds:NAME`, any classification set of TensorFlow Datasets;
            `folder:PATH`, images by class (`PATH/CLASS/*.png` or `PATH/PART/CLASS/*.png`, and below);
            `npz:PATH`, a NumPy file of the arrays `x_train`, `y_train`, `x_test`, `y_test`.
            Sets of more than 2 GiB of pixels are read as they are needed.
        data_dir: Directory of TensorFlow Datasets, for sets that come from there. What is in it is used as it
            is; what is not, is downloaded into it. Defaults to `~/tensorflow_datasets`.
        image_size: Integer, height and width that images are resized to (what is left at the edges of the longer
            side is cut); `None` for that of the images.
        training_images: Integer, how many training images to keep, equally many of each class; `None` for all.
            Validation and test images stay as they are.
        test_image_size: Integer, height and width of validation and test images; `None` for those of training.
        test_crop: Float in (0, 1], the side of the middle part of an image that is tested on; `None` for the set's own.
        max_bad_files: Integer, files of a folder that may be skipped since they cannot be read; the log names them.

    Returns:
        A `Dataset`, or a `StreamingDataset` if it is large.

    Raises:
        ValueError: for an unknown name, or data that cannot be learned from.
        TypeError: for a name or directory that is no string or path.
        FileNotFoundError: where the data is neither in the directory nor to be downloaded.
    """
    check_type("name", name, str, "a string")
    if data_dir is not None:
        check_type("data_dir", data_dir, str | os.PathLike, "a path or None")
    if image_size is not None:
        image_size = check_integer("image_size", image_size, maximum=MOST_PIXELS)
    if test_image_size is not None:
        check_integer("test_image_size", test_image_size, maximum=MOST_PIXELS)
    if test_crop is not None:
        check_number("test_crop", test_crop, "None or a number in (0, 1]", lambda number: 0 < number <= 1)
    check_integer("max_bad_files", max_bad_files, 0)
    reading = splits.Reading(image_size, test_image_size, test_crop, max_bad_files)
    loaded = splits.tested_otherwise(_load(name, data_dir, reading), reading)
    return loaded if training_images is None else splits.with_training_images(loaded, training_images)


def _load(name, data_dir, reading):
    form, colon, rest = name.partition(":")
    if colon:
        if form not in FORMS or not rest:
            forms = ", ".join(f"{form}:{what}" for form, (what, _) in FORMS.items())
            raise refusal("data", f"one of {', '.join(DATASETS)}, or have a form of {forms}", name)
        return FORMS[form][1](rest, data_dir, reading)
    name = names.data_name(name)
    if name not in DATASETS:
        raise unknown("data", name, [*DATASETS, *names.SHORT_DATA])
    return DATASETS[name](name, data_dir, reading)


def _digits(name, data_dir, reading):
    """Scanned digits that come with scikit-learn (Alpaydin and Kaynak 1998): 1,797 of 8x8 pixels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    part = Part(digits.images[..., None].astype("uint8"), digits.target.astype("int32"))
    settings = {"augmentation": ("shift",), "shift": 1, "white": 16}
    held_out = {"test": 36, "validation": 18}
    return splits.from_parts(name, map(str, digits.target_names), {"train": part}, held_out, reading, **settings)


def _tfds(name, data_dir, reading):
    return tfds.any_set(name, data_dir, reading, shown_as=f"tfds:{name}")


def _folder(path, data_dir, reading):
    return image_folder.load(path, reading, f"folder:{path}")


def _npz(path, data_dir, reading):
    return npz.load(path, reading, f"npz:{path}")


def _imagenet(name, data_dir, reading):
    """ImageNet; tested on the published validation part, whose answers are known, in the middle 7/8 of an image."""
    return tfds.any_set(
        name,
        data_dir,
        dataclasses.replace(reading, image_size=reading.image_size or 224),
        test="validation",
        crop=0.875,
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        augmentation=("inception_crop",),
    )


# Parts held out for validation are those of Huang et al. 2016, section 4, by which the paper chose its models; images
# are moved by up to 4 pixels there, and those of SVHN are not augmented.
_CIFAR: dict[str, Any] = {"augmentation": ("shift_flip",), "shift": 4}
_SVHN: dict[str, Any] = {"augmentation": (), "shift": 4}
DATASETS: dict[str, Callable] = {
    "digits": _digits,
    "cifar10": functools.partial(tfds.published, held_out={"train": 500}, **_CIFAR),
    "cifar100": functools.partial(tfds.published, held_out={"train": 50}, **_CIFAR),
    "svhn_cropped": functools.partial(tfds.published, held_out={"train": 400, "extra": 200}, **_SVHN),
    "imagenet2012": _imagenet,
}
FORMS = {"tfds": ("NAME", _tfds), "folder": ("PATH", _folder), "npz": ("PATH", _npz)}
