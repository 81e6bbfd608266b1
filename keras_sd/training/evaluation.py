"""Evaluation of a run's weights: the last, the best on validation, averaged, recalibrated."""

import itertools
from typing import Any

import keras

from keras_sd.training.averaging import averaged, recalibrate
from keras_sd.training.config import TrainConfig
from keras_sd.training.run_folder import RunFolder
from keras_sd.utils.checks import check_type
from keras_sd.utils.files import save_atomically


def evaluate(model: keras.Model, dataset: Any, part: str = "test", steps: int | None = None) -> dict[str, float]:
    """Return loss and accuracy of a compiled model on a split of a data set, a dictionary of floats.

    Args:
        model: A compiled `keras.Model`.
        dataset: A `keras_sd.data.Dataset`.
        part: "train", "validation" or "test".
        steps: Integer, number of batches; `None` for all.

    Raises:
        TypeError: The model is not a Keras model.
    """
    check_type("model", model, keras.Model, "a Keras model")
    return model.evaluate(limited(dataset.batches(part), steps), verbose=0, return_dict=True)


def limited(batches: Any, steps: int | None) -> Any:
    """Return the first `steps` batches of a `tf.data.Dataset`, or all of them."""
    return batches if steps is None else batches.take(steps)


def recalibrate_by(model: keras.Model, dataset: Any, config: TrainConfig) -> int:
    """Recalibrate batch normalization on one epoch of a run's training batches, without mixup and cutmix."""
    mixing = ("mixup", "cutmix")
    augmentations = {name: value for name, value in config.augmentations.items() if name not in mixing}
    # Of several processes, each computes the statistics of whole batches: `predict_on_batch` has no others.
    dataset = getattr(dataset, "unsplit", dataset)
    batches = dataset.training_batches(config.batch_size, config.seed, **augmentations)
    return recalibrate(model, itertools.islice(batches, steps_of(dataset, config)))


def steps_of(dataset: Any, config: TrainConfig) -> int:
    """Return the number of steps in an epoch."""
    steps = dataset.steps_per_epoch(config.batch_size)
    return min(steps, config.steps_per_epoch or steps)


def accuracies(model: keras.Model, dataset: Any, config: TrainConfig, folder: RunFolder) -> dict[str, float]:
    """Test all weights of a complete run that its configuration requests.

    Args:
        model: The compiled model with its last weights; afterwards it has the best on validation.
        dataset: A `keras_sd.data.Dataset`.
        config: A `TrainConfig`.
        folder: The `RunFolder`, to which the averaged weights are saved.

    Returns:
        A dictionary, part of `results.json`: `test_accuracy` of the best weights and `test_accuracy_final` of the
        last; `test_accuracy_ema` of the averaged ones with `ema_momentum`; with `recalibrate` also
        `test_accuracy_recalibrated` (of the last) and `test_accuracy_ema_recalibrated`. Only the first was
        selected on validation.
    """

    def test():
        return evaluate(model, dataset, steps=config.steps_per_epoch)["accuracy"]

    found = {"test_accuracy_final": test()}
    if config.ema_momentum is not None:
        with averaged(model):
            found["test_accuracy_ema"] = test()
            if config.recalibrate:
                recalibrate_by(model, dataset, config)
                found["test_accuracy_ema_recalibrated"] = test()
            save_atomically(model.save_weights, folder.ema_weights)
    if config.recalibrate:
        recalibrate_by(model, dataset, config)
        found["test_accuracy_recalibrated"] = test()
    model.load_weights(folder.best_weights)
    return found | {"test_accuracy": test()}
