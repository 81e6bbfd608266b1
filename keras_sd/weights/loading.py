"""Weights into models: from a file, from another model. All is checked first; then all is assigned."""

from __future__ import annotations

import collections
import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import ml_dtypes
import numpy as np
from keras.src.backend.common import global_state  # has the variables that wait for their values

from keras_sd.utils.checks import check_choice, check_flag, check_type, one_line, refusal
from keras_sd.weights.canonical_names import Slot, absorb_factors, assign_slots, canonical, read_slots
from keras_sd.weights.errors import WeightsError
from keras_sd.weights.formats.hdf5 import CONFIG_ENTRY
from keras_sd.weights.formats.readers import WeightsFile, read
from keras_sd.weights.formats.safetensors import write_safetensors
from keras_sd.weights.formats.strict import parse_json
from keras_sd.weights.layouts import LAYOUTS, layout_of, map_own
from keras_sd.weights.registry import Preprocessing
from keras_sd.weights.semantics import (
    check_epsilons,
    differences,
    of_file,
    preprocessing_to_metadata,
    to_metadata,
    traits,
)

_STEM = "stem/conv/kernel"
_HEAD = ("head/kernel", "head/bias")
_ADAPT_HINT = "Other classes and input channels are accepted on request (adapt=True)."
_LISTED = 12  # names that an error lists of each kind
_log = logging.getLogger(__name__)


def load(
    model: keras.Model,
    source: str | os.PathLike | WeightsFile,
    adapt: bool = False,
    allow_nonfinite: bool = False,
    use_ema: bool = True,
) -> keras.Model:
    """Load a file of weights into a model, checked in full before anything is assigned.

    A classifier in the file is left out for a model without one.

    Args:
        model: A model of `keras_sd.applications`, in any form.
        source: A file: `.safetensors` or `.th`/`.pth` with the names of timm, torchvision or the CIFAR
            ResNets of akamaster/pytorch_resnet_cifar10; `.safetensors` written by `save`; a legacy `.h5` or
            `.weights.h5` of keras.applications; a `.keras` file; a `.weights.h5` of the same model in the same
            form. Or what `read` returned.
        adapt: Whether the model may differ from the file in its classes and its input channels. A classifier
            of other classes then stays as it is initialized; the first convolution's kernel is summed over
            its input channels for one channel, and repeated, scaled to the same sum, for several. The log
            says what was adapted.
        allow_nonfinite: Whether weights may be NaN or infinite, as those of a training that diverged are.
        use_ema: Whether a checkpoint that has weights and their moving average gives the average; see `read`.

    Returns:
        The model.

    Raises:
        WeightsError: If the file cannot be read, or does not fit: what the file lacks, what the model lacks,
            what has another shape, and what is no weight (integers, complex numbers, numbers that are infinite in
            the model's dtype, negative variances) are listed; or if the model would compute something else than the
            weights were trained to, as far as the file says so (see `keras_sd.weights.semantics`; a `.weights.h5`
            does not). The model is unchanged then.
    """
    check_type("model", model, keras.Model, "a Keras model")
    check_flag("adapt", adapt)
    file = source if isinstance(source, WeightsFile) else read(source, allow_nonfinite, use_ema)
    _finish(_plan(model, file, adapt, allow_nonfinite), model, file, adapt, allow_nonfinite)
    return model


def build_and_load(build: Callable[[], keras.Model], file: WeightsFile, adapt: bool = False) -> keras.Model:
    """Build a model and load a file into it; memory for the weights is taken only when the file has them.

    Args:
        build: Function without arguments that returns a model as `load` takes it.
        file: What `read` returned.
        adapt: As in `load`.

    Returns:
        The model.

    Raises:
        WeightsError: As in `load`.
    """
    with _without_values():
        model = build()
        planned = _plan(model, file, adapt)
    _finish(planned, model, file, adapt)
    return model


def _plan(model: keras.Model, file: WeightsFile, adapt: bool, allow_nonfinite: bool = False):
    """Where each array of a file is to be put, checked in full; None where Keras must build a model for it.

    No value of the model is needed for it.
    """
    slots = canonical(model)
    names = dict.fromkeys([*slots, *_HEAD])
    layout = layout_of(file, names)
    if layout is None:
        return None
    found, left = layout.map_names(names, file)
    own = traits(model)
    problems = differences(own, of_file(file, own))
    return _checked(model, slots, found, left, adapt, f"'{file.path}'", allow_nonfinite, problems)


def _finish(planned, model: keras.Model, file: WeightsFile, adapt: bool, allow_nonfinite: bool = False) -> None:
    if planned is None:
        copy(_keras_model(model, file), model, adapt, str(file.path), allow_nonfinite)
    else:
        assign_slots(*planned)


@contextlib.contextmanager
def _without_values() -> Iterator[None]:
    """Variables made inside have shapes only. They get their values at the end, unless there is an error."""
    waiting = global_state.get_global_attribute("uninitialized_variables") or []
    known = len(waiting)
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    except BaseException:
        global_state.set_global_attribute("uninitialized_variables", waiting[:known])
        raise
    with keras.StatelessScope():
        pass  # its end initializes them


def _keras_model(model: keras.Model, file: WeightsFile) -> keras.Model:
    """The model in a Keras file; for one that holds weights only, a copy of the given model with those weights."""
    try:
        with _without_values():  # a configuration may ask for any size
            twin = _of_config(file) if file.format == "keras" else model.__class__.from_config(model.get_config())
            _check_shapes(twin, file)
        twin.load_weights(file.path)
        canonical(twin), traits(twin)  # layers that have no names here are an error of the file, too
        return twin
    except Exception as error:  # Keras raises many kinds for files that do not fit
        raise WeightsError(f"Cannot load '{file.path}' into {model.name}: {one_line(f'{error}', 1000)}") from error


def _of_config(file: WeightsFile) -> keras.Model:
    config: Any = parse_json(file.metadata[CONFIG_ENTRY])
    longest = max([len(file.arrays), *(size for array in file.arrays.values() for size in array.shape)])
    pending = [config]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            for name in ("depth", "num_layers"):  # a stack has an axis as long, a dense block more arrays
                if isinstance(part.get(name), int) and part[name] > longest:
                    raise ValueError(f"its configuration has {name}={part[name]}, and no array is as long")
        if isinstance(part, dict | list):
            pending.extend(part.values() if isinstance(part, dict) else part)
    config.pop("compile_config", None)
    model = keras.saving.deserialize_keras_object(config, safe_mode=True)  # no pickled functions
    if not isinstance(model, keras.Model):
        raise ValueError(f"its configuration is of a {type(model).__name__}, expected a model")
    return model


def _check_shapes(twin: keras.Model, file: WeightsFile) -> None:
    """Raise if the file has not the arrays of the model, by shape. A `.keras` file may have more: an optimizer's."""
    # States of seed generators (uint32) may lack or not.
    found = collections.Counter(array.shape for array in file.arrays.values() if array.dtype != np.uint32)
    expected = collections.Counter(tuple(weight.shape) for weight in twin.weights)
    # Keras would overlook what a file of weights has beyond the model.
    if expected - found or (file.format == "keras-weights" and found != expected):
        raise ValueError(
            f"it has {found.total()} arrays, expected {expected.total()} of the shapes of {one_line(twin.name, 100)}"
        )


def copy(
    source: keras.Model,
    target: keras.Model,
    adapt: bool = False,
    origin: str | None = None,
    allow_nonfinite: bool = False,
) -> keras.Model:
    """Copy the weights of a model into another, checked in full before anything is assigned.

    Args:
        source: A model of `keras_sd.applications` in any form, or of keras.applications.
        target: Likewise, of the same architecture.
        adapt: As in `load`.
        origin: What an error calls the source; None: its name.
        allow_nonfinite: As in `load`.

    Returns:
        The target.

    Raises:
        WeightsError: If the models do not correspond; the target is unchanged then.
    """
    check_type("source", source, keras.Model, "a Keras model")
    check_type("target", target, keras.Model, "a Keras model")
    check_flag("adapt", adapt)
    slots = canonical(target)
    origin = f"'{origin}'" if origin else f"the model {source.name}"
    found, left = map_own(dict.fromkeys([*slots, *_HEAD]), read_slots(canonical(source)))
    check_epsilons(target, source, origin)
    problems = differences(traits(target), traits(source))
    assign_slots(*_checked(target, slots, found, left, adapt, origin, allow_nonfinite, problems))
    return target


def _checked(model: keras.Model, slots, found, left, adapt: bool, origin: str, allow_nonfinite: bool, problems):
    """The slots and, cast, their arrays, when each is there with its shape and holds weights, and none is left over.

    Whatever does not fit is listed in one error, after the problems that are known already.
    """
    found = {name: array for name, array in found.items() if name in slots}
    no_weights = [f"{name} of {a.dtype}" for name, a in found.items() if _kind(a.dtype) != _kind(slots[name].dtype)]
    if adapt:
        slots, found = _adapted(slots, found, origin)
    missing = [f"{name} {slot.shape}" for name, slot in slots.items() if name not in found]
    unexpected = [f"{name} {tuple(array.shape)}" for name, array in left.items()]
    wrong = [
        f"{name} {tuple(array.shape)}, expected {slots[name].shape}"
        for name, array in found.items()
        if tuple(array.shape) != slots[name].shape
    ]
    with np.errstate(over="ignore", invalid="ignore"):
        cast = {name: np.asarray(array).astype(slots[name].dtype, copy=False) for name, array in found.items()}
    for name, array in cast.items():
        if not allow_nonfinite and not np.isfinite(array).all():
            no_weights.append(f"{name} with NaN or infinity in {array.dtype} (accepted with allow_nonfinite=True)")
        elif name.endswith("moving_variance") and (array < 0).any():
            no_weights.append(f"{name} with negative variances")
    parts = (
        ("It lacks", missing),
        ("It has but the model lacks", unexpected),
        ("It has in another shape", wrong),
        ("It has what is no weight", no_weights),
    )
    listed = [f"{what} {_list(names)}." for what, names in parts if names]
    if wrong and not (missing or unexpected or no_weights or adapt):
        listed.append(_ADAPT_HINT)
    if missing and all("/conv" in name and "/bias" in name for name in missing):
        listed.append("Build the model with use_bias=False: its convolutions have biases, and those of the file none.")
    if problems or listed:
        raise WeightsError(f"{origin} does not fit {model.name}, which is unchanged. {' '.join([*problems, *listed])}")
    return slots, cast


def _kind(dtype: np.dtype) -> str:
    return "f" if dtype == ml_dtypes.bfloat16 else dtype.kind


def _list(names: list[str]) -> str:
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)}: {'; '.join(one_line(name, 120) for name in names[:_LISTED])}{rest}"


def _adapted(slots: Mapping[str, Slot], found: dict[str, np.ndarray], origin: str):
    """Leave out a classifier of other classes, and fit the first kernel to the input's channels."""
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


def save(
    model: keras.Model,
    path: str | os.PathLike,
    layout: str = "keras_sd",
    preprocessing: Preprocessing | None = None,
) -> Path:
    """Write the weights of a model as `.safetensors`, which `load` reads into any form of the network.

    Args:
        model: A model of `keras_sd.applications`.
        path: Where to write.
        layout: "keras_sd": canonical names and Keras's layout of kernels. "timm": the names and layout of
            timm, and of torchvision, whose networks know no survival probability: the last layer of a branch
            is multiplied by it, so that they compute at inference what the model does.
        preprocessing: How images are prepared for the model; `preprocessing.for_weights` reads it from the file.

    Returns:
        The path.

    Raises:
        ValueError: If the layout is unknown, or a weight has no place in it.
    """
    check_type("model", model, keras.Model, "a Keras model")
    check_choice("layout", layout, [name for name, how in LAYOUTS.items() if how.write])
    check_type("preprocessing", preprocessing, Preprocessing | None, "a Preprocessing or None")
    path = Path(check_type("path", path, (str, os.PathLike), "a path"))
    if path.suffix != ".safetensors":
        raise refusal("path", "a path that ends in .safetensors", str(path))
    how, slots = LAYOUTS[layout], canonical(model)
    arrays, known = read_slots(slots), traits(model)
    if not how.has_survival:
        arrays = absorb_factors(slots, arrays)
        known = {name: trait for name, trait in known.items() if not name.endswith("/factor")}
    metadata = {"format": how.format} | to_metadata(known) | preprocessing_to_metadata(preprocessing)
    assert how.write is not None  # as checked above
    return write_safetensors(path, how.write(arrays), metadata)
