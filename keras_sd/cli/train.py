"""`keras-sd train`."""

import contextlib
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from keras_sd.cli.console import usage_errors
from keras_sd.cli.header import print_header
from keras_sd.cli.resume import recorded_config, recorded_run
from keras_sd.cli.running import run, tell

Option = typer.Option


def train(
    model: Annotated[str | None, Option(help="Name of a model; `keras-sd models` lists them.")] = None,
    data: Annotated[str | None, Option(help="digits, cifar10, svhn, ..., tfds:NAME, folder:PATH, npz:PATH.")] = None,
    recipe: Annotated[str | None, Option(help="Name of a recipe; `keras-sd recipes` lists them.")] = None,
    smoke: Annotated[bool, Option("--smoke", help="Train for two epochs of two small steps, as a check.")] = False,
    config: Annotated[Path | None, Option(help="Settings: a YAML or JSON file, or a run's config.json.")] = None,
    settings: Annotated[list[str] | None, Option("--set", help="KEY=VALUE, one setting; may be repeated.")] = None,
    data_dir: Annotated[Path | None, Option(help="Directory of TensorFlow Datasets.")] = None,
    epochs: Annotated[int | None, Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, Option(help="Images in a step.")] = None,
    survival_probability: Annotated[float | None, Option(help="Of the last block; 1 keeps all.")] = None,
    schedule: Annotated[str | None, Option(help="linear, uniform, or one probability a block: 0.9,0.8,...")] = None,
    augmentation: Annotated[
        str | None, Option(help="Names with commas, of the training images'; none for none.")
    ] = None,
    learning_rate: Annotated[float | None, Option(help="At the start, or at the end of the warm-up.")] = None,
    policy: Annotated[str | None, Option(help="Keras dtype policy: float32, mixed_bfloat16, ...")] = None,
    seed: Annotated[int | None, Option(help="What the seed sets off can be repeated.")] = None,
    deterministic: Annotated[bool, Option("--deterministic", help="The same bits again, as slow as it is.")] = False,
    out: Annotated[Path | None, Option(help="Folder of the run, new.", show_default="runs/MODEL-DATA-NUMBER")] = None,
    resume: Annotated[
        bool, Option("--resume", help="Go on with the run in --out by its own settings; begin it if there is none.")
    ] = False,
    checkpoint_steps: Annotated[int, Option(min=1, help="Steps between checkpoints; each epoch ends with one.")] = 1000,
    keep_checkpoints: Annotated[int, Option(min=1, help="Checkpoints to keep.")] = 2,
    devices: Annotated[
        str | None, Option(help="A number, all, gpu:0,gpu:1, or cpu:2 for two virtual ones.", show_default="one")
    ] = None,
    coordinator: Annotated[str | None, Option(help="HOST:PORT of process 0, of several on JAX.")] = None,
    num_processes: Annotated[int | None, Option(help="How many processes train together.")] = None,
    process_id: Annotated[int | None, Option(help="Which of them this is, from 0.")] = None,
    connect_timeout: Annotated[int, Option(min=1, help="Seconds to wait for the other processes.")] = 60,
    tensorboard: Annotated[bool, Option("--tensorboard", help="Also write logs for TensorBoard.")] = False,
):
    """Trains a model; without options a ResNet with stochastic depth on scanned digits.

    What is left out follows the recipe: the one that is named, or that of the data set.
    A file of settings has precedence over the recipe, --smoke over both, and --set and the other options over all.
    Exit codes: 0 complete, 1 failed, 2 bad input, 75 stopped by SIGTERM, 130 by Ctrl-C; after the last two --resume
    goes on.
    """
    from keras_sd.training import devices as device_options

    asked = {
        "model": model,
        "data": data,
        "recipe": recipe,
        "epochs": epochs,
        "batch_size": batch_size,
        "survival_probability": survival_probability,
        "augmentation": parse_names(augmentation),
        "learning_rate": learning_rate,
        "policy": policy,
        "seed": seed,
        "deterministic": deterministic or None,
        "data_dir": str(data_dir.resolve()) if data_dir else None,
    }
    with contextlib.ExitStack() as held:
        with usage_errors():
            _check(resume, coordinator, tensorboard)
            asked["survival_schedule"] = parse_schedule(schedule)
            values = read_settings(config, None)
            named = read_settings(None, settings)
            places = device_options.choose(devices, coordinator, num_processes, process_id, connect_timeout)
            if not places.is_first:
                out = held.enter_context(unseen())
            folder, resolved = _begin_or_take_up(out, resume, smoke, values, named, asked, held)
            if folder.is_over():
                typer.echo(f"the run in {folder} is over, there is nothing to resume")
                tell(folder.outcome(), folder)
                return
            network, dataset = _prepare(folder, resolved, places, held)
        print_header(network, dataset, resolved, places.names)
        saving = {"resume": resume, "checkpoint_steps": checkpoint_steps, "keep": keep_checkpoints}
        run(network, dataset, resolved, folder, tensorboard, **saving)


def _check(resume, coordinator, tensorboard):
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ValueError("tensorboard is True; it must be False where the package tensorboard is not installed")
    if resume and coordinator:
        raise ValueError("resume is True; it must be False with a coordinator: checkpoints are those of process 0")


def _begin_or_take_up(out, resume, smoke, values, settings, asked, held):
    """Return the folder of a run and its configuration; nothing is written yet.

    Args:
        out: Path, or `None`.
        resume: Boolean, whether to take up the run that is there.
        smoke, values, settings, asked: As `configure` takes them.
        held: An `ExitStack`, which holds the folder of a run that is taken up.
    """
    from keras_sd import training
    from keras_sd.training import overrides

    folder = recorded_run(out) if resume else None
    if folder is None:
        config = configure(smoke=smoke, values=values, settings=settings, **asked)
        folder = training.RunFolder(out or training.default_path(config))
        folder.check_free()
        return folder, config
    given = overrides.merged(values, settings)
    given = overrides.merged(given, {name: value for name, value in asked.items() if value is not None})
    config = recorded_config(folder, smoke, given)
    held.enter_context(folder.locked())
    return folder, config


def _prepare(folder, config, places, held):
    """The untrained network and the data set of a run, in its places, and its folder, all of which are held then."""
    from keras_sd import data
    from keras_sd.runs import networks

    dataset = places.share(data.load(config.data, config.data_dir, config.image_size), config.batch_size)
    dataset.steps_per_epoch(config.batch_size)
    if folder.config.exists():
        folder.check_same(config, dataset)
    held.enter_context(places.scope())
    network = networks.build(config, dataset)
    folder.path.mkdir(parents=True, exist_ok=True)
    held.enter_context(folder.locked())
    return network, dataset


@contextlib.contextmanager
def unseen():
    """The folder of a process whose output nobody needs, which goes when it ends; nothing is printed."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        yield Path(folder) / "run"


def read_settings(config, settings):
    """Return the settings of a file and of `--set`, which has precedence: a dictionary of typed values."""
    from keras_sd.training import overrides

    values = overrides.read(config) if config else {}
    for setting in settings or ():
        values = overrides.merged(values, overrides.parse(setting))
    return values


def configure(data=None, model=None, recipe=None, smoke=False, values=None, settings=None, **asked):
    """Return the configuration of a run: what was asked for, else what the model needs, else the recipe.

    Args:
        data, model, recipe: Names, or `None`.
        smoke: Boolean, whether to take the recipe's smoke form.
        values: Dictionary of settings of a file.
        settings: Dictionary of settings that have precedence over the smoke form.
        **asked: Settings that options named; `None` for those that were not given.

    Returns:
        A `TrainConfig`.
    """
    from keras_sd import applications, training
    from keras_sd.data.augmentation import chosen
    from keras_sd.runs import networks
    from keras_sd.training import overrides

    values, settings = dict(values or {}), dict(settings or {})
    model = overrides.merged(values, settings).get("model") if model is None else model
    if model is not None:
        asked["model"], can_drop = networks.identify(model)
        if not can_drop:
            values.setdefault("survival_probability", 1.0)
        row = applications.MODELS.get(asked["model"])
        if row and row.classifier_activation != "softmax":  # threshold units have no probabilities
            values.setdefault("loss", "keras_sd>perceptron_loss")
    config = training.resolve(data, recipe, is_smoke=smoke, values=values, settings=settings, **asked)
    if config.augmentation is not None:
        chosen(config.augmentation)  # which refuses unknown names
    return config


def parse_schedule(text):
    """A schedule's name as it is, numbers separated by commas as a tuple."""
    if text is None or text in ("linear", "uniform"):
        return text
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise ValueError(f"schedule is {text!r}; it must be linear, uniform, or numbers with commas") from None


def parse_names(text):
    """Names separated by commas as a tuple, of "none" an empty one."""
    if text is None:
        return None
    return () if text == "none" else tuple(name.strip() for name in text.split(","))
