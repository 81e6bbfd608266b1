"""The folder of a published run: what `keras-sd export` writes, and `weights=` reads again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from keras_sd.weights.errors import WeightsError
from keras_sd.weights.registry import Preprocessing, WeightsRow

MODEL = "model.safetensors"
CONFIG = "config.json"
CARD = "README.md"
FORMAT = "keras_sd"

_KINDS = {"architecture": str, "arguments": dict, "input_shape": list, "classes": int, "preprocessing": dict}


def config_of(row: WeightsRow) -> dict[str, object]:
    """What `config.json` says about weights, as plain values for JSON."""
    return {
        "format": FORMAT,
        "architecture": row.architecture,
        "arguments": dict(row.arguments),
        "input_shape": list(row.input_shape),
        "classes": row.classes,
        "class_names": list(row.class_names),
        "preprocessing": dataclasses.asdict(row.preprocessing),
        "test_accuracy": row.accuracy,
        "test_accuracy_source": row.accuracy_source,
        "licence": row.licence,
    }


def read_folder(path: Path) -> WeightsRow:
    """Reads what `config.json` in a folder says about the weights beside it.

    Args:
        path: The folder.

    Returns:
        A row, as published weights have one.

    Raises:
        WeightsError: If the file is damaged, or is no such file.
    """
    file = path / CONFIG
    try:
        config = json.loads(file.read_text())
        _check(config)
        return WeightsRow(
            architecture=config["architecture"],
            tag=path.resolve().name,
            url="",
            sha256=None,
            licence=str(config.get("licence")),
            source=str(path),
            layout=FORMAT,
            preprocessing=Preprocessing(**_tuples(config["preprocessing"])),
            classes=config["classes"],
            arguments=_tuples(config["arguments"]),
            accuracy=config.get("test_accuracy"),
            accuracy_source=config.get("test_accuracy_source"),
            class_names=tuple(config.get("class_names") or ()),
            input_shape=tuple(config["input_shape"]),
        )
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"Cannot read '{file}': {error}") from error


def _check(config: object) -> None:
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError("it is not of a run that `keras-sd export` wrote")
    for name, kind in _KINDS.items():
        if not isinstance(config.get(name), kind):
            raise ValueError(f"`{name}` is {config.get(name)!r}; expected a {kind.__name__}")


def _tuples(values: Mapping[str, object]) -> dict[str, object]:
    """JSON knows lists only; specs and rows hold tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
