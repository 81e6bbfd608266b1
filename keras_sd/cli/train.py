"""`keras-sd train`: resolve the settings, then start or resume a run."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from keras_sd.cli import train_options as options
from keras_sd.cli.console import usage_errors
from keras_sd.cli.dry_run import dry_run as print_costs
from keras_sd.cli.header import print_header
from keras_sd.cli.running import run, tell
from keras_sd.cli.together import ending_together
from keras_sd.utils.checks import refusal


def train(
    model: options.Model = None,
    weights: options.Weights = None,
    head_epochs: options.HeadEpochs = None,
    freeze: options.Freeze = None,
    policy: options.Policy = None,
    data: options.Data = None,
    data_dir: options.DataDir = None,
    image_size: options.ImageSize = None,
    augmentation: options.Augmentation = None,
    mixup: options.Mixup = None,
    cutmix: options.Cutmix = None,
    workers: options.Workers = None,
    max_bad_files: options.MaxBadFiles = None,
    survival_probability: options.SurvivalProbability = None,
    survival_schedule: options.SurvivalSchedule = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    lr_schedule: options.LrSchedule = None,
    warmup_epochs: options.WarmupEpochs = None,
    weight_decay: options.WeightDecay = None,
    label_smoothing: options.LabelSmoothing = None,
    ema: options.Ema = None,
    recipe: options.Recipe = None,
    config: options.Config = None,
    settings: options.Settings = None,
    smoke: options.Smoke = False,
    dry_run: options.DryRun = False,
    out: options.Out = None,
    resume: options.Resume = False,
    seed: options.Seed = None,
    deterministic: options.Deterministic = False,
    checkpoint_steps: options.CheckpointSteps = 1000,
    keep_checkpoints: options.KeepCheckpoints = 2,
    tensorboard: options.Tensorboard = False,
    logger: options.Logger = None,
    callback: options.Callback = None,
    devices: options.Devices = None,
    threads: options.Threads = None,
    coordinator: options.Coordinator = None,
    num_processes: options.NumProcesses = None,
    process_id: options.ProcessId = None,
    connect_timeout: options.ConnectTimeout = 60,
) -> None:
    """Train a model; without options, a ResNet with stochastic depth on scanned digits.

    Other settings follow the recipe: the named one, "finetune" with --weights, or else the recipe of the data. A file
    of settings overrides the recipe, --smoke overrides both, and --set and the other options override everything.
    Exit codes: 0 complete, 1 failed, 2 bad input, 75 stopped by SIGTERM or because another process was lost, 130 by
    Ctrl-C; after the last two --resume continues the run.

    Example: keras-sd train --data folder:photos --model ResNet50 --weights a1_in1k
    """
    from keras_sd.backend import devices as backend
    from keras_sd.runs import networks
    from keras_sd.training import devices as device_options
    from keras_sd.training import loggers, overrides

    with contextlib.ExitStack() as held:
        with usage_errors():
            followed = [*(logger or []), *(["tensorboard"] if tensorboard else [])]
            loggers.check_loggers(followed)
            asked = overrides.Overrides(
                model=model,
                data=data,
                recipe=recipe,
                epochs=epochs,
                batch_size=batch_size,
                survival_probability=survival_probability,
                survival_schedule=parse_schedule(survival_schedule),
                augmentation=parse_names(augmentation),
                mixup=mixup,
                cutmix=cutmix,
                image_size=image_size,
                learning_rate=learning_rate,
                learning_rate_schedule=lr_schedule,
                warmup_epochs=warmup_epochs,
                l2=weight_decay,
                label_smoothing=label_smoothing,
                ema_momentum=ema,
                head_epochs=head_epochs,
                policy=policy,
                seed=seed,
                deterministic=deterministic or None,
                data_dir=str(data_dir.resolve()) if data_dir else None,
                max_bad_files=max_bad_files,
                smoke=smoke,
                file=overrides.read(config) if config else {},
                settings=overrides.parse_all(settings) | _of_weights(weights, freeze),
            )
            places = device_options.choose(devices, coordinator, num_processes, process_id, connect_timeout)
            temporary = []
            if not places.is_first:
                out = held.enter_context(unseen())
                temporary.append(out.parent)
            held.enter_context(ending_together(places.peers, temporary))
            folder, resolved = _begin_or_resume(out, resume, asked, places, held)
            if backend.any_process(folder.is_over()):
                if places.is_first:
                    typer.echo(f"the run in {folder} is over; there is nothing to resume")
                    tell(folder.outcome(), folder)
                return
            more = loggers.callbacks(followed if places.is_first else [], callback or [], resolved, folder)
            size = None if places.names else networks.work(resolved.model, resolved.batch_size, resolved.image_size)
            threads = device_options.set_threads(threads, size)
            network, dataset = _prepare(folder, resolved, places, workers, held)
            if not dry_run:
                folder.path.mkdir(parents=True, exist_ok=True)
                held.enter_context(folder.locked())
        print_header(network, dataset, resolved, places.names, threads)
        if dry_run:
            print_costs(network, dataset, resolved)
            return
        saving = {"resume": resume, "checkpoint_steps": checkpoint_steps, "keep": keep_checkpoints}
        run(network, dataset, resolved, folder, more, **saving)


def _of_weights(weights, freeze):
    """Return the settings of --weights and --freeze."""
    named = {} if weights is None else {"model_arguments.weights": weights}
    return named if freeze is None else named | {"freeze": None if freeze == "none" else freeze}


def _begin_or_resume(out, resume, asked, places, held):
    """Return the folder of a run and its configuration; nothing is written yet.

    Args:
        out: Path, or `None`.
        resume: Boolean, whether to resume the run in `out`.
        asked: `Overrides`.
        places: The `Devices`. With several processes, those after the first resume a copy of its run.
        held: An `ExitStack` that holds the lock on the folder of a resumed run.
    """
    from keras_sd import training
    from keras_sd.runs import networks
    from keras_sd.training import transfer

    is_copied = resume and places.processes > 1
    if is_copied and not places.is_first:
        transfer.receive_run(out)
    folder = recorded_run(out) if resume else None
    if folder is not None:
        config = recorded_config(folder, asked)
        held.enter_context(folder.locked())
    if is_copied and places.is_first:
        transfer.send_run(folder)
    if folder is None:
        config = networks.configure(asked)
        folder = training.RunFolder(out or training.default_path(config))
        folder.check_free()
    return folder, config


def recorded_run(out: Any) -> Any:
    """Return the folder of the run to resume; `None` if there is no run yet.

    Args:
        out: Path, or `None`.

    Raises:
        ValueError: No folder is given, or the run's `config.json` is missing.
    """
    from keras_sd.training import RunFolder
    from keras_sd.utils.files import DamagedFileError

    if out is None:
        raise refusal("out", "the folder of a run, with --resume", None)
    folder = RunFolder(out)
    if folder.config.exists():
        return folder
    if folder.has_progress():
        raise DamagedFileError(folder.config, "is missing", folder.remedy(folder.config))
    return None


def recorded_config(folder: Any, asked: Any) -> Any:
    """Return the configuration of a run. Of the requested settings, only the data directory may differ from it.

    Args:
        folder: The `RunFolder`.
        asked: `Overrides`.

    Raises:
        ValueError: A requested setting differs from the run's.
    """
    from keras_sd.runs import networks
    from keras_sd.training import overrides, recipes
    from keras_sd.training.run_folder import refuse_changes

    config, given = folder.train_config(), networks.given_settings(asked)
    if asked.smoke and recipes.smoke(config) != config:
        raise refusal("smoke", "False, as the run has it", True)
    refuse_changes(overrides.flat(dataclasses.asdict(config)), given, "the run", {"data_dir"})
    return dataclasses.replace(config, data_dir=given.get("data_dir", config.data_dir))


def _prepare(folder, config, places, workers, held):
    """Return the untrained network and the data set of a run, in the scope of its devices, which `held` keeps open."""
    from keras_sd.runs import networks

    dataset = dataclasses.replace(networks.load_data(config), workers=workers)
    dataset = places.shard(dataset, config.batch_size)
    dataset.steps_per_epoch(config.batch_size)
    if folder.config.exists():
        folder.check_same(config, dataset)
    held.enter_context(places.scope())
    return networks.build(config, dataset), dataset


@contextlib.contextmanager
def unseen() -> Iterator[Path]:
    """Temporary folder and silenced output, for all processes but the first."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        yield Path(folder) / "run"


def parse_schedule(text: str | None) -> str | tuple[float, ...] | None:
    """Return a schedule name unchanged, or comma-separated numbers as a tuple."""
    if text is None or text in ("linear", "uniform"):
        return text
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise refusal("survival_schedule", "linear, uniform, or numbers separated by commas", text) from None


def parse_names(text: str | None) -> tuple[str, ...] | None:
    """Return comma-separated names as a tuple; "none" gives an empty one."""
    if text is None:
        return None
    return () if text == "none" else tuple(name.strip() for name in text.split(","))
