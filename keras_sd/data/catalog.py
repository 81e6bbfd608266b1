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
            Sets of more than 2 GiB of pixels are read when needed.
        data_dir: Directory of TensorFlow Datasets, for its sets. Existing data is used; missing data is downloaded.
            Defaults to `~/tensorflow_datasets`.
        image_size: Integer, height and width that images are resized to (the longer side is cropped); `None` for the
            size of the images.
        training_images: Integer, number of training images to keep, the same number of each class; `None` for all.
            Validation and test images are unchanged.
        test_image_size: Integer, height and width of validation and test images; `None` for those of training.
        test_crop: Float in (0, 1], side of the center crop used for testing, as a fraction; `None` for the set's
            default.
        max_bad_files: Integer, number of unreadable files in a folder that may be skipped; the log names them.

    Returns:
        A `Dataset`, or a `StreamingDataset` if it is large.

    Raises:
        ValueError: If the name is unknown, or the data is not suitable for training.
        TypeError: If the name is not a string, or the directory is not a path.
        FileNotFoundError: If the data is not in the directory and cannot be downloaded.
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
            raise refusal("data", f"one of {', '.join(DATASETS)}, or have one of the forms {forms}", name)
        return FORMS[form][1](rest, data_dir, reading)
    name = names.data_name(name)
    if name not in DATASETS:
        raise unknown("data", name, [*DATASETS, *names.SHORT_DATA])
    return DATASETS[name](name, data_dir, reading)


def _digits(name, data_dir, reading):
    """Load the scanned digits of scikit-learn (Alpaydin and Kaynak 1998): 1,797 images of 8x8 pixels."""
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
    """Load ImageNet. The test split is the published validation split, which has labels, with a 7/8 center crop."""
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


# Validation splits have the sizes of Huang et al. 2016, section 4, where they select the models. There, images are
# shifted by up to 4 pixels, and those of SVHN are not augmented.
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
