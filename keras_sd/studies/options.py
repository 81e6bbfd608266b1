"""Options of a study: output, data and size."""

from dataclasses import dataclass
from pathlib import Path

from keras_sd.utils.checks import check_integer, check_number, refusal


@dataclass(frozen=True)
class Options:
    """Settings of a study; `None` leaves a choice to the study.

    Attributes:
        out: Directory for results, trained networks and the cache, reused by other studies there.
        data: Name of a data set of `keras_sd.data`.
        data_dir: Directory of TensorFlow Datasets.
        quick: Whether to run the form of about a minute: small networks, few epochs.
        epochs: Epochs of each training.
        images: Maximum number of images that errors are measured on.
        training_images: Number of training images; `None` for the study's choice.
        budget_params: Maximum number of parameters of a compared network, such as 1e6; `None` for all networks.
        draws: Number of sub-networks, paths or lesions drawn at random, or of rounds of a measurement.
        runs: Folders of runs to analyze instead of networks that the study trains.
        model, weights: Name of a model and its weights to analyze instead.
        policy: Keras dtype policy for training.
        seed: Random seed, an integer in [0, 2**32).
        seeds: Number of trainings of each compared network, with the seeds from `seed` on.
    """

    out: Path
    data: str = "digits"
    data_dir: Path | None = None
    quick: bool = False
    epochs: int | None = None
    images: int | None = None
    training_images: int | None = None
    budget_params: float | None = None
    draws: int | None = None
    runs: tuple[str, ...] = ()
    model: str | None = None
    weights: str | None = None
    policy: str = "float32"
    seed: int = 0
    seeds: int | None = None

    def __post_init__(self):
        for name in ("epochs", "images", "training_images", "draws", "seeds"):
            value = getattr(self, name)
            if value is not None:
                check_integer(name, value)
        check_integer("seed", self.seed, 0, 2**32 - 1)
        if self.budget_params is not None:
            check_number("budget_params", self.budget_params, "a positive number", lambda budget: budget > 0)
        if (self.model is None) != (self.weights is None):
            missing = "weights" if self.weights is None else "model"
            raise refusal(missing, "given: model and weights are needed together", None)
        for name in ("epochs", "policy") if self.runs or self.model else ():
            if getattr(self, name) != getattr(type(self), name):
                raise refusal(name, "left out: networks that are given are not trained", getattr(self, name))
        if Path(self.out).is_file():
            raise refusal("out", "a directory, not a file", str(self.out))

    def pick(self, name: str, quick: int, digits: int, other: int) -> int:
        """Return the given number, or the default for a quick run, for digits or for any other data."""
        given = getattr(self, name)
        if given is not None:
            return given
        return quick if self.quick else digits if self.data == "digits" else other
