"""Trained networks to study, and data as they need it: of a run, or with published weights."""

import dataclasses
import functools
from dataclasses import dataclass

import keras
import numpy as np

from keras_sd import applications, data, preprocessing, training
from keras_sd.studies.cache import weights_digest


@dataclass(frozen=True)
class Subject:
    """A trained network, and the data that it was trained for.

    Attributes:
        label: How figures call it.
        model: A `keras.Model` that returns probabilities.
        dataset: A data set, normalised as the model needs it.
    """

    label: str
    model: keras.Model
    dataset: data.Dataset

    @functools.cached_property
    def digest(self):
        """Tells this network from all others, weights included."""
        return weights_digest(self.model)

    def examples(self, part="test", count=None):
        """The first normalised images of a part and their labels, as arrays; `None` for all."""
        return examples(self.dataset, part, count)


def examples(dataset, part="test", count=None):
    """The first normalised images of a part of a data set and their labels, as arrays; `None` for all."""
    batches = dataset.batches(part).unbatch()
    batches = batches if count is None else batches.take(count)
    pairs = [(x.numpy(), y.numpy()) for x, y in batches.batch(1024)]
    return tuple(np.concatenate(column) for column in zip(*pairs))


def of_run(path, data_dir=None):
    """The network of a run with its best weights, on the run's data."""
    folder = training.RunFolder.open(path)
    record = folder.read(folder.config)
    if "config" not in record or not folder.model.exists():
        raise ValueError(f"run is {str(path)!r}, which holds no trained model; name the folder of a run that has ended")
    config = training.TrainConfig.from_dict(record["config"])
    size = {} if config.image_size is None else {"image_size": config.image_size}
    dataset = data.load(config.data, data_dir or config.data_dir, **size)
    model = keras.saving.load_model(folder.model)
    if folder.best_weights.exists():
        model.load_weights(folder.best_weights)
    return Subject(_label(config), model, dataset)


def _label(config):
    depth = config.model_arguments.get("depth", "")
    survival = "" if config.survival_probability == 1 else f", p {config.survival_probability:g}"
    return f"{config.model}{depth}{survival}"


def of_weights(name, weights, data_name, data_dir=None):
    """A network with published weights, and a data set normalised as those need it."""
    name = applications.find(name).name
    how = preprocessing.for_weights(name, weights).preprocessing
    dataset = data.load(data_name, data_dir)
    model = applications.get_model(name, weights=weights)
    if (dataset.input_shape, dataset.num_classes) != (model.input_shape[1:], model.output_shape[-1]):
        raise ValueError(
            f"data is {data_name!r}, with images of {dataset.input_shape} and {dataset.num_classes} classes; it must "
            f"have {model.input_shape[1:]} and {model.output_shape[-1]} for {name} with weights {weights!r}"
        )
    unit = 255 / dataset.white * how.scale  # of a stored pixel, in the units of the weights' mean
    dataset = dataclasses.replace(dataset, mean=tuple(m / unit for m in how.mean), std=tuple(s / unit for s in how.std))
    return Subject(f"{name} ({weights.rpartition('/')[2]})", model, dataset)


def build(config, dataset):
    """The untrained network of a configuration; sets Keras's dtype policy and seed."""
    keras.config.set_dtype_policy(config.policy)
    keras.utils.set_random_seed(config.seed)
    arguments = {"weights": None, "input_shape": dataset.input_shape, "classes": dataset.num_classes}
    if config.survival_probability < 1:
        names = ("survival_probability", "survival_schedule", "seed")
        arguments |= {name: getattr(config, name) for name in names}
    return applications.get_model(config.model, **arguments, **config.model_arguments)
