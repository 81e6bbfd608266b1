"""Networks with their data: untrained from a configuration, trained from a run, or with published weights."""

import dataclasses
import os
from typing import Any

import keras

from keras_sd import applications, data, training
from keras_sd.applications._registry import factory
from keras_sd.data.augmentation import chosen
from keras_sd.data.dataset import ImageSet
from keras_sd.models.finetune import replace_head
from keras_sd.models.specs import ResNetSpec, can_drop_blocks
from keras_sd.training.overrides import Overrides
from keras_sd.training.recipes import ANY_FOLDER
from keras_sd.utils.aliases import Shape
from keras_sd.utils.checks import check_integer, refusal
from keras_sd.weights import Preprocessing, preprocessing, resolve

RUN_WEIGHTS = ("best", "final", "ema")
# Arguments of a factory that follow from the data set.
_OF_DATA = ("include_top", "input_tensor", "input_shape", "classes", "pooling")


def identify(name: str) -> tuple[str, bool]:
    """Return the canonical name of a model or of a constructor for any size, and whether its blocks can be dropped.

    Raises:
        ValueError: The name is unknown; the nearest names are given.
    """
    name = factory(name).name
    row = applications.MODELS.get(name)
    return name, name != "PlainNet" if row is None else can_drop_blocks(row.spec)


def given_settings(asked: Overrides) -> dict[str, Any]:
    """Return the settings given in `Overrides`, with the canonical name of the model."""
    given = asked.given
    return given | {"model": identify(given["model"])[0]} if "model" in given else given


def configure(asked: Overrides) -> training.TrainConfig:
    """Return the `TrainConfig` of the given settings; others follow the model's needs, then the recipe.

    Args:
        asked: `keras_sd.training.overrides.Overrides`.

    Raises:
        ValueError: A name is unknown, or a value is not allowed.
    """
    file, fields = dict(asked.file), asked.fields
    if (model := asked.given.get("model")) is not None:
        name, can_drop = identify(model)
        fields["model"] = name
        if not can_drop:
            file.setdefault("survival_probability", 1.0)
        row = applications.MODELS.get(name)
        if row and row.classifier_activation != "softmax":  # threshold units have no probabilities
            file.setdefault("loss", "keras_sd>perceptron_loss")
    config = training.resolve(is_smoke=asked.smoke, values=file, settings=asked.settings, **fields)
    if config.augmentation is not None:
        chosen(config.augmentation)  # raises on unknown names
    return _as_weights_need(config)


def _as_weights_need(config):
    """Return a configuration with the image size and scaling of its weights, if these are known."""
    if config.model_arguments.get("weights") is None:
        return config
    name, arguments = identify(config.model)[0], config.model_arguments
    source = resolve(name, arguments["weights"])
    row, changes = source.row, dict[str, Any]()
    if row is not None and "survival_probability" not in row.arguments and "scaling" in factory(name).keywords:
        # Weights of constant depth: branches must have their full weight in evaluation.
        changes["model_arguments"] = {"scaling": "training", **arguments}
    if config.preprocessing == "weights" and (how := source.preprocessing()) is None:
        changes["preprocessing"] = "data"
    elif config.preprocessing == "weights":
        changes["image_size"] = config.image_size or how.size
    return dataclasses.replace(config, **changes)


def work(model: str, batch_size: int, image_size: int | None = None) -> int | None:
    """Return how many numbers a batch has after the stem of a network of equal blocks; `None` for other networks.

    Args:
        model: Name of the model.
        batch_size: Images in a batch.
        image_size: Height and width of images; `None` for the model's default.
    """
    row = applications.MODELS.get(identify(model)[0])
    if row is None or not isinstance(row.spec, ResNetSpec):
        return None
    side = (image_size or row.input_shape[0]) // row.spec.stem_stride
    return batch_size * side**2 * row.spec.filters[0]


def load_data(config: training.TrainConfig, data_dir: str | os.PathLike | None = None) -> ImageSet:
    """Return the data set of a configuration, normalized as configured.

    Args:
        config: A `TrainConfig`.
        data_dir: Directory of TensorFlow Datasets; `None` for the configuration's.

    Raises:
        ValueError: As `keras_sd.data.load`.
    """
    if config.data == ANY_FOLDER:
        raise refusal("data", f"given with the recipe {config.recipe!r}: folder:PATH, or another data set", None)
    dataset = data.load(
        config.data,
        data_dir or config.data_dir,
        config.image_size,
        config.training_images,
        config.test_image_size,
        config.test_crop,
        config.max_bad_files,
    )
    if config.preprocessing != "weights":
        return dataset
    how = preprocessing.for_weights(identify(config.model)[0], config.model_arguments["weights"]).preprocessing
    return _normalized(dataset, how)


def _normalized(dataset, how):
    """Return a data set with the mean and standard deviation of a `Preprocessing`, in units of stored pixels.

    Images are RGB or gray: for gray images, the values of the channels are averaged.
    """
    unit, channels = 255 / dataset.white * how.scale, dataset.input_shape[-1]
    mean, std = (_for_each_channel(values, channels, how) for values in (how.mean, how.std))
    return dataclasses.replace(dataset, mean=tuple(m / unit for m in mean), std=tuple(s / unit for s in std))


def _for_each_channel(values, channels, how):
    if len(values) == 1:
        return values * channels
    values = values[::-1] if how.channels == "BGR" else values
    return values if channels == len(values) else (sum(values) / len(values),) * channels


def _take_rgb(model, how):
    """Reverse the input channels of the first convolution if the weights expect BGR: data sets are RGB."""
    if how is None or how.channels != "BGR" or model.input_shape[-1] != 3:
        return
    kernel = next(weight for weight in model.weights if len(weight.shape) == 4)
    kernel.assign(keras.ops.flip(kernel, 2))


def build(config: training.TrainConfig, dataset: ImageSet) -> keras.Model:
    """Return the untrained network of a configuration, for the images and classes of a data set.

    Args:
        config: A `TrainConfig`.
        dataset: A `Dataset`.

    Returns:
        A `keras.Model`, built under the configuration's dtype policy and seed, which are set globally in Keras.

    Raises:
        ValueError: The model refuses an argument.
    """
    for name in _OF_DATA:
        if name in config.model_arguments:
            raise refusal(f"model_arguments.{name}", "left out: the data set decides it", config.model_arguments[name])
    keras.config.set_dtype_policy(config.policy)
    keras.utils.set_random_seed(config.seed)
    return make(config, dataset.model_shape, dataset.num_classes)


def make(config: training.TrainConfig, input_shape: Shape, classes: int) -> keras.Model:
    """Return the untrained network of a configuration for images of a shape, under Keras's current settings.

    Raises:
        ValueError: The model refuses an argument.
    """
    can_drop = identify(config.model)[1]
    if not can_drop and config.survival_probability != 1:
        allowed = f"1 for {config.model}, whose blocks cannot be dropped"
        raise refusal("survival_probability", allowed, config.survival_probability)
    arguments = {"input_shape": tuple(input_shape), "classes": classes, **config.factory_arguments(can_drop)}
    try:
        model = applications.get_model(config.model, **arguments)
    except TypeError as error:  # an argument that this model does not have
        raise ValueError(f"`model_arguments`: {error}. Received: {config.model_arguments!r}") from error
    if config.model_arguments.get("weights") is not None:
        _take_rgb(model, resolve(identify(config.model)[0], config.model_arguments["weights"]).preprocessing())
    if config.new_head:
        head = model.layers[-1]
        activation = getattr(head, "activation", None)
        model = replace_head(model, classes, activation)
    return model


def of_run(
    path: str | os.PathLike,
    weights: str = "best",
    data_name: str | None = None,
    data_dir: str | os.PathLike | None = None,
    image_size: int | None = None,
) -> tuple[keras.Model, ImageSet]:
    """Return the network of a run, and data normalized as in the run.

    Args:
        path: Folder of the run.
        weights: "best" (on validation), "final", or "ema" (the average).
        data_name: Name of a data set; `None` for the run's.
        data_dir: Directory of TensorFlow Datasets; `None` for the run's.
        image_size: Integer, height and width that images are resized to; `None` for the run's.

    Returns:
        A compiled `keras.Model` and a `Dataset`.

    Raises:
        ValueError: The run has no such weights, or the data set has other images or classes than the run's.
        FileNotFoundError: There is no run.
    """
    folder, file = _of_ended(path, weights)
    # The statistics are those that the run recorded, whatever their source.
    config, stored = dataclasses.replace(folder.train_config(), preprocessing="data"), folder.dataset_record()
    shape = tuple(stored["input_shape"])
    if image_size is not None:
        config = dataclasses.replace(config, image_size=image_size)
    if data_name is not None:
        size = config.image_size or _size_to_read(data_name, shape)
        config = dataclasses.replace(config, data=data_name, image_size=size, training_images=None)
    dataset = load_data(config, data_dir)
    _check_fit(dataset, shape, len(stored["class_names"]), "the run had")
    return folder.load_model(file), dataclasses.replace(dataset, mean=tuple(stored["mean"]), std=tuple(stored["std"]))


def trained(path: str | os.PathLike, weights: str = "best") -> tuple[keras.Model, dict[str, Any]]:
    """Return the network of a run and its record of the data set. Arguments and errors are as in `of_run`."""
    folder, file = _of_ended(path, weights)
    return folder.load_model(file), folder.dataset_record()


def preprocessing_of(dataset: dict[str, Any]) -> Preprocessing:
    """Return the `Preprocessing` of a run's network, from the run's record of its data set."""
    size, _, channels = dataset["input_shape"]
    return Preprocessing(
        size=size,
        interpolation=None,
        channels="L" if channels == 1 else "RGB",
        scale=dataset["white"] / 255,  # statistics are in units of stored pixels
        mean=tuple(dataset["mean"]),
        std=tuple(dataset["std"]),
    )


def _of_ended(path, weights):
    """Return the folder of a run and the file of its weights; `None` for the final ones, which its model has."""
    folder = training.RunFolder.open(path)
    if weights not in RUN_WEIGHTS:
        raise refusal("weights", f"one of {', '.join(RUN_WEIGHTS)} of a run", weights)
    folder.train_config()  # raises on other kinds of folders
    return folder, _weights_file(folder, weights)


def _weights_file(folder, weights):
    """Return the file of a run's weights; `None` for the final ones, which its model has."""
    if not folder.model.exists():
        raise refusal("run", "the folder of a run that has ended; this one contains no trained model", str(folder))
    if weights == "ema" and not folder.ema_weights.exists():
        allowed = f"'best' or 'final': {folder} has no average; train with --set ema_momentum=0.999"
        raise refusal("weights", allowed, weights)
    if weights == "best" and not folder.best_weights.exists():
        raise refusal("weights", f"'final' for {folder}: no epoch has ended", weights)
    return {"best": folder.best_weights, "final": None, "ema": folder.ema_weights}[weights]


def of_weights(
    name: str,
    weights: str | os.PathLike,
    data_name: str,
    data_dir: str | os.PathLike | None = None,
    image_size: int | None = None,
    prepared: Preprocessing | None = None,
) -> tuple[keras.Model, ImageSet]:
    """Return a network with published weights or weights from a file, and data normalized for them.

    Args:
        name: Name of a model, or of a constructor whose network was exported.
        weights: As the model's factory takes them.
        data_name: Name of a data set.
        data_dir: Directory of TensorFlow Datasets; `None` for its own.
        image_size: Integer, height and width that the network is built for and images are resized to; `None` for the
            network's own.
        prepared: `Preprocessing` of the images; `None` for that of the weights.

    Returns:
        A `keras.Model`, not compiled, and a `Dataset`.

    Raises:
        ValueError: The name is unknown, the normalization of the weights is unknown, or the data set has other images
            or classes than the network.
    """
    name, _ = identify(name)
    how = prepared or preprocessing.for_weights(name, weights).preprocessing
    shape = {}
    if image_size is not None:
        channels = 1 if how.channels == "L" else 3
        shape["input_shape"] = (check_integer("image_size", image_size), image_size, channels)
    model = applications.get_model(name, weights=weights, **shape)
    dataset = data.load(data_name, data_dir, image_size or _size_to_read(data_name, model.input_shape[1:]))
    _check_fit(dataset, model.input_shape[1:], model.output_shape[-1], "the weights need")
    _take_rgb(model, how)
    return model, _normalized(dataset, how)


def _size_to_read(data_name, shape):
    """Return the size of a network's square input for data with images of any size; `None` for other data."""
    return shape[0] if data_name.startswith(("folder:", "tfds:")) and shape[0] == shape[1] else None


def _check_fit(dataset, shape, classes, whose):
    if (dataset.input_shape, dataset.num_classes) != (shape, classes):
        allowed = f"a set with images of {shape} and {classes} classes, as {whose}"
        raise refusal("data", f"{allowed}; it has {dataset.input_shape} and {dataset.num_classes}", dataset.name)
