"""Load weights into models, from files or other models. Everything is checked before anything is assigned."""

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
from keras.src.backend.common import global_state  # keeps the list of uninitialized variables

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
_LISTED = 12  # names of each kind listed in an error
_log = logging.getLogger(__name__)


def load(
    model: keras.Model,
    source: str | os.PathLike | WeightsFile,
    adapt: bool = False,
    allow_nonfinite: bool = False,
    use_ema: bool = True,
) -> keras.Model:
    """Load a weights file into a model. Everything is checked before anything is assigned.

    A classifier in the file is ignored if the model has none.

    Args:
        model: A model of `keras_sd.applications`, in any form.
        source: A file: `.safetensors` or `.th`/`.pth` with the names of timm, torchvision or the CIFAR
            ResNets of akamaster/pytorch_resnet_cifar10; `.safetensors` written by `save`; a legacy `.h5` or
            `.weights.h5` of keras.applications; a `.keras` file; a `.weights.h5` of the same model in the same
            form. Or a result of `read`.
        adapt: Whether the model may differ from the file in classes and input channels. A classifier with other
            classes then keeps its initialization; the first convolution's kernel is summed over its input channels
            for one channel, and repeated and scaled to the same sum for several. The log states what was adapted.
        allow_nonfinite: Whether weights may be NaN or infinite, as after a diverged training.
        use_ema: Whether to load the moving average from a checkpoint that has both the weights and their average;
            see `read`.

    Returns:
        The model.

    Raises:
        WeightsError: If the file cannot be read or does not fit. The message lists arrays that the file lacks, that
            the model lacks, that have another shape, and that are not weights (integers, complex numbers, numbers
            that are infinite in the model's dtype, negative variances). Also if the model would compute something
            different from what the weights were trained for, as far as the file has that information (see
            `keras_sd.weights.semantics`; a `.weights.h5` does not). The model is then unchanged.
    """
    check_type("model", model, keras.Model, "a Keras model")
    check_flag("adapt", adapt)
    file = source if isinstance(source, WeightsFile) else read(source, allow_nonfinite, use_ema)
    _finish(_plan(model, file, adapt, allow_nonfinite), model, file, adapt, allow_nonfinite)
    return model


def build_and_load(build: Callable[[], keras.Model], file: WeightsFile, adapt: bool = False) -> keras.Model:
    """Build a model and load a file into it. Memory for the weights is allocated only after the file was checked.

    Args:
        build: Function without arguments that returns a model for `load`.
        file: A result of `read`.
        adapt: Same as in `load`.

    Returns:
        The model.

    Raises:
        WeightsError: Same as in `load`.
    """
    with _without_values():
        model = build()
        planned = _plan(model, file, adapt)
    _finish(planned, model, file, adapt)
    return model


def _plan(model: keras.Model, file: WeightsFile, adapt: bool, allow_nonfinite: bool = False):
    """Return the slot of each array in a file, after all checks; None if Keras must build a model to read the file.

    The model's variables need no values yet.
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
    """Create variables without values in a `with` block. They are initialized at its end unless there is an error."""
    waiting = global_state.get_global_attribute("uninitialized_variables") or []
    known = len(waiting)
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    except BaseException:
        global_state.set_global_attribute("uninitialized_variables", waiting[:known])
        raise
    with keras.StatelessScope():
        pass  # the variables are initialized on exit


def _keras_model(model: keras.Model, file: WeightsFile) -> keras.Model:
    """Return the model in a Keras file, or for a file of weights only, a copy of the given model with its weights."""
    try:
        with _without_values():  # a configuration may request any size
            twin = _of_config(file) if file.format == "keras" else model.__class__.from_config(model.get_config())
            _check_shapes(twin, file)
        twin.load_weights(file.path)
        canonical(twin), traits(twin)  # layers without canonical names are also an error of the file
        return twin
    except Exception as error:  # Keras raises many kinds of errors for files that do not fit
        raise WeightsError(f"Cannot load '{file.path}' into {model.name}: {one_line(f'{error}', 1000)}") from error


def _of_config(file: WeightsFile) -> keras.Model:
    config: Any = parse_json(file.metadata[CONFIG_ENTRY])
    longest = max([len(file.arrays), *(size for array in file.arrays.values() for size in array.shape)])
    pending = [config]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            for name in ("depth", "num_layers"):  # a stack has an axis of that length, a dense block has more arrays
                if isinstance(part.get(name), int) and part[name] > longest:
                    raise ValueError(f"its configuration has {name}={part[name]}, but no array is that long")
        if isinstance(part, dict | list):
            pending.extend(part.values() if isinstance(part, dict) else part)
    config.pop("compile_config", None)
    model = keras.saving.deserialize_keras_object(config, safe_mode=True)  # no pickled functions
    if not isinstance(model, keras.Model):
        raise ValueError(f"its configuration is that of a {type(model).__name__}, expected a model")
    return model


def _check_shapes(twin: keras.Model, file: WeightsFile) -> None:
    """Raise if the shapes of the file's arrays are not those of the model. A `.keras` file may also have an optimizer.

    States of seed generators (uint32) are optional.
    """
    found = collections.Counter(array.shape for array in file.arrays.values() if array.dtype != np.uint32)
    expected = collections.Counter(tuple(weight.shape) for weight in twin.weights)
    # Keras would ignore additional arrays in a file of weights.
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
    """Copy the weights of one model to another. Everything is checked before anything is assigned.

    Args:
        source: A model of `keras_sd.applications` in any form, or of keras.applications.
        target: Another such model, of the same architecture.
        adapt: Same as in `load`.
        origin: Name of the source in error messages; None for the model's name.
        allow_nonfinite: Same as in `load`.

    Returns:
        The target.

    Raises:
        WeightsError: If the models do not correspond. The target is then unchanged.
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
    """Return the slots and their arrays, cast to the dtypes of the model.

    One error lists everything that does not fit: the given problems, then missing and unexpected arrays, wrong shapes
    and arrays that are not weights.
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
        ("It has arrays that are not weights", no_weights),
    )
    listed = [f"{what} {_list(names)}." for what, names in parts if names]
    if wrong and not (missing or unexpected or no_weights or adapt):
        listed.append(_ADAPT_HINT)
    if missing and all("/conv" in name and "/bias" in name for name in missing):
        listed.append("Build the model with use_bias=False: its convolutions have biases, those of the file do not.")
    if problems or listed:
        raise WeightsError(f"{origin} does not fit {model.name}, which is unchanged. {' '.join([*problems, *listed])}")
    return slots, cast


def _kind(dtype: np.dtype) -> str:
    return "f" if dtype == ml_dtypes.bfloat16 else dtype.kind


def _list(names: list[str]) -> str:
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)}: {'; '.join(one_line(name, 120) for name in names[:_LISTED])}{rest}"


def _adapted(slots: Mapping[str, Slot], found: dict[str, np.ndarray], origin: str):
    """Leave out a classifier with other classes, and adapt the first kernel to the input channels."""
    slots, found = dict(slots), dict(found)
    head = [name for name in _HEAD if name in slots]
    if any(name not in found or found[name].shape != slots[name].shape for name in head):
        _log.warning("The classifier is newly initialized: that of %s is different or missing.", origin)
        for name in head:
            del slots[name]
            found.pop(name, None)
    kernel = found.get(_STEM)
    if kernel is not None and kernel.ndim == 4 and kernel.shape[2] != slots[_STEM].shape[2]:
        before, after = kernel.shape[2], slots[_STEM].shape[2]
        _log.warning("The first convolution of %s is adapted from %d to %d channels.", origin, before, after)
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
        path: Path of the file to write.
        layout: "keras_sd": canonical names and Keras's layout of kernels. "timm": names and layout of timm and
            torchvision. Their networks have no survival probabilities, so the last layer of each branch is multiplied
            by its probability, and the networks compute the same at inference as the model.
        preprocessing: Preprocessing of images for the model; `preprocessing.for_weights` reads it from the file.

    Returns:
        The path.

    Raises:
        ValueError: If the layout is unknown, or cannot represent a weight.
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
