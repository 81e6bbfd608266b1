"""Train with progress in the terminal, and report the outcome in words and as an exit code."""

import shlex
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from keras_sd.cli.console import INTERRUPTED, PREEMPTED, tell_error

if TYPE_CHECKING:
    import keras


def run(network: "keras.Model", dataset: Any, config: Any, folder: Any, more: list, **saving: Any) -> None:
    """Train, then print the outcome.

    Args:
        more: Further Keras callbacks.
        saving: Further arguments of `keras_sd.training.train`.
    """
    from keras_sd import training
    from keras_sd.training.progress_bar import Bar, Lines, StartingStep
    from keras_sd.utils.files import DamagedFileError

    console = Console(highlight=False)
    display = Bar(console, config.batch_size) if console.is_terminal else Lines()
    try:
        results = training.train(network, dataset, config, folder, [StartingStep(typer.echo), display, *more], **saving)
    except DamagedFileError as error:
        tell_error(error)
        raise typer.Exit(2) from error
    except OSError as error:  # such as a full disk
        tell_error(f"{error}; {_resume(folder)}")
        raise typer.Exit(1) from error
    except KeyboardInterrupt:  # a second Ctrl-C, or one after the last epoch, during tests and curves
        typer.echo(f"interrupted; {_resume(folder)}")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        display.close()
    tell(results, folder)


def tell(results: dict[str, Any], folder: Any) -> None:
    """Print the outcome of a run, and exit with its code unless the run is complete."""
    from keras_sd.training.run_folder import RunStatus

    seconds = f"{results['train_seconds']:.1f} s"
    if results["status"] == RunStatus.COMPLETE:
        typer.echo(f"trained in {seconds}, all in {folder}")
        typer.echo(
            f"test accuracy {results['test_accuracy']:.4f} (epoch {results['best_epoch']}, best on validation), "
            f"{results['test_accuracy_final']:.4f} (last epoch)"
        )
    elif results["status"] == RunStatus.INTERRUPTED:
        typer.echo(
            f"interrupted after {seconds}; the current model is in {folder}; "
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
    return f"{folder.resume_command} resumes it"


def _divergence(results):
    began = f", which began in {results['diverged_in']}" if results.get("diverged_in") else ""
    return (
        f"loss or weights became NaN or infinite in step {results['diverged_step']}, epoch "
        f"{results['diverged_epoch']}{began}; the model of step {results['checkpoint_step']}, the last good "
        f"checkpoint, is kept"
    )
