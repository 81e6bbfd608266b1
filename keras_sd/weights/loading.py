"""Weights into models: from a file, from another model. All is checked first; then all is assigned."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from keras_sd.utils.checks import check_choice, check_flag, check_type
from keras_sd.weights.canonical import Slot, absorb_factors, assign_slots, canonical, read_slots
from keras_sd.weights.errors import WeightsError
from keras_sd.weights.formats.readers import WeightsFile, read
from keras_sd.weights.formats.safetensors import write_safetensors
from keras_sd.weights.layouts import is_dense, map_keras, map_own, map_torch, to_torch, torch_name
from keras_sd.weights.semantics import check, of_file, to_metadata, traits

LAYOUTS = ("keras_sd", "timm")

_STEM = "stem/conv/kernel"
_HEAD = ("head/kernel", "head/bias")
_ADAPT_HINT = "Other classes and input channels are accepted on request (adapt=True)."
_LISTED = 12  # names that an error lists of each kind
_log = logging.getLogger(__name__)


def load(model: keras.Model, source: str | os.PathLike, adapt: bool = False) -> keras.Model:
    """Loads a file of weights into a model, checked in full before anything is assigned.

    A classifier in the file is left out for a model without one.

    Args:
        model: A model of `keras_sd.applications`, in any form.
        source: A file: `.safetensors` or `.th`/`.pth` with the names of timm, torchvision or the CIFAR
            ResNets of akamaster/pytorch_resnet_cifar10; `.safetensors` written by `save`; a legacy `.h5` of
            keras.applications; a `.keras` file; a `.weights.h5` of the same model in the same form.
        adapt: Whether the model may differ from the file in its classes and its input channels. A classifier
            of other classes then stays as it is initialized; the first convolution's kernel is summed over
            its input channels for one channel, and repeated, scaled to the same sum, for several. The log
            says what was adapted.

    Returns:
        The model.

    Raises:
        WeightsError: If the file cannot be read, or does not fit: what the file lacks, what the model lacks,
            and what has another shape are listed; or if the model would compute something else than the
            weights were trained to, as far as the file says so (see `keras_sd.weights.semantics`; a `.weights.h5`
            does not). The model is unchanged then.
    """
    check_type("model", model, keras.Model, "a Keras model")
    check_flag("adapt", adapt)
    file = read(source)
    if file.format in ("keras", "keras-weights"):
        return copy(_keras_model(model, file), model, adapt, str(file.path))
    slots = canonical(model)
    names = dict.fromkeys([*slots, *_HEAD])
    if file.layers:
        found, left = map_keras(names, file)
    elif any(name in names for name in file.arrays):
        found, left = map_own(names, file.arrays)
    else:
        found, left = map_torch(names, file.arrays)
    own = traits(model)
    check(model, own, of_file(file, own), f"'{file.path}'")
    _assign(model, slots, found, left, adapt, f"'{file.path}'")
    return model


def _keras_model(model: keras.Model, file: WeightsFile) -> keras.Model:
    """The model in a Keras file; for one that holds weights only, a copy of the given model with those weights."""
    try:
        if file.format == "keras":
            return keras.saving.load_model(file.path, compile=False, safe_mode=True)  # no pickled functions
        twin = model.__class__.from_config(model.get_config())
        # Keras would overlook what the file has beyond the model. States of seed generators (uint32) may lack or not.
        found = sorted(array.shape for array in file.arrays.values() if array.dtype != np.uint32)
        expected = sorted(tuple(weight.shape) for weight in twin.weights)
        if found != expected:
            raise ValueError(f"it has {len(found)} arrays, expected {len(expected)} of the shapes of {model.name}")
        twin.load_weights(file.path)
        return twin
    except Exception as error:  # Keras raises many kinds for files that do not fit
        raise WeightsError(f"Cannot load '{file.path}' into {model.name}: {error}") from error


def copy(source: keras.Model, target: keras.Model, adapt: bool = False, origin: str | None = None) -> keras.Model:
    """Copies the weights of a model into another, checked in full before anything is assigned.

    Args:
        source: A model of `keras_sd.applications` in any form, or of keras.applications.
        target: Likewise, of the same architecture.
        adapt: As in `load`.
        origin: What an error calls the source; None: its name.

    Returns:
        The target.

    Raises:
        WeightsError: If the models do not correspond; the target is unchanged then.
    """
    check_type("source", source, keras.Model, "a Keras model")
    check_type("target", target, keras.Model, "a Keras model")
    check_flag("adapt", adapt)
    slots = canonical(target)
    origin = origin or f"the model {source.name}"
    found, left = map_own(dict.fromkeys([*slots, *_HEAD]), read_slots(canonical(source)))
    check(target, traits(target), traits(source), origin)
    _assign(target, slots, found, left, adapt, origin)
    return target


def _assign(model: keras.Model, slots, found, left, adapt: bool, origin: str) -> None:
    """Checks that every weight is there with its shape, and none is left over; then assigns."""
    found = {name: array for name, array in found.items() if name in slots}
    if adapt:
        slots, found = _adapted(slots, found, origin)
    missing = [f"{name} {slot.shape}" for name, slot in slots.items() if name not in found]
    unexpected = [f"{name} {tuple(array.shape)}" for name, array in left.items()]
    wrong = [
        f"{name} {tuple(array.shape)}, expected {slots[name].shape}"
        for name, array in found.items()
        if tuple(array.shape) != slots[name].shape
    ]
    if missing or unexpected or wrong:
        parts = (("It lacks", missing), ("It has but the model lacks", unexpected), ("It has in another shape", wrong))
        listed = " ".join(f"{what} {_list(names)}." for what, names in parts if names)
        hint = f" {_ADAPT_HINT}" if wrong and not (missing or unexpected) and not adapt else ""
        if missing and all("/conv" in name and "/bias" in name for name in missing):
            hint = " Build the model with use_bias=False: its convolutions have biases, and those of the file none."
        raise WeightsError(f"{origin} does not fit {model.name}, which is unchanged. {listed}{hint}")
    assign_slots(slots, found)


def _list(names: list[str]) -> str:
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)}: {'; '.join(names[:_LISTED])}{rest}"


def _adapted(slots: Mapping[str, Slot], found: dict[str, np.ndarray], origin: str):
    """Leaves out a classifier of other classes, and fits the first kernel to the input's channels."""
    slots, found = dict(slots), dict(found)
    head = [name for name in _HEAD if name in slots]
    if any(name not in found or found[name].shape != slots[name].shape for name in head):
        _log.warning("The classifier is new, not from %s, which has another or none.", origin)
        for name in head:
            del slots[name]
            found.pop(name, None)
    kernel = found.get(_STEM)
    if kernel is not None and kernel.ndim == 4 and kernel.shape[2] != slots[_STEM].shape[2]:
        before, after = kernel.shape[2], slots[_STEM].shape[2]
        _log.warning("The first convolution of %s, for %d channels, is adapted to %d.", origin, before, after)
        found[_STEM] = (
            kernel.sum(2, keepdims=True) if after == 1 else kernel[:, :, np.arange(after) % before] * (before / after)
        )
    return slots, found


def save(model: keras.Model, path: str | os.PathLike, layout: str = "keras_sd") -> Path:
    """Writes the weights of a model as `.safetensors`, which `load` reads into any form of the network.

    Args:
        model: A model of `keras_sd.applications`.
        path: Where to write.
        layout: "keras_sd": canonical names and Keras's layout of kernels. "timm": the names and layout of
            timm, and of torchvision, whose networks know no survival probability: the last layer of a branch
            is multiplied by it, so that they compute at inference what the model does.

    Returns:
        The path.

    Raises:
        ValueError: If the layout is unknown, or a weight has no place in it.
    """
    check_type("model", model, keras.Model, "a Keras model")
    check_choice("layout", layout, LAYOUTS)
    path = Path(check_type("path", path, (str, os.PathLike), "a path"))
    if path.suffix != ".safetensors":
        raise ValueError(f"`path` must end in .safetensors. Received: path='{path}'")
    slots = canonical(model)
    arrays = read_slots(slots)
    known = traits(model)
    if layout == "timm":
        dense = is_dense(arrays)
        arrays = {torch_name(name, dense): to_torch(a) for name, a in absorb_factors(slots, arrays).items()}
        known = {name: trait for name, trait in known.items() if not name.endswith("/factor")}
    metadata = {"format": "pt" if layout == "timm" else "keras_sd"}
    return write_safetensors(path, arrays, metadata | to_metadata(known))
