"""What a study is told: where it writes, on which data, how much it may spend."""

from dataclasses import dataclass
from pathlib import Path

from keras_sd.utils.checks import check_integer, refusal


@dataclass(frozen=True)
class Options:
    """Settings of a study; `None` leaves a choice to the study.

    Attributes:
        out: Directory for results, trained networks and the cache; studies that share it share these.
        data: Name of a data set of `keras_sd.data`.
        data_dir: Directory of TensorFlow Datasets.
        quick: Whether to take the form of a minute: small networks, few epochs.
        epochs: Of each training.
        images: Test images (or training images, where training error is measured) to take at most; of
            `regularization`, the training images.
        draws: Of whatever is drawn at random: sub-networks, paths, lesions, rounds of a measurement.
        runs: Folders of runs to analyse, in place of networks that the study trains.
        model, weights: Name of a model and its weights to analyse, likewise.
        policy: Keras dtype policy of trainings.
        seed: Of everything that is random: an integer in [0, 2**32).
        seeds: Trainings of each network that is compared, with the seeds from `seed` on.
    """

    out: Path
    data: str = "digits"
    data_dir: Path | None = None
    quick: bool = False
    epochs: int | None = None
    images: int | None = None
    draws: int | None = None
    runs: tuple[str, ...] = ()
    model: str | None = None
    weights: str | None = None
    policy: str = "float32"
    seed: int = 0
    seeds: int | None = None

    def __post_init__(self):
        for name in ("epochs", "images", "draws", "seeds"):
            value = getattr(self, name)
            if value is not None:
                check_integer(name, value)
        check_integer("seed", self.seed, 0, 2**32 - 1)
        if (self.model is None) != (self.weights is None):
            missing = "weights" if self.weights is None else "model"
            raise refusal(missing, "given together with the other of model and weights", None)
        if Path(self.out).is_file():
            raise refusal("out", "a directory, not a file", str(self.out))

    def pick(self, name: str, quick: int, digits: int, other: int) -> int:
        """A number that was given, or that of the form and data: `quick`, `digits`, or any `other` data."""
        given = getattr(self, name)
        if given is not None:
            return given
        return quick if self.quick else digits if self.data == "digits" else other
