"""`keras-sd train`: a run that begins or is resumed, shown as the terminal allows."""

import contextlib
import dataclasses
import importlib.util
import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import keras
import typer
from rich.console import Console

from keras_sd.cli.console import INTERRUPTED, PREEMPTED, tell_error, usage_errors
from keras_sd.cli.header import StartingStep, print_header
from keras_sd.utils.checks import refusal

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
    seed: Annotated[int | None, Option(help="Random seed.")] = None,
    deterministic: Annotated[bool, Option("--deterministic", help="Use deterministic operations (slower).")] = False,
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
) -> None:
    """Train a model; without options a ResNet with stochastic depth on scanned digits.

    What is left out follows the recipe: the one that is named, or that of the data set.
    A file of settings has precedence over the recipe, --smoke over both, and --set and the other options over all.
    Exit codes: 0 complete, 1 failed, 2 bad input, 75 stopped by SIGTERM, 130 by Ctrl-C; after the last two --resume
    goes on.
    """
    from keras_sd.training import devices as device_options
    from keras_sd.training import overrides

    with contextlib.ExitStack() as held:
        with usage_errors():
            _check(resume, coordinator, tensorboard)
            asked = overrides.Overrides(
                model=model,
                data=data,
                recipe=recipe,
                epochs=epochs,
                batch_size=batch_size,
                survival_probability=survival_probability,
                survival_schedule=parse_schedule(schedule),
                augmentation=parse_names(augmentation),
                learning_rate=learning_rate,
                policy=policy,
                seed=seed,
                deterministic=deterministic or None,
                data_dir=str(data_dir.resolve()) if data_dir else None,
                smoke=smoke,
                file=overrides.read(config) if config else {},
                settings=overrides.parse_all(settings),
            )
            places = device_options.choose(devices, coordinator, num_processes, process_id, connect_timeout)
            if not places.is_first:
                out = held.enter_context(unseen())
            folder, resolved = _begin_or_resume(out, resume, asked, held)
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
        raise refusal("tensorboard", "False where the package tensorboard is not installed", True)
    if resume and coordinator:
        raise refusal("resume", "False with a coordinator: checkpoints are those of process 0", True)


def _begin_or_resume(out, resume, asked, held):
    """Return the folder of a run and its configuration; nothing is written yet.

    Args:
        out: Path, or `None`.
        resume: Boolean, whether to resume the run that is there.
        asked: `Overrides`.
        held: An `ExitStack`, which holds the folder of a run that is resumed.
    """
    from keras_sd import training
    from keras_sd.runs import networks

    folder = recorded_run(out) if resume else None
    if folder is None:
        config = networks.configure(asked)
        folder = training.RunFolder(out or training.default_path(config))
        folder.check_free()
        return folder, config
    config = recorded_config(folder, asked)
    held.enter_context(folder.locked())
    return folder, config


def recorded_run(out: Any) -> Any:
    """Return the folder of the run to resume; `None` where there is no run yet.

    Args:
        out: Path, or `None`.

    Raises:
        ValueError: No folder is named, or that of a run has lost its `config.json`.
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
    """Return the configuration of a run, which must not be contradicted; the place of the data may change.

    Args:
        folder: The `RunFolder`.
        asked: `Overrides`.

    Raises:
        ValueError: The run has another value than is asked for.
    """
    from keras_sd.runs import networks
    from keras_sd.training import overrides, recipes
    from keras_sd.training.run_folder import refuse_changes

    config, given = folder.train_config(), networks.given_settings(asked)
    if asked.smoke and recipes.smoke(config) != config:
        raise refusal("smoke", "False, as the run has it", True)
    refuse_changes(overrides.flat(dataclasses.asdict(config)), given, "the run", {"data_dir"})
    return dataclasses.replace(config, data_dir=given.get("data_dir", config.data_dir))


def _prepare(folder, config, places, held):
    """The untrained network and the data set of a run, in its places, and its folder, all of which are held then."""
    from keras_sd.runs import networks

    dataset = places.share(networks.load_data(config), config.batch_size)
    dataset.steps_per_epoch(config.batch_size)
    if folder.config.exists():
        folder.check_same(config, dataset)
    held.enter_context(places.scope())
    network = networks.build(config, dataset)
    folder.path.mkdir(parents=True, exist_ok=True)
    held.enter_context(folder.locked())
    return network, dataset


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
    """A schedule's name as it is, numbers separated by commas as a tuple."""
    if text is None or text in ("linear", "uniform"):
        return text
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise refusal("schedule", "linear, uniform, or numbers with commas", text) from None


def parse_names(text: str | None) -> tuple[str, ...] | None:
    """Names separated by commas as a tuple, of "none" an empty one."""
    if text is None:
        return None
    return () if text == "none" else tuple(name.strip() for name in text.split(","))


def run(network: keras.Model, dataset: Any, config: Any, folder: Any, tensorboard: bool, **saving: Any) -> None:
    """Train, and end with the line that says how it went.

    Args:
        saving: Further arguments of `keras_sd.training.train`.
    """
    import keras

    from keras_sd import training
    from keras_sd.training.progress_bar import Bar, Lines
    from keras_sd.utils.files import DamagedFileError

    console = Console(highlight=False)
    display = Bar(console, config.batch_size) if console.is_terminal else Lines()
    logs = [keras.callbacks.TensorBoard(str(folder.tensorboard))] if tensorboard else []
    try:
        results = training.train(network, dataset, config, folder, [StartingStep(typer.echo), display, *logs], **saving)
    except DamagedFileError as error:
        tell_error(error)
        raise typer.Exit(2) from error
    except OSError as error:  # such as a full disk
        tell_error(f"{error}; {_resume(folder)}")
        raise typer.Exit(1) from error
    except KeyboardInterrupt:  # the second one, or while nothing but tests and curves was left to do
        typer.echo(f"interrupted; {_resume(folder)}")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        display.close()
    tell(results, folder)


def tell(results: dict[str, Any], folder: Any) -> None:
    """Print how a run ended, and exit with the code for it unless it is complete."""
    from keras_sd.training.run_folder import RunStatus

    seconds = f"{results['train_seconds']:.1f} s"
    if results["status"] == RunStatus.COMPLETE:
        typer.echo(
            f"test accuracy {results['test_accuracy']:.4f} (weights of epoch {results['best_epoch']}, best "
            f"on validation; last weights {results['test_accuracy_final']:.4f}), trained in {seconds}, all in {folder}"
        )
    elif results["status"] == RunStatus.INTERRUPTED:
        typer.echo(
            f"interrupted after {seconds}; the model as it stands is in {folder}; "
            f"`{shlex.join(['keras-sd', 'evaluate', str(folder), '--weights', 'final'])}` tests it, {_resume(folder)}"
        )
        raise typer.Exit(INTERRUPTED)
    elif results["status"] == RunStatus.PREEMPTED:
        typer.echo(f"stopped by SIGTERM after {seconds}, all saved; {_resume(folder)}")
        raise typer.Exit(PREEMPTED)
    else:
        tell_error(f"{_divergence(results)}; a lower --learning-rate may help; {folder}")
        raise typer.Exit(1)


def _resume(folder):
    return f"{folder.resume_command} goes on"


def _divergence(results):
    began = f", which began in {results['diverged_in']}" if results.get("diverged_in") else ""
    return (
        f"loss or weights became NaN or infinite in step {results['diverged_step']}, epoch "
        f"{results['diverged_epoch']}{began}; the model of step {results['checkpoint_step']}, the last good "
        f"checkpoint, is kept"
    )
