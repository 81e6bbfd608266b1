"""The claims of the talk as studies; each writes a table, a figure, and a sentence with the number found."""

import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_sd.studies.options import Options
from keras_sd.utils import retracing
from keras_sd.utils.checks import check_type, refusal
from keras_sd.utils.names import unknown

if TYPE_CHECKING:
    from keras_sd.studies.outcome import Outcome


__all__ = ["STUDIES", "Options", "Study", "run"]


@dataclass(frozen=True)
class Study:
    """A study; the module `NAME_study` of this package has its function `run`.

    Attributes:
        name: Name of the study and of its files.
        claim: The claim that it tests.
        criterion: What must be found for the claim to hold.
        options: Names of the fields of `Options` that it reads, in addition to those that all studies read.
    """

    name: str
    claim: str
    criterion: str
    options: tuple[str, ...]

    @property
    def analyses(self) -> bool:
        """Whether it accepts a trained network instead of training its own."""
        return "runs" in self.options


_TRAINED = ("runs", "model")
_ROWS = (
    Study(
        "gradients",
        "Signals fade in a very deep plain network like a message in the game of telephone; shortcuts, stochastic "
        "depth and dense connections preserve them.",
        "In the plain network, and in no other, gradients of the first blocks must be less than a tenth of those of "
        "the last ones, or untrained features of different images nearly equal at the end (mean cosine above 0.95).",
        options=("epochs",),
    ),
    Study(
        "depth",
        "Deeper plain networks get worse even in training; residual networks do not, and stochastic depth makes the "
        "deepest the best.",
        "In the mean over seeds, the deeper plain network must have a higher training error than the smaller one, the "
        "deepest residual network at most that of the smallest, and with stochastic depth at most the test error that "
        "it has without.",
        options=("epochs", "images", "seeds"),
    ),
    Study(
        "speed",
        "Stochastic depth with p_L = 0.5 saves about 25 % of the training time.",
        "It must save at least 20 % of the time of a training step, by the median over turns of several steps.",
        options=("draws",),
    ),
    Study(
        "regularization",
        "Where a network overfits, stochastic depth lowers the test error at equal epochs.",
        "Without augmentation, the mean test error with p_L = 0.5 must be below that of constant depth by more than "
        "the standard deviation of each over at least three seeds.",
        options=("epochs", "training_images", "seeds"),
    ),
    Study(
        "lesion",
        "No single block matters much to a residual network: deleting one hardly harms it, but makes a plain network "
        "fail.",
        "Deleting one block that keeps the shape must raise the error by less than 5 points in residual networks, in "
        "the median over blocks, and by more in the plain network.",
        options=("epochs", "images", "draws", *_TRAINED),
    ),
    Study(
        "ensemble",
        "A network with stochastic depth is an implicit ensemble of 2^L networks; the scaled single pass approximates "
        "their average, and the effective paths are short.",
        "Trained with stochastic depth, the average must be better than the mean sub-network, and the scaled pass "
        "within 1 point of the average.",
        options=("epochs", "images", "draws", *_TRAINED),
    ),
    Study(
        "truncate",
        "A network trained with stochastic depth is still accurate when truncated.",
        "With half of its blocks, a network with stochastic depth (linear or uniform survival probabilities) must get "
        "most images right, and lose less than the network of constant depth.",
        options=("epochs", "images", *_TRAINED),
    ),
    Study(
        "features",
        "Layers of a DenseNet reuse features from all over their block.",
        "On average, sources two or more layers back must have over a third of the weight of the most used source.",
        options=("epochs", *_TRAINED),
    ),
    Study(
        "efficiency",
        "DenseNets match ResNets with about half of the parameters and operations.",
        "On ImageNet, a DenseNet must reach each ResNet from ResNet-50 on with at most 70 % of both.",
        options=("epochs", "training_images", "budget_params", "seeds"),
    ),
    Study(
        "perceptron",
        "Errors fall from the perceptron to residual networks, and XOR needs a hidden layer.",
        "Mean test errors over seeds must fall from one to the next, and with each seed all except the perceptron get "
        "the four points of XOR right.",
        options=("epochs", "seeds"),
    ),
)
STUDIES = {row.name: row for row in _ROWS}


def run(name: str, options: Options, say: Callable[[str], Any] = print) -> tuple["Outcome", list[Path]]:
    """Run a study, or resume a stopped one.

    Args:
        name: A name of `STUDIES`.
        options: `Options`.
        say: Function of a line of text, for progress.

    Returns:
        The `Outcome` and the list of the files written to `options.out`.

    Raises:
        ValueError: The name is unknown, or the study does not accept an option.
        KeyboardInterrupt: A training was stopped.
    """
    if name not in STUDIES:
        raise unknown("name", name, STUDIES)
    check_type("options", options, Options, "`Options`")
    study = STUDIES[name]
    for option in dict.fromkeys(option for row in _ROWS for option in row.options):
        if getattr(options, option) and option not in study.options:
            others = ", ".join(row.name for row in _ROWS if option in row.options)
            raise refusal(
                option, f"left out: the study {name!r} does not use it ({others} do)", getattr(options, option)
            )
    # Imported here because these are slow to import.
    from keras_sd.studies.lab import Laboratory
    from keras_sd.studies.outcome import has_nan, write

    lab = Laboratory(options, say)
    options.out.mkdir(parents=True, exist_ok=True)
    with retracing.meant():  # a study has many models
        outcome = importlib.import_module(f"keras_sd.studies.{name}_study").run(lab)
    # A quick run is a demonstration: its networks are hardly trained. With NaN every comparison is false.
    if options.quick or has_nan(outcome.numbers):
        outcome.holds = None
    return outcome, write(outcome, study, dataclasses.asdict(options))
