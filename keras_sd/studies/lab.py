"""The workspace of studies: data, trained networks, cached results and progress."""

import csv
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.progress import track

from keras_sd import data, training
from keras_sd.data.dataset import ImageSet
from keras_sd.runs.networks import build
from keras_sd.studies import subjects
from keras_sd.studies.options import Options
from keras_sd.studies.result_cache import Cache, digest
from keras_sd.studies.subjects import Subject
from keras_sd.training.curves import read_history
from keras_sd.training.progress_bar import Bar, Lines


@dataclass(frozen=True)
class Network:
    """A network that a study trains.

    Attributes:
        label: Name in figures.
        model: Name of a model or constructor of `keras_sd.applications`.
        arguments: Further arguments of its factory.
        survival_probability: Survival probability of its last block.
        changes: Further settings of its training, fields of `TrainConfig`.
    """

    label: str
    model: str
    arguments: dict
    survival_probability: float = 1.0
    changes: dict = dataclasses.field(default_factory=dict)


def four(depth: int, dense_depth: int, changes: dict[str, Any] | None = None) -> list[Network]:
    """Return a plain, a residual, a stochastic-depth and a dense network."""
    changes = changes or {}
    return [
        Network(f"plain {depth}", "PlainNet", {"depth": depth}, changes=changes),
        Network(f"residual {depth}", "ResNet", {"depth": depth}, changes=changes),
        Network(f"stochastic {depth}", "ResNet", {"depth": depth}, 0.5, changes),
        Network(f"dense {dense_depth}", "DenseNet", {"depth": dense_depth}, changes=changes),
    ]


def examined(
    lab: "Laboratory", networks: Sequence[Network], examine: Callable[[Subject, int], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return the rows found for each network to analyze, each with the network's label.

    Args:
        lab: A `Laboratory`.
        networks: `Network`s to train if the options name no trained ones.
        examine: Function of a `Subject` and a number of images that returns rows.
    """
    epochs = lab.options.pick("epochs", quick=8, digits=40, other=8)
    count = lab.options.pick("images", quick=360, digits=360, other=2000)
    return [
        {"network": subject.label, **row}
        for subject in lab.subjects(networks, epochs)
        for row in examine(subject, count)
    ]


class Laboratory:
    """The workspace that all studies share.

    Trained networks are run folders in `out/runs`, named by a digest of their settings and data; other results are in
    `out/cache`. A study that is started again reuses both.

    Args:
        options: `Options`.
        say: Function of a line of text.
    """

    def __init__(self, options: Options, say: Callable[[str], Any] = print) -> None:
        self.options = options
        self.say = say
        self.cache = Cache(options.out / "cache")
        self.console = Console(highlight=False)

    @property
    def dataset(self) -> ImageSet:
        return self._dataset(None)

    @functools.cache  # noqa: B019, as long as the study runs
    def _dataset(self, training_images):
        return data.load(self.options.data, self.options.data_dir, training_images=training_images)

    @property
    def slow_start(self) -> dict[str, float]:
        """Changes of the recipe for networks of 56 or more layers.

        In the few hundred steps of training on digits, they do not recover from an initial rate of 0.1 (He et al. 2016,
        section 4.2, also start lower). The recipe for other data has a warm-up.
        """
        return {"learning_rate": 0.03, "warmup_fraction": 0.2} if self.options.data == "digits" else {}

    @property
    def seeds(self) -> range:
        """Seeds of the trainings of each compared network: as many as the options say, or three (quick: one)."""
        count = self.options.pick("seeds", quick=1, digits=3, other=3)
        return range(self.options.seed, self.options.seed + count)

    def config(self, network: Network, epochs: int, seed: int | None = None) -> training.TrainConfig:
        """Return the `TrainConfig` of a network; all compared networks use the same recipe."""
        options = self.options
        values = {"label_smoothing": 0.0, "survival_warmup": 0.0, "data_dir": _string(options.data_dir)}
        values |= {"survival_probability": network.survival_probability, "model_arguments": network.arguments}
        return training.resolve(
            options.data,
            "digits" if options.data == "digits" else "fast_cifar",
            values={**values, **network.changes},
            model=network.model,
            epochs=epochs,
            policy=options.policy,
            seed=options.seed if seed is None else seed,
        )

    def train(
        self,
        network: Network,
        epochs: int,
        callbacks: Callable[[training.RunFolder], Sequence[keras.callbacks.Callback]] = lambda folder: [],
        record: str | None = None,
        seed: int | None = None,
    ) -> "Trained":
        """Train a network, resume its training, or reuse the trained one.

        Args:
            network: A `Network`.
            epochs: Integer.
            callbacks: Function of the `RunFolder` that returns further Keras callbacks.
            record: Name of the file that the callbacks write to the run folder; `None` if they write none.
            seed: Integer; `None` for that of the options.

        Returns:
            A `Trained`.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM stopped the training; its progress is saved.
        """
        config = self.config(network, epochs, seed)
        dataset = self._dataset(config.training_images)
        settings = {k: v for k, v in dataclasses.asdict(config).items() if k != "data_dir"}
        name = f"{network.label.replace(' ', '-')}-{digest(settings, dataset.describe())[:12]}"
        folder = training.RunFolder(self.options.out / "runs" / name)
        if record and folder.outcome().get("status") in training.OVER and not (folder.path / record).exists():
            # Trained by another study, which did not record this.
            folder = training.RunFolder(self.options.out / "runs" / f"{name}-{Path(record).stem}")
        if folder.outcome().get("status") not in training.OVER:
            self.say(f"training {network.label}: {config.epochs} epochs, in {folder}")
            folder.path.mkdir(parents=True, exist_ok=True)
            model = build(config, dataset)
            display = Bar(self.console, config.batch_size) if self.console.is_terminal else Lines(self.say)
            try:
                training.train(
                    model, dataset, config, folder, [display, *callbacks(folder)], resume=folder.config.exists()
                )
            finally:
                display.close()
        if folder.outcome().get("status") not in training.OVER:
            raise KeyboardInterrupt(f"stopped while training {network.label}; the same command resumes it")
        return Trained(network.label, folder, dataset)

    def subjects(self, networks: Sequence[Network], epochs: int) -> Iterator[Subject]:
        """Yield the trained networks to analyze: those that the options name, or else the given ones."""
        options = self.options
        for path in options.runs:
            yield subjects.of_run(path, options.data_dir)
        if options.model is not None and options.weights is not None:
            yield subjects.of_weights(options.model, options.weights, options.data, options.data_dir)
        if not options.runs and options.model is None:
            for network in networks:
                yield self.train(network, epochs).subject()

    def track(self, items: Iterable[Any], label: str) -> Iterable[Any]:
        """Iterate over items, with a progress bar on a terminal."""
        items = list(items)
        if not self.console.is_terminal:
            self.say(label)
            return iter(items)
        return track(items, description=label, console=self.console)


@dataclass(frozen=True)
class Trained:
    """A network trained by a study."""

    label: str
    folder: training.RunFolder
    dataset: ImageSet

    @property
    def test_error(self) -> float:
        """Test error in percent of the best weights on validation; NaN if training diverged."""
        return 100 * (1 - self.folder.outcome().get("test_accuracy", float("nan")))

    def history(self) -> list[dict[str, float]]:
        """Return the rows of `history.csv`."""
        return read_history(self.folder.history)

    def rows(self, name: str) -> list[dict[str, str]]:
        """Return the rows of another CSV file in the folder, as dictionaries of strings."""
        with (self.folder.path / name).open(newline="") as file:
            return list(csv.DictReader(file))

    def subject(self) -> Subject:
        """Return the network with its best weights, for analysis."""
        return dataclasses.replace(subjects.of_run(self.folder.path), label=self.label, dataset=self.dataset)


def _string(path):
    return None if path is None else str(path)
