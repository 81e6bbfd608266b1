"""Settings from files and the command line, converted to the types of `TrainConfig`."""

import dataclasses
import os
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from keras_sd.training.config import TrainConfig
from keras_sd.utils.checks import refusal
from keras_sd.utils.names import data_name, unknown

_KINDS = typing.get_type_hints(TrainConfig)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overrides:
    """Values that override a recipe's settings, under the names of `TrainConfig`; `None` overrides nothing.

    Precedence, from the lowest: `file`, the smoke form, `settings`, the named fields.

    Args:
        smoke: Whether to use the smoke form.
        file: Settings from a file.
        settings: Settings that the smoke form does not change, as from `--set`.
    """

    model: str | None = None
    data: str | None = None
    recipe: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    survival_probability: float | None = None
    survival_schedule: str | tuple[float, ...] | None = None
    augmentation: tuple[str, ...] | None = None
    mixup: float | None = None
    cutmix: float | None = None
    image_size: int | None = None
    learning_rate: float | None = None
    learning_rate_schedule: str | None = None
    warmup_epochs: float | None = None
    l2: float | None = None
    label_smoothing: float | None = None
    ema_momentum: float | None = None
    head_epochs: int | None = None
    policy: str | None = None
    seed: int | None = None
    deterministic: bool | None = None
    data_dir: str | None = None
    max_bad_files: int | None = None
    smoke: bool = False
    file: dict = dataclasses.field(default_factory=dict)
    settings: dict = dataclasses.field(default_factory=dict)

    @property
    def fields(self) -> dict[str, Any]:
        """The named fields that are not `None`, a dictionary."""
        return {name: value for name in _KINDS if (value := getattr(self, name, None)) is not None}

    @property
    def given(self) -> dict[str, Any]:
        """All overrides except the smoke form, by names of fields and `"model_arguments.NAME"`."""
        given = flat(merged(merged(self.file, self.settings), self.fields))
        return given | ({"data": data_name(given["data"])} if "data" in given else {})


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which each of the `model_arguments` has its own key, `"model_arguments.NAME"`."""
    arguments = {f"model_arguments.{name}": value for name, value in (values.get("model_arguments") or {}).items()}
    return {name: value for name, value in values.items() if name != "model_arguments"} | arguments


class _Loader(yaml.SafeLoader):
    """YAML loader that reads 1e-4 as a number, as JSON does; YAML 1.1 requires a decimal point."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))


def read(path: str | os.PathLike) -> dict[str, Any]:
    """Return the settings of a YAML or JSON file.

    Args:
        path: Path of a file that contains a mapping from fields of `TrainConfig` to values, or the `config.json`
            of a run.

    Returns:
        A dictionary, with typed values.

    Raises:
        ValueError: If the file has other content or an unknown field; the message suggests the closest names.
    """
    try:
        content = yaml.load(Path(path).read_text(), _Loader)  # JSON is YAML
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise refusal("config", f"a YAML or JSON file ({error})", str(path)) from error
    if isinstance(content, dict) and isinstance(content.get("config"), dict):
        content = content["config"]
    if not isinstance(content, dict):
        raise refusal("config", "a file with a mapping from settings to values", str(path))
    return typed(content)


def parse_all(settings: Iterable[str] | None) -> dict[str, Any]:
    """Return the settings of strings `"key=value"`, a dictionary of typed values; later ones override earlier ones."""
    values: dict[str, Any] = {}
    for setting in settings or ():
        values = merged(values, parse(setting))
    return values


def parse(setting: str) -> dict[str, Any]:
    """Return the setting of a string `"key=value"`, with the value in YAML: a dictionary with one typed value."""
    name, equals, text = setting.partition("=")
    if not equals:
        raise refusal("set", "KEY=VALUE", setting)
    try:
        return typed({name.strip(): yaml.load(text, _Loader)})
    except yaml.YAMLError:
        raise refusal("set", "KEY=VALUE with a valid YAML value", setting) from None


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings; the second ones win, and `model_arguments` replaces earlier single arguments."""
    if "model_arguments" in second:
        first = {name: value for name, value in first.items() if not name.startswith("model_arguments.")}
    return {**first, **second}


def typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert values to the types of their fields where possible; `TrainConfig` refuses the others.

    Args:
        values: Dictionary from names of fields (or `"model_arguments.NAME"`) to plain values.

    Returns:
        A dictionary with the same keys.

    Raises:
        ValueError: If a name is unknown; the message suggests the closest names.
    """
    for name in values:
        if name not in _KINDS and not str(name).startswith("model_arguments."):
            raise unknown("setting", name, [field.name for field in dataclasses.fields(TrainConfig)])
    return {name: _as_one_of(_KINDS.get(name), value) for name, value in values.items()}


def _as_one_of(kind, value):
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for one in kinds:
        try:
            return _as(one, value)
        except (TypeError, ValueError):
            continue
    return value


def _as(kind, value):
    """Convert a value to one type; raise a `ValueError` or `TypeError` if that is impossible."""
    if typing.get_origin(kind) is tuple:
        items = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
        return tuple(_as(typing.get_args(kind)[0], item) for item in items)
    if kind is float and not isinstance(value, bool):
        return float(value)
    if kind is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return value
    raise TypeError
