"""Train the model of a configuration, and write a run folder."""

import dataclasses
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras

from keras_sd.backend import enable_determinism
from keras_sd.layers.nesting import count_parameters
from keras_sd.training.callbacks import BestWeights, HistoryFile, of_config
from keras_sd.training.checkpoint import Checkpoints, restore
from keras_sd.training.config import TrainConfig
from keras_sd.training.curves import draw_curves
from keras_sd.training.divergence import Diverged, StopWhereNotFinite, locate
from keras_sd.training.evaluation import accuracies, limited, steps_of
from keras_sd.training.head_first import freeze_by
from keras_sd.training.interruption import Preempted, noticing
from keras_sd.training.learning_rates import learning_rates
from keras_sd.training.losses import Accuracy, loss_of
from keras_sd.training.optimizers import LAMB, SGD
from keras_sd.training.resume import Progress, Saving
from keras_sd.training.run_folder import OVER, RunFolder, RunStatus, environment
from keras_sd.utils.checks import check_integer, check_type, refusal
from keras_sd.utils.files import DamagedFileError, save_atomically, sha256

logger = logging.getLogger(__name__)


def train(
    model: keras.Model,
    dataset: Any,
    config: TrainConfig,
    folder: RunFolder,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    resume: bool = False,
    checkpoint_steps: int = 1000,
    keep: int = 2,
) -> dict[str, Any]:
    """Train a model and write a complete run folder.

    The test accuracy to report is that of the weights with the best validation accuracy, as in Huang et al.
    2016, section 4; that of the final weights is also recorded.

    Checkpoints are saved after each epoch and every `checkpoint_steps` steps. After a kill at any moment,
    `resume=True` continues from the newest one; on a CPU with `deterministic`, results are bit-identical.

    Args:
        model: A new `keras.Model` that returns class probabilities, initialized with the configuration's seed.
        dataset: A `keras_sd.data.Dataset`.
        config: A `TrainConfig`.
        folder: A newly created `RunFolder`, or that of the run to resume.
        callbacks: Further Keras callbacks, such as `Lines()` or `Bar()`.
        resume: Boolean, whether to resume the run in the folder. A run that has ended is not changed, except that
            missing or damaged files are recreated from its last checkpoint.
        checkpoint_steps: Integer, steps between checkpoints.
        keep: Integer, checkpoints to keep.

    Returns:
        The results as a dictionary, as in `results.json`. Its `status` is "complete"; "interrupted" (by Ctrl-C:
        the folder has everything except test accuracies); "preempted" (by SIGTERM: the folder has everything needed
        to resume); or "diverged" (loss or weights became NaN or infinite: `diverged_step` and `diverged_in` say when
        and where, and the model is that of the last good checkpoint).

    Raises:
        ValueError: If the folder's run has another configuration or data set, or an argument is out of range.
        DamagedFileError: If the run cannot be resumed: its records are damaged, or no checkpoint is intact.
        FileExistsError: If the folder has a run and `resume` is false.
        BlockingIOError: If another process is training in the folder.
    """
    check_type("model", model, keras.Model, "a Keras model")
    check_type("config", config, TrainConfig, "a `TrainConfig`")
    check_type("folder", folder, RunFolder, "a `RunFolder`")
    check_integer("checkpoint_steps", checkpoint_steps)
    check_integer("keep", keep)
    with folder.locked(), noticing() as sigterm:
        if not resume or not folder.config.exists():
            folder.check_free()
            folder.write(folder.config, _record(model, dataset, config))
        folder.check_same(config, dataset)
        _check_initial_weights(folder, config)
        if folder.is_over():
            return folder.outcome()
        folder.check_replaceable()
        progress = None
        try:
            checkpoints = Checkpoints(folder.checkpoints, keep)
            saved = checkpoints.newest()
            _check_resumable(folder, saved)
            if config.deterministic:
                enable_determinism()
            compile_model(model, config, config.epochs * steps_of(dataset, config))
            model.optimizer.build(model.trainable_variables)
            progress = Progress(folder, BestWeights(folder.best_weights), steps_of(dataset, config), saved)
            progress.take_up(model)
            status = _fit(model, dataset, config, callbacks, checkpoint_steps, checkpoints, progress, sigterm)
            results = _results(status, progress)
            if status["status"] != RunStatus.PREEMPTED:  # there is no time
                results |= _finish(model, dataset, config, folder, results, progress.best)
            folder.write(folder.results, results)
        except Preempted:  # no step was lost: everything needed to resume is there
            results = _results({"status": RunStatus.PREEMPTED}, progress)
            if progress is not None:
                folder.write(folder.results, results)
        return results


def _check_resumable(folder, saved):
    """Check that the run in the folder can be resumed from a checkpoint, or that it has no progress yet.

    Args:
        folder: The `RunFolder`.
        saved: The newest `Checkpoint`, or `None`.

    Raises:
        DamagedFileError: If something would be lost.
    """
    results = folder.outcome()
    damage = folder.damage(results) if results.get("status") in OVER else None
    if damage is not None and saved is not None:
        logger.warning("'%s' %s; it is restored from the checkpoint of step %d", damage.path, damage.what, saved.step)
    elif damage is not None:
        what = f"{damage.what}, and no intact checkpoint is left to restore it from"
        raise DamagedFileError(damage.path, what) from damage
    elif saved is None and folder.has_progress():
        raise DamagedFileError(
            folder.checkpoints,
            "has no intact checkpoint, and the training so far would be lost",
            f"restore one, or start again with `keras-sd train --config {folder.config} --out` and another folder",
        )


def _record(model, dataset, config):
    return {
        "config": dataclasses.asdict(config),
        "dataset": dataset.describe(),
        "environment": environment(),
        "parameters": count_parameters(model),
        **({} if (digest := _initial_weights(config)) is None else {"weights_sha256": digest}),
    }


def _initial_weights(config):
    """Return the SHA-256 of the file of initial weights; `None` for random and published weights."""
    if config.model_arguments.get("weights") is None:
        return None
    path = Path(str(config.model_arguments["weights"])).expanduser()
    path = path / "model.safetensors" if path.is_dir() else path  # of an exported folder
    return sha256(path) if path.is_file() else None


def _check_initial_weights(folder, config):
    """Raise an error if the file of initial weights has changed; a missing file is no longer needed."""
    recorded, found = folder.read(folder.config).get("weights_sha256"), _initial_weights(config)
    if None not in (recorded, found) and recorded != found:
        raise refusal("model_arguments.weights", f"the file with the SHA-256 {recorded}, as the run has it", found)


def _fit(model, dataset, config, callbacks, checkpoint_steps, checkpoints, progress, sigterm):
    """Train until the run ends, completely or not; return the status for the results."""
    steps = steps_of(dataset, config)
    scheduled = of_config(config)
    status = {"status": RunStatus.COMPLETE}
    try:
        with sigterm.held():  # until the step is saved
            model.fit(
                _batches(dataset, config, progress.step),
                initial_epoch=progress.epoch,
                epochs=config.epochs,
                steps_per_epoch=steps,
                validation_data=limited(dataset.batches("validation"), config.steps_per_epoch),
                callbacks=[
                    *scheduled,
                    progress,
                    HistoryFile(progress.folder.history, config.batch_size),
                    progress.best,
                    StopWhereNotFinite(progress),
                    *callbacks,
                    Saving(progress, checkpoints, checkpoint_steps, sigterm),
                ],
                shuffle=False,  # batches are already shuffled; otherwise Keras would warn that it does not shuffle
                verbose=0,
            )
    except KeyboardInterrupt:
        status = {"status": RunStatus.INTERRUPTED}
    except Preempted:
        status = {"status": RunStatus.PREEMPTED}
    except Diverged as error:
        status = {"status": RunStatus.DIVERGED, **_where(model, dataset, config, checkpoints.newest(), error.step)}
    finally:
        checkpoints.wait()
    for callback in scheduled:
        callback.on_train_end()  # `fit` does not call it after an exception
    return status


def _results(status, progress):
    """Return the results that need no evaluation: status, time and best epoch."""
    if progress is None:
        return {**status, "train_seconds": 0.0}
    results, best = {**status, "train_seconds": round(progress.seconds, 2)}, progress.best.best
    if best.epoch:
        results |= {"best_epoch": best.epoch, "validation_accuracy": best.accuracy}
    return results


def _batches(dataset, config, first_step):
    return dataset.training_batches(config.batch_size, config.seed, first_step=first_step, **config.augmentations)


def _where(model, dataset, config, good, step):
    """Return step, epoch and layer of a divergence, as results; restore the model to the last good checkpoint."""
    restore(model, good.arrays)
    repeated, where = locate(model, iter(_batches(dataset, config, good.step)), step - good.step)
    restore(model, good.arrays)
    step = step if where is None else good.step + repeated + 1
    epoch = (step - 1) // steps_of(dataset, config) + 1
    return {"diverged_step": step, "diverged_epoch": epoch, "diverged_in": where, "checkpoint_step": good.step}


def _finish(model, dataset, config, folder, results, best):
    """Save the current model, evaluate all weights of a complete run, draw the curves; return further results."""
    best.flush(model)
    save_atomically(model.save, folder.model)
    title = f"{config.model} on {config.data}, survival probability {config.survival_probability:g}"
    tested = {}
    if results["status"] == RunStatus.COMPLETE:
        tested = accuracies(model, dataset, config, folder)
        title += f": test accuracy {tested['test_accuracy']:.4f}"
    if folder.history.exists():
        draw_curves(folder.history, folder.curves, title)
    return tested | {"sha256": folder.digests()}


def compile_model(model: keras.Model, config: TrainConfig, total_steps: int) -> None:
    """Freeze layers and compile the model with optimizer and loss as configured, and accuracy."""
    check_type("model", model, keras.Model, "a Keras model")
    check_type("config", config, TrainConfig, "a `TrainConfig`")
    freeze_by(model, config)
    model.compile(optimizer=_optimizer(config, total_steps), loss=loss_of(config), metrics=[Accuracy()])


def _optimizer(config, total_steps):
    arguments = {"l2": config.l2, "decay_norm_and_bias": config.decay_norm_and_bias}
    if config.ema_momentum is not None:
        arguments |= {"use_ema": True, "ema_momentum": config.ema_momentum}
    schedule = learning_rates(config, total_steps)
    if config.optimizer == "lamb":
        return LAMB(schedule, **arguments)
    return SGD(schedule, momentum=config.momentum, nesterov=config.nesterov, **arguments)
