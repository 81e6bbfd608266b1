"""Options for the preprocessing of images, for weights that do not record it."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import keras

Option = typer.Option
Mean = Annotated[str | None, Option(help="Mean of each channel, after scaling, such as 0.485,0.456,0.406.")]
Std = Annotated[str | None, Option(help="Standard deviation of each channel, after scaling.")]
Scale = Annotated[float | None, Option(help="Factor for pixels from 0 to 255.", show_default="1/255")]
Source = Annotated[
    str | None,
    Option(
        "--preprocessing",
        help="Preprocessing to use instead of the weights' own: published weights such as ResNet50.a1_in1k, an "
        "exported folder, a converted file, or a JSON file of the values.",
    ),
]


def chosen(mean: str | None, std: str | None, scale: float | None, source: str | None) -> Any:
    """Return the `Preprocessing` that the options describe; `None` without options.

    Raises:
        ValueError: A value is not allowed, or the source does not record its preprocessing.
    """
    from keras_sd.weights import Preprocessing

    values = {"mean": _numbers("mean", mean), "std": _numbers("std", std), "scale": scale}
    values = {name: value for name, value in values.items() if value is not None}
    if source is not None:
        return dataclasses.replace(_of_source(source), **values)
    return Preprocessing(**{"mean": (0.0,), "std": (1.0,), **values}) if values else None


def refuse_for_run(prepared: Any) -> None:
    """Raise a `ValueError` if options describe the preprocessing of a run, which records its own."""
    if prepared is not None:
        raise ValueError("--mean, --std, --scale and --preprocessing do not apply to a run, which records its own")


def fitted(preprocessing: Any, model: "keras.Model") -> Any:
    """Return a `Preprocessing` adapted to the size and channels of a model's input."""
    height, _, channels = model.input_shape[1:]
    kind = "L" if channels == 1 else "RGB" if preprocessing.channels == "L" else preprocessing.channels
    return dataclasses.replace(preprocessing, size=height or preprocessing.size, channels=kind)


def _numbers(name, text):
    from keras_sd.utils.checks import refusal

    try:
        return None if text is None else tuple(float(number) for number in text.split(","))
    except ValueError:
        raise refusal(name, "numbers separated by commas", text) from None


def _of_source(source):
    from keras_sd.weights import WEIGHTS, Preprocessing, exported_folder, get_row, read, semantics

    path, known = Path(source).expanduser(), None
    if source in WEIGHTS:
        known = get_row(source).preprocessing
    elif path.is_dir():
        known = exported_folder.read_folder(path).preprocessing
    elif path.suffix == ".json" and path.is_file():
        try:
            values = json.loads(path.read_text())
            known = Preprocessing.from_dict(values.get("preprocessing", values))
        except (ValueError, AttributeError, RecursionError) as error:
            raise ValueError(f"Cannot read '{path}': {error}") from error
    elif path.is_file():
        known = semantics.read_preprocessing(read(path))
    else:
        get_row(source)  # raises and suggests similar names
    if known is None:
        raise ValueError(f"`preprocessing` must name a source that records it. Received: '{source}', which does not")
    return known
