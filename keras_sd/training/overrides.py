"""Settings from files and from the command line, with the types that `TrainConfig` has."""

import dataclasses
import re
import types
import typing
from pathlib import Path

import yaml

from keras_sd.training.config import TrainConfig
from keras_sd.utils.names import unknown

_KINDS = typing.get_type_hints(TrainConfig)


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-4 is a number, as in JSON: YAML 1.1 wants a point in it."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))


def read(path):
    """The settings of a YAML or JSON file.

    Args:
        path: Path of a file that holds a mapping from fields of `TrainConfig` to values, or the `config.json` of
            a run.

    Returns:
        A dictionary, with typed values.

    Raises:
        ValueError: where the file holds something else, or an unknown field; the nearest names are given.
    """
    try:
        content = yaml.load(Path(path).read_text(), _Loader)  # JSON is YAML
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"config is {str(path)!r}, which is neither YAML nor JSON: {error}") from error
    if isinstance(content, dict) and isinstance(content.get("config"), dict):
        content = content["config"]
    if not isinstance(content, dict):
        raise ValueError(f"config is {str(path)!r}; it must hold a mapping from settings to values")
    return typed(content)


def parse(setting):
    """The settings of a text `"key=value"`, the value as in YAML: a dictionary with one typed value."""
    name, equals, text = setting.partition("=")
    if not equals:
        raise ValueError(f"set is {setting!r}; it must be KEY=VALUE")
    try:
        return typed({name.strip(): yaml.load(text, _Loader)})
    except yaml.YAMLError:
        raise ValueError(f"set is {setting!r}; its value must be one that YAML can read") from None


def merged(first, second):
    """Return settings of which the second ones win: `model_arguments` replaces single arguments that came before."""
    if "model_arguments" in second:
        first = {name: value for name, value in first.items() if not name.startswith("model_arguments.")}
    return {**first, **second}


def typed(values):
    """Values with the types of the fields, where they can have them; what cannot, `TrainConfig` refuses.

    Args:
        values: Dictionary from names of fields (or `"model_arguments.NAME"`) to plain values.

    Returns:
        A dictionary with the same keys.

    Raises:
        ValueError: for an unknown name; the nearest names are given.
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
    """A value as one kind; `ValueError` or `TypeError` where it is none."""
    if typing.get_origin(kind) is tuple:
        items = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
        return tuple(_as(typing.get_args(kind)[0], item) for item in items)
    if kind is float and not isinstance(value, bool):
        return float(value)
    if kind is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return value
    raise TypeError
