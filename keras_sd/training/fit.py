"""Training a model by a configuration, into a folder."""

import dataclasses
import math
import time

import keras

from keras_sd.training.callbacks import BestWeights, HistoryFile, of_config
from keras_sd.training.compiling import compile_model
from keras_sd.training.curves import draw_curves
from keras_sd.training.folder import environment
from keras_sd.training.testing import accuracies, limited, steps_of


def train(model, dataset, config, folder, callbacks=()):
    """Trains a model and leaves a complete run folder.

    The test accuracy to report is that of the weights with the best validation accuracy, as Huang et al.
    2016, section 4, chose their models; that of the last weights is recorded beside it.

    Args:
        model: A `keras.Model` that returns class probabilities.
        dataset: A `keras_sd.data.Dataset`.
        config: A `TrainConfig`.
        folder: A `RunFolder` just created.
        callbacks: Further Keras callbacks, such as `Lines()` or `Bar()`.

    Returns:
        The results as a dictionary, as in `results.json`. Its `status` is "complete", "interrupted" (by
        Ctrl-C: the folder then holds everything but test accuracies) or "diverged" (the loss became NaN).
    """
    steps = steps_of(dataset, config)
    compile_model(model, config, config.epochs * steps)
    folder.write(
        folder.config,
        {
            "config": dataclasses.asdict(config),
            "dataset": dataset.describe(),
            "environment": environment(),
            "parameters": model.count_params(),
        },
    )
    best = BestWeights(folder.best_weights)
    own = [*of_config(config), HistoryFile(folder.history, config.batch_size), best, keras.callbacks.TerminateOnNaN()]
    start = time.perf_counter()
    try:
        history = model.fit(
            dataset.training_batches(config.batch_size, config.seed, **config.augmentations),
            epochs=config.epochs,
            steps_per_epoch=steps,
            validation_data=limited(dataset.batches("validation"), config.steps_per_epoch),
            callbacks=[*own, *callbacks],
            shuffle=False,  # the batches are shuffled; without this Keras warns that it does not
            verbose=0,
        )
        status = "complete" if math.isfinite(history.history["loss"][-1]) else "diverged"
    except KeyboardInterrupt:
        status = "interrupted"
    results = {"status": status, "train_seconds": round(time.perf_counter() - start, 2)}
    if best.epoch:
        results |= {"best_epoch": best.epoch, "validation_accuracy": best.accuracy}
    return _finish(model, dataset, config, folder, results)


def _finish(model, dataset, config, folder, results):
    """Saves the model as it stands, draws the curves, tests both sets of weights of a complete run."""
    model.save(folder.model)
    title = f"{config.model} on {config.data}, survival probability {config.survival_probability:g}"
    if results["status"] == "complete":
        results |= accuracies(model, dataset, config, folder)
        title += f": test accuracy {results['test_accuracy']:.4f}"
    if folder.history.exists():
        draw_curves(folder.history, folder.curves, title)
    folder.write(folder.results, results)
    return results
