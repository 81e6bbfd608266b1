"""The record of a `keras-sd tune` search in the folder of the search."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from keras_sd.utils.checks import refusal
from keras_sd.utils.files import DamagedFileError, Lock, check_record, free_path, read_json, write_atomically

if TYPE_CHECKING:
    from keras_sd.training import TrainConfig
    from keras_sd.training.overrides import Overrides
    from keras_sd.tuning.hypermodels import StochasticDepthHyperModel
    from keras_sd.tuning.search import Search


_REMEDY = "restore it from a copy, or name another folder"
DEFAULTS = {
    "search": (),
    "tuner": "bayesian",
    "trials": 20,
    "epochs": None,
    "budget_params": None,
    "budget_flops": None,
    "objective": "error",
    "cost_weight": 0.01,
    "patience": None,
    "warm_start": False,
    "final_epochs": None,
    "lease": 60.0,
}
_MAY_CHANGE = ("trials", "final_epochs", "lease", "data_dir")
COSTS = {"error": None, "error+flops": "flops", "error+seconds": "seconds"}


@dataclasses.dataclass(frozen=True)
class Record:
    """A search: its folder, the `TrainConfig` of fixed settings, and the options that define the search.

    Args:
        path: Path of the folder.
        config: A `TrainConfig`.
        options: Dictionary with the keys of `DEFAULTS`.
    """

    path: Path
    config: "TrainConfig"
    options: dict

    @classmethod
    def new(cls, out: str | os.PathLike | None, config: "TrainConfig", asked: dict[str, Any]) -> Self:
        """Return a new search.

        Raises:
            FileExistsError: If its folder is in use.
            ValueError: If options are not allowed.
        """
        from keras_sd.training import RunFolder

        path = Path(out) if out else free_path("runs", "tune")
        RunFolder(path).check_free()
        given = {name: value for name, value in asked.items() if value is not None}
        options = DEFAULTS | given
        if "trials" not in given and options["tuner"] in ("hyperband", "grid"):
            options["trials"] = None
        return cls(path, config, _checked(options))

    @staticmethod
    def is_at(out: str | os.PathLike | None) -> bool:
        """Return whether a folder has the record of a search.

        Raises:
            ValueError: If no folder is given, or the folder of a search lacks its `search.json`.
        """
        if out is None:
            raise refusal("out", "the folder of a search, with --resume", None)
        file = Path(out) / "search.json"
        if not file.exists() and (Path(out) / "oracle.json").exists():
            raise DamagedFileError(file, "is missing", _REMEDY)
        return file.exists()

    @classmethod
    def read(cls, out: str | os.PathLike | None, named: "Overrides", asked: dict[str, Any]) -> Self:
        """Return an existing search.

        Args:
            out: Path of its folder.
            named: `Overrides`, which must not contradict its `TrainConfig`.
            asked: Dictionary of options, which must not contradict its options; some may change.

        Raises:
            ValueError: If the search has different settings.
            DamagedFileError: If `search.json` is damaged.
        """
        from keras_sd.runs.networks import given_settings
        from keras_sd.training.overrides import flat
        from keras_sd.training.run_folder import refuse_changes

        file = Path(out or "") / "search.json"
        if out is None or not file.exists():
            raise refusal("out", "the folder of a search, which contains a search.json", out and str(out))
        config, options = _read(file)
        asked = {name: value for name, value in asked.items() if value is not None}
        # The option `--epochs` applies to a trial, and is in `asked`.
        given = {name: value for name, value in given_settings(named).items() if name != "epochs"}
        known = {**flat(dataclasses.asdict(config)), **options}
        refuse_changes(known, given | asked, f"the search in {out}", _MAY_CHANGE)
        options |= {name: asked[name] for name in _MAY_CHANGE if asked.get(name) is not None}
        return cls(Path(out), config, _checked(options))

    @property
    def final_epochs(self) -> int | None:
        return self.options["final_epochs"]

    def write(self) -> None:
        record = {"config": dataclasses.asdict(self.config), "options": self.options}
        write_atomically(self.path / "search.json", (json.dumps(record, indent=2) + "\n").encode())

    def locked(self) -> Lock:
        """Create the folder and return its exclusive lock, for a `with` block.

        Entering the block raises a `BlockingIOError` if another process has the lock.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        allowed = "a folder where no other process is searching"
        return Lock(self.path / "run.lock", refusal("out", allowed, str(self.path), BlockingIOError))

    def hypermodel(self, data_dir: str | os.PathLike | None = None) -> "StochasticDepthHyperModel":
        """Return the hypermodel of this search, on its data set."""
        from keras_sd import applications, tuning
        from keras_sd.models.specs import DenseNetSpec
        from keras_sd.runs import networks

        name, options = self.config.model, self.options
        is_dense = name == "DenseNet" or (
            name in applications.MODELS and isinstance(applications.MODELS[name].spec, DenseNetSpec)
        )
        kind = tuning.StochasticDenseNet if is_dense else tuning.StochasticDepthResNet
        hyperparameters = dict(parse(text) for text in options["search"])
        directory = str(Path(data_dir).resolve()) if data_dir else None
        return kind(
            networks.load_data(self.config, directory),
            model=name,
            config=self.config,
            max_parameters=options["budget_params"],
            max_flops=options["budget_flops"],
            cost=COSTS[options["objective"]],
            cost_weight=options["cost_weight"],
            **hyperparameters,
        )

    def make_search(self, hypermodel: "StochasticDepthHyperModel", log: Callable[[str], Any]) -> "Search":
        """Return the `Search`, new or resumed."""
        from keras_sd import tuning

        names = ("tuner", "trials", "epochs", "patience", "warm_start", "lease")
        options = {name: self.options[name] for name in names}
        return tuning.Search(hypermodel, directory=self.path, seed=self.config.seed, log=log, **options)


def _read(file):
    """Return the `TrainConfig` and the options in `search.json`."""
    from keras_sd.training import TrainConfig

    recorded = read_json(file, _REMEDY, {"config": dict, "options": dict})
    options = recorded["options"]
    check_record(file, options, dict.fromkeys(DEFAULTS, object) | {"search": list}, _REMEDY, "options.")
    try:
        for text in options["search"]:
            parse(text)
        return TrainConfig.from_dict(recorded["config"]), _checked(options)
    except (AttributeError, TypeError, ValueError) as error:
        raise DamagedFileError(file, f"does not contain valid settings of a search: {error}", _REMEDY) from error


def parse(text: str) -> tuple[str, Any]:
    """Parse a hyperparameter of the command. Returns name and value of an argument of a hypermodel.

    Raises:
        ValueError: If the text is not `NAME=VALUES`.
    """
    name, equals, values = (part.strip() for part in text.partition("="))
    if not equals or not name or not values:
        raise refusal("search", "NAME=LOW:HIGH, NAME=A,B,C, NAME=on, NAME=off or NAME=VALUE", text)
    if "," in values:
        return name, [_scalar(one) for one in values.split(",")]
    if ":" in values:
        return name, tuple(_scalar(one) for one in values.split(":"))
    return name, _scalar(values)


def _scalar(text):
    text = text.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"on": True, "true": True, "off": False, "false": False}.get(text.lower(), text)


def _checked(options):
    from keras_sd.tuning.search import check_options
    from keras_sd.utils.names import unknown

    check_options(*(options[name] for name in ("tuner", "trials", "epochs", "patience")))
    if options["objective"] not in COSTS:
        raise unknown("objective", options["objective"], COSTS)
    for name, least in (("lease", 0.1), ("final_epochs", 0)):
        if options[name] is not None and not options[name] >= least:
            raise refusal(name, f"at least {least}", options[name])
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
