"""Trained networks to study, from a run or with published weights, and their data."""

import functools
import os
from dataclasses import dataclass

import keras
import numpy as np

from keras_sd import training
from keras_sd.data.dataset import ImageSet
from keras_sd.runs import networks
from keras_sd.studies.result_cache import weights_digest


@dataclass(frozen=True)
class Subject:
    """A trained network and its data.

    Attributes:
        label: Name in figures.
        model: A `keras.Model` that returns probabilities.
        dataset: A data set, normalized as the model needs it.
    """

    label: str
    model: keras.Model
    dataset: ImageSet

    @functools.cached_property
    def digest(self) -> str:
        """Digest of the network, including its weights."""
        return weights_digest(self.model)

    def examples(self, part: str = "test", count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the first normalized images of a split and their labels, as arrays; `None` for all."""
        return examples(self.dataset, part, count)


def examples(dataset: ImageSet, part: str = "test", count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the first normalized images of a data set's split and their labels, as arrays; `None` for all."""
    batches = dataset.batches(part).unbatch()
    batches = batches if count is None else batches.take(count)
    pairs = [(x.numpy(), y.numpy()) for x, y in batches.batch(1024)]
    images, labels = (np.concatenate(column) for column in zip(*pairs))
    return images, labels


def of_run(path: str | os.PathLike, data_dir: str | os.PathLike | None = None) -> Subject:
    """Return the network of a run with its best weights, and the run's data."""
    model, dataset = networks.of_run(path, data_dir=data_dir)
    return Subject(_label(training.RunFolder(path).train_config()), model, dataset)


def _label(config):
    depth = config.model_arguments.get("depth", "")
    if config.survival_probability == 1:
        return f"{config.model}{depth}"
    uniform = " uniform" if config.survival_schedule == "uniform" else ""
    return f"{config.model}{depth}, p {config.survival_probability:g}{uniform}"


def of_weights(name: str, weights: str, data_name: str, data_dir: str | os.PathLike | None = None) -> Subject:
    """Return a network with published weights, and a data set normalized for them."""
    model, dataset = networks.of_weights(name, weights, data_name, data_dir)
    return Subject(f"{networks.identify(name)[0]} ({weights.rpartition('/')[2]})", model, dataset)
