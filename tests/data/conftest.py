"""Tiny data sets on disk, as users have them."""

import contextlib
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_sd.data import splits


@pytest.fixture
def store_tfds(tmp_path):
    """Stores a set for TensorFlow Datasets in a temporary directory, which is returned.

    `store(name, {"train": (images, labels), ...}, class_names, shape)`: `shape` is that of the feature, the images' own
    unless given.
    """

    def store(name, splits, class_names, shape=None, version="1.0.0", label="label"):
        import tensorflow_datasets as tfds

        shape = shape or next(iter(splits.values()))[0].shape[1:]
        features = {"image": tfds.features.Image(shape=shape), label: tfds.features.ClassLabel(names=class_names)}
        sets = {
            part: tf.data.Dataset.from_tensor_slices({"image": images, label: labels})
            for part, (images, labels) in splits.items()
        }
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            tfds.dataset_builders.store_as_tfds_dataset(
                name=name,
                version=version,
                data_dir=tmp_path,
                split_datasets=sets,
                features=tfds.features.FeaturesDict(features),
            )
        return tmp_path

    return store


@pytest.fixture
def noise():
    """`noise(count, height, width, channels=3, classes=3)`: images that all differ, and labels that take turns."""

    def make(count, height=6, width=6, channels=3, classes=3):
        generator = np.random.default_rng(count)
        images = generator.integers(0, 256, (count, height, width, channels), "uint8")
        return images, np.arange(count) % classes

    return make


@pytest.fixture
def store_folder(tmp_path):
    """`store(path, counts, size)`: PNGs below `tmp_path / path / CLASS`, so many of each class; returns the folder."""

    def store(path, counts, size=(6, 6), mode="RGB", suffix=".png"):
        generator = np.random.default_rng(list(path.encode()))  # images of two folders differ
        for name, count in counts.items():
            folder = tmp_path / path / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (*size, 3), "uint8")
                Image.fromarray(pixels).convert(mode).save(folder / f"{number:03}{suffix}")
        return tmp_path / path

    return store


@pytest.fixture
def all_stream(monkeypatch):
    """No set is small enough for memory."""
    monkeypatch.setattr(splits, "IN_MEMORY_BYTES", 0)
