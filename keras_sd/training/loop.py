"""Training a model by a configuration, into a folder."""

import dataclasses
from pathlib import Path

from keras_sd.backend import enable_determinism
from keras_sd.training.callbacks import BestWeights, HistoryFile, of_config
from keras_sd.training.checkpoint import Checkpoints, restore
from keras_sd.training.compiling import compile_model
from keras_sd.training.curves import draw_curves
from keras_sd.training.divergence import Diverged, StopWhereNotFinite, locate
from keras_sd.training.evaluation import accuracies, limited, steps_of
from keras_sd.training.interruption import Preempted, noticing
from keras_sd.training.resume import Progress, Saving
from keras_sd.training.run_folder import environment
from keras_sd.utils.checks import check_integer, refusal
from keras_sd.utils.files import sha256

OVER = ("complete", "diverged")  # how a run ends that cannot be resumed


def train(model, dataset, config, folder, callbacks=(), resume=False, checkpoint_steps=1000, keep=2):
    """Trains a model and leaves a complete run folder.

    The test accuracy to report is that of the weights with the best validation accuracy, as Huang et al.
    2016, section 4, chose their models; that of the last weights is recorded beside it.

    Checkpoints are saved after each epoch and every `checkpoint_steps` steps. Whenever the process is killed,
    `resume=True` goes on from the newest one, on CPU with `deterministic` to the bits that it would have come to.

    Args:
        model: A `keras.Model` that returns class probabilities, new, as it is for the configuration's seed.
        dataset: A `keras_sd.data.Dataset`.
        config: A `TrainConfig`.
        folder: A `RunFolder` just created, or that of the run to resume.
        callbacks: Further Keras callbacks, such as `Lines()` or `Bar()`.
        resume: Boolean, whether to go on with the run in the folder. One that is over is left as it is.
        checkpoint_steps: Integer, steps between checkpoints.
        keep: Integer, checkpoints to keep.

    Returns:
        The results as a dictionary, as in `results.json`. Its `status` is "complete"; "interrupted" (by Ctrl-C:
        the folder then holds everything but test accuracies); "preempted" (by SIGTERM: it holds what it takes to
        resume); or "diverged" (loss or weights became NaN or infinite: `diverged_step`, `diverged_in` and a sentence
        say when and where, and the model is that of the last good checkpoint).

    Raises:
        ValueError: where the folder's run has another configuration or data set, or an argument is out of range.
        FileExistsError: where the folder has a run and `resume` is false.
        BlockingIOError: where another process trains in the folder.
    """
    check_integer("checkpoint_steps", checkpoint_steps)
    check_integer("keep", keep)
    with folder.locked():
        if not resume or not folder.config.exists():
            folder.check_free()
            folder.write(folder.config, _record(model, dataset, config))
        folder.check_same(config, dataset)
        _check_initial_weights(folder, config)
        if (results := folder.outcome()).get("status") in OVER:
            return results
        if config.deterministic:
            enable_determinism()
        compile_model(model, config, config.epochs * steps_of(dataset, config))
        model.optimizer.build(model.trainable_variables)
        results = _fit(
            model, dataset, config, folder, callbacks, checkpoint_steps, Checkpoints(folder.checkpoints, keep)
        )
        return _finish(model, dataset, config, folder, results)


def _record(model, dataset, config):
    return {
        "config": dataclasses.asdict(config),
        "dataset": dataset.describe(),
        "environment": environment(),
        "parameters": model.count_params(),
        **({} if (digest := _initial_weights(config)) is None else {"weights_sha256": digest}),
    }


def _initial_weights(config):
    """The SHA-256 of the file of weights that training begins with; `None` for random and for published ones."""
    if config.model_arguments.get("weights") is None:
        return None
    path = Path(str(config.model_arguments["weights"])).expanduser()
    path = path / "model.safetensors" if path.is_dir() else path  # of an exported folder
    return sha256(path) if path.is_file() else None


def _check_initial_weights(folder, config):
    """Refuse to resume from another file of weights than the run began with; one that is gone is no longer needed."""
    recorded, found = folder.read(folder.config).get("weights_sha256"), _initial_weights(config)
    if None not in (recorded, found) and recorded != found:
        raise refusal("model_arguments.weights", f"the file with the SHA-256 {recorded}, as the run has it", found)


def _fit(model, dataset, config, folder, callbacks, checkpoint_steps, checkpoints):
    """Trains from the newest checkpoint, or from the start, to the end, however that comes; returns the results."""
    steps = steps_of(dataset, config)
    best = BestWeights(folder.best_weights)
    progress = Progress(folder, best, steps, checkpoints.newest())
    progress.take_up(model)
    scheduled = of_config(config)
    status = {"status": "complete"}
    try:
        with noticing() as sigterm:
            model.fit(
                _batches(dataset, config, progress.step),
                initial_epoch=progress.epoch,
                epochs=config.epochs,
                steps_per_epoch=steps,
                validation_data=limited(dataset.batches("validation"), config.steps_per_epoch),
                callbacks=[
                    *scheduled,
                    progress,
                    HistoryFile(folder.history, config.batch_size),
                    best,
                    StopWhereNotFinite(progress),
                    *callbacks,
                    Saving(progress, checkpoints, checkpoint_steps, sigterm),
                ],
                shuffle=False,  # the batches are shuffled; without this Keras warns that it does not
                verbose=0,
            )
    except KeyboardInterrupt:
        status = {"status": "interrupted"}
    except Preempted:
        status = {"status": "preempted"}
    except Diverged as error:
        status = {"status": "diverged", **_where(model, dataset, config, checkpoints.newest(), error.step)}
    finally:
        checkpoints.wait()
    for callback in scheduled:
        callback.on_train_end()  # which `fit` leaves out where an exception ended it
    results = {**status, "train_seconds": round(progress.seconds, 2)}
    if best.epoch:
        results |= {"best_epoch": best.epoch, "validation_accuracy": best.accuracy}
    return results


def _batches(dataset, config, first_step):
    return dataset.training_batches(config.batch_size, config.seed, first_step=first_step, **config.augmentations)


def _where(model, dataset, config, good, step):
    """Step, epoch and layer of a divergence, as results; leaves the model as it was at the last good checkpoint."""
    restore(model, good.arrays)
    repeated, where = locate(model, iter(_batches(dataset, config, good.step)), step - good.step)
    restore(model, good.arrays)
    step = step if where is None else good.step + repeated + 1
    epoch = (step - 1) // steps_of(dataset, config) + 1
    return {"diverged_step": step, "diverged_epoch": epoch, "diverged_in": where, "checkpoint_step": good.step}


def _finish(model, dataset, config, folder, results):
    """Saves the model as it stands, draws the curves, tests both sets of weights of a complete run."""
    if results["status"] != "preempted":  # there is no time
        model.save(folder.model)
        title = f"{config.model} on {config.data}, survival probability {config.survival_probability:g}"
        if results["status"] == "complete":
            results |= accuracies(model, dataset, config, folder)
            title += f": test accuracy {results['test_accuracy']:.4f}"
        if folder.history.exists():
            draw_curves(folder.history, folder.curves, title)
    folder.write(folder.results, results)
    return results
