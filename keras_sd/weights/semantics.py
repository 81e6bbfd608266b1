"""Traits: differences between networks that the shapes of their weights do not show.

Shapes do not show the factor of a branch at inference, which convolution of a block has the stride, or how a shortcut
without parameters subsamples. Loading weights into a network that differs in one of these would go unnoticed and
reduce accuracy, so weights have them as traits:

    stage2/block1/factor    factor of the branch at inference; 1 if missing
    stage2/block1/strided   the convolution with the stride, such as "conv1"
    stage2/block1/shortcut  "average" or "slice"
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import keras

from keras_sd.layers import IdentityShortcut
from keras_sd.layers.blocks import GatedBlocks
from keras_sd.layers.nesting import walk
from keras_sd.layers.pre_activation import PreActivation
from keras_sd.utils.checks import one_line, shown
from keras_sd.weights.canonical_names import canonical, layer_prefix, read_factors
from keras_sd.weights.errors import WeightsError
from keras_sd.weights.formats.readers import WeightsFile
from keras_sd.weights.formats.strict import parse_json
from keras_sd.weights.layouts import layout_of
from keras_sd.weights.registry import Preprocessing

_KEY, _PREPROCESSING = "keras_sd.traits", "keras_sd.preprocessing"  # in the metadata of a file

STRIDED = {"first": "conv1", "middle": "conv2"}  # by the argument `stride_in`

_REMEDIES = {
    "factor": "Build the model with the survival probabilities and the scaling that the weights were trained with.",
    "constant": 'Build the model with scaling="training", which divides in training and does not change inference.',
    "strided": 'Build the model with another `stride_in`: "middle" for conv2, "first" for conv1.',
    "shortcut": "Build the model with the argument `shortcut` that the weights were trained with.",
}


def traits(model: keras.Model) -> dict[str, str | float]:
    """Return the traits of a model of `keras_sd.applications` or keras.applications."""
    factors = {f"{block}/factor": factor for block, factor in read_factors(canonical(model)).items()}
    return factors | dict(_layer_traits(model))


def _layer_traits(model: keras.Model) -> Iterator[tuple[str, str]]:
    for layer in model.layers:
        block, _, part = layer_prefix(layer.name, is_dense=False).rpartition("/")
        if isinstance(layer, GatedBlocks) and not layer.keeps_shape:  # no other block has a stride
            block = f"{block}/{part}"
            yield from ((f"{block}/strided", one.name) for one in walk(layer.branch) if _is_strided(one))
            if isinstance(layer.shortcut, IdentityShortcut):
                yield f"{block}/shortcut", layer.shortcut.subsampling
        elif isinstance(layer, keras.Model):
            yield from _layer_traits(layer)
        elif block.startswith("stage") and "shortcut" not in block and _is_strided(layer):
            yield f"{block}/strided", part


def _is_strided(layer: keras.Layer) -> bool:
    return hasattr(layer, "kernel_size") and max(layer.strides) > 1


def to_metadata(found: Mapping[str, str | float]) -> dict[str, str]:
    """Return traits as metadata for a file."""
    return {_KEY: json.dumps(found)}


def is_of_save(file: WeightsFile) -> bool:
    """Return whether a file was written by `keras_sd.weights.save`."""
    return _KEY in file.metadata


def preprocessing_to_metadata(preprocessing: Preprocessing | None) -> dict[str, str]:
    """Return preprocessing as metadata for a file."""
    return {} if preprocessing is None else {_PREPROCESSING: json.dumps(dataclasses.asdict(preprocessing))}


def read_preprocessing(file: WeightsFile) -> Preprocessing | None:
    """Return the preprocessing that `save` wrote to a file; None if there is none.

    Raises:
        WeightsError: If the metadata is damaged.
    """
    if _PREPROCESSING not in file.metadata:
        return None
    try:
        return Preprocessing.from_dict(cast(dict, parse_json(file.metadata[_PREPROCESSING])))
    except ValueError as error:
        raise WeightsError(f"'{file.path}' has damaged metadata: {one_line(f'{error}', 300)}.") from error


def of_file(file: WeightsFile, model_traits: Mapping[str, str | float]) -> dict[str, str | float]:
    """Return the traits of the weights in a file, as written by `save`, or else as implied by the file's layout.

    Args:
        file: The file, which has a layout.
        model_traits: Traits of the model, for the names of its blocks.

    Raises:
        WeightsError: If the metadata is damaged.
    """
    if _KEY in file.metadata:
        try:
            found = parse_json(file.metadata[_KEY])
            if not isinstance(found, dict):
                raise ValueError(f"{_KEY} must be a JSON object. Received: {shown(found)}")
            for name, value in found.items():
                if not _is_trait(name.rpartition("/")[2], value):
                    raise ValueError(f"{shown(name)} cannot be {shown(value)}")
            return found
        except ValueError as error:
            raise WeightsError(f"'{file.path}' has damaged metadata: {one_line(f'{error}', 300)}.") from error
    layout = layout_of(file)
    implied = layout.arguments_of(file) if layout else {}
    known = {"shortcut": implied.get("shortcut"), "strided": STRIDED.get(str(implied.get("stride_in")))}
    found = {name: known.get(name.rpartition("/")[2]) for name in model_traits}
    return {name: str(value) for name, value in found.items() if value is not None}


def _is_trait(kind: str, value: Any) -> bool:
    if kind == "factor":
        return type(value) in (int, float) and 0 < value <= 1
    return kind in ("strided", "shortcut") and isinstance(value, str)


def check_epsilons(model: keras.Model, other: keras.Model, origin: str) -> None:
    """Raise a `WeightsError` if normalizations of two models have different epsilons."""
    before, now = _epsilons(other), _epsilons(model)
    for one, others in [(e, now) for e in before] + [(e, before) for e in now]:
        # Keras's own networks have 1.001e-5 where others have 1e-5.
        if others and not any(math.isclose(one, e, rel_tol=0.01) for e in others):
            raise WeightsError(
                f"{origin} does not fit {model.name}, which is unchanged: the epsilons of normalizations were "
                f"{sorted(before)} in training and are {sorted(now)} in the model. "
                "Build the model with the argument `epsilon` that the weights were trained with."
            )


def _epsilons(model: keras.Model) -> set[float]:
    normalizations = keras.layers.BatchNormalization, PreActivation
    return {float(part.epsilon) for part in walk(model, into_blocks=True) if isinstance(part, normalizations)}


def differences(own: Mapping, trained: Mapping) -> list[str]:
    """Return how a model would compute something different from what the weights were trained for.

    Args:
        own: Traits of the model.
        trained: Traits of the weights.

    Returns:
        A sentence for each kind of difference.
    """
    found: dict[str, str] = {}
    for name in dict.fromkeys([*trained, *own]):
        block, _, kind = name.rpartition("/")
        before, now = trained.get(name), own.get(name)
        if kind == "factor":
            before, now = before or 1.0, now or 1.0
        elif before is None or now is None:  # a dilated network has no stride; most files have no traits
            continue
        if before == now or (kind == "factor" and math.isclose(before, now, rel_tol=1e-6)):
            continue
        remedy = _REMEDIES["constant" if kind == "factor" and before == 1 else kind]
        what = {"factor": "branch factor", "strided": "strided convolution"}.get(kind, kind)
        was = f"The {what} of {one_line(block, 200)} was {one_line(str(before), 200)} in training"
        found.setdefault(kind, f"{was} and is {now} in the model. {remedy}")
    return list(found.values())
