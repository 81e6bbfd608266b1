"""The folder of an exported run, which `keras-sd export` writes and `weights=` reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_sd.utils.checks import check_integer, check_number, check_type, one_line, refusal
from keras_sd.weights.errors import WeightsError
from keras_sd.weights.formats.strict import parse_json
from keras_sd.weights.registry import Preprocessing, WeightsRow

MODEL = "model.safetensors"
CONFIG = "config.json"
CARD = "README.md"
FORMAT = "keras_sd"

_KINDS = {"architecture": str, "arguments": dict, "input_shape": list, "classes": int, "preprocessing": dict}
_MAX_SIZE = 1 << 16  # pixels
_TENSOR_BYTES = 50  # minimum size of a tensor's entry in the header of a safetensors file


def config_of(row: WeightsRow) -> dict[str, object]:
    """Return the content of `config.json` for weights, as plain values for JSON."""
    return {
        "format": FORMAT,
        "architecture": row.architecture,
        "arguments": dict(row.arguments),
        "input_shape": list(row.input_shape or ()),
        "classes": row.classes,
        "classifier_activation": row.classifier_activation,
        "class_names": list(row.class_names),
        "preprocessing": dataclasses.asdict(row.preprocessing) if row.preprocessing else None,
        "test_accuracy": row.accuracy,
        "test_accuracy_source": row.accuracy_source,
        "license": row.license,
    }


def read_folder(path: Path) -> WeightsRow:
    """Read the description of the weights from `config.json` in their folder.

    Args:
        path: The folder.

    Returns:
        A row, as for published weights.

    Raises:
        WeightsError: If the file is damaged, or has a value that no exported run has.
    """
    file = path / CONFIG
    try:
        config: Any = parse_json(file.read_text())
        if isinstance(config, dict) and "licence" in config:  # as version 0.1 spelled it
            config["license"] = config.pop("licence")
        _check(config, (path / MODEL).stat().st_size)
        return WeightsRow(
            architecture=config["architecture"],
            tag=path.resolve().name,
            file=None,
            license=str(config.get("license")),
            source=str(path),
            layout=FORMAT,
            preprocessing=Preprocessing.from_dict(config["preprocessing"]),
            classes=config["classes"],
            arguments=_tuples(config["arguments"]),
            accuracy=config.get("test_accuracy"),
            accuracy_source=config.get("test_accuracy_source"),
            class_names=tuple(config.get("class_names") or ()),
            input_shape=tuple(config["input_shape"]),
            classifier_activation=config.get("classifier_activation", "softmax"),  # version 0.1 had no other
        )
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"Cannot read '{file}': {one_line(f'{error}', 500)}") from error


def _check(config: object, size: int) -> None:
    """Raise a `ValueError` or `TypeError` for values that no exported run has.

    `size` is the size of the weights, in bytes.
    """
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError("it was not written by `keras-sd export`")
    for name, kind in _KINDS.items():
        check_type(name, config.get(name), kind, f"of type {kind.__name__}")
    shape, names, accuracy = config["input_shape"], config.get("class_names") or [], config.get("test_accuracy")
    check_integer("classes", config["classes"])
    if len(shape) != 3:
        raise refusal("input_shape", "[height, width, channels]", shape)
    for length in shape:
        check_integer("input_shape", length, maximum=_MAX_SIZE)
    if not _is_text(names) or len(names) not in (0, config["classes"]):
        raise refusal("class_names", f"{config['classes']} names, one for each class", names)
    if accuracy is not None:
        check_number("test_accuracy", accuracy, "a number in [0, 1]", lambda value: 0 <= value <= 1)
    for name in ("test_accuracy_source", "license"):
        if not isinstance(config.get(name), str | None):
            raise refusal(name, "text", config[name])
    activation = config.get("classifier_activation")
    if activation is not None and not is_named_activation(activation):
        raise refusal("classifier_activation", "null or a name of `keras.activations`", activation)
    for name, value in config["arguments"].items():
        if not all(isinstance(part, str | int | float | None) for part in (value if type(value) is list else [value])):
            raise refusal(name, "text, a number, or a list of these", value)
    blocks = config["arguments"].get("blocks", [])
    # Checked before anything of that length is built: each block has at least one tensor in the file.
    count = sum(check_integer("blocks", number) for number in (blocks if type(blocks) is list else [blocks]))
    if count > size / _TENSOR_BYTES:
        raise refusal("blocks", f"no more than {MODEL} has weights for", blocks)


def is_named_activation(value: object) -> bool:
    """Return whether a value names one of Keras's own activations, which are available everywhere."""
    return isinstance(value, str) and callable(getattr(keras.activations, value, None))


def _is_text(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _tuples(values: Mapping[str, object]) -> dict[str, object]:
    """Convert lists to tuples: JSON has only lists, specs and rows use tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
