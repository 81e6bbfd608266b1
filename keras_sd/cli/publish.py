"""`keras-sd convert` and `keras-sd export`: weights in other formats, and runs to publish."""

from pathlib import Path
from typing import Annotated

import typer

from keras_sd.cli import image_options
from keras_sd.cli.console import usage_errors
from keras_sd.utils.files import replacing

Option = typer.Option


def convert(
    source: Annotated[Path, typer.Argument(help="File: .safetensors, .th, .pth, .keras, .weights.h5 or .h5.")],
    target: Annotated[Path, typer.Argument(help="File to write: .safetensors, .keras or .weights.h5.")],
    model: Annotated[str | None, Option(help="Name of the model; a .keras file contains its own.")] = None,
    layout: Annotated[str, Option(help="Weight names in a .safetensors file: timm or keras_sd.")] = "timm",
    classes: Annotated[int | None, Option(help="Number of classes.", show_default="the model's")] = None,
    ema: Annotated[
        bool, Option("--ema/--no-ema", help="Use the averaged weights of a checkpoint that has both.")
    ] = True,
    mean: image_options.Mean = None,
    std: image_options.Std = None,
    scale: image_options.Scale = None,
    preprocessing: image_options.Source = None,
) -> None:
    """Convert a weights file to another format. If weights do not fit, list them and write nothing.

    A .safetensors file also records the preprocessing, if it is known or given.
    """
    from keras_sd.layers.nesting import count_parameters

    with usage_errors():
        if target.exists():
            raise FileExistsError(f"`target` must be a new file. Received: '{target}', which exists")
        if not target.name.endswith((".safetensors", ".keras", ".weights.h5")):
            raise ValueError(f"`target` must end in .safetensors, .keras or .weights.h5. Received: '{target}'")
        prepared = image_options.chosen(mean, std, scale, preprocessing)
        is_safetensors = target.suffix == ".safetensors"
        if prepared and not is_safetensors:
            raise ValueError(f"`target` must end in .safetensors to hold the preprocessing. Received: '{target}'")
        network, known = _network(source, model, classes, ema)
        how = image_options.fitted(prepared, network) if prepared else known
        with replacing(target) as partial:
            _write(network, partial, layout, how)
    typer.echo(f"{target}: {count_parameters(network):,} parameters of {network.name}")
    if how is not None and not is_safetensors:
        typer.echo("keras-sd: this format does not record the preprocessing; pass it with `--preprocessing`", err=True)


def _network(source, model, classes, ema):
    """Return the network of a file and its preprocessing; `None` for the latter if unknown."""
    import keras

    from keras_sd import applications, weights
    from keras_sd.runs import networks

    if not source.is_file():
        raise FileNotFoundError(f"`source` must be a file. Received: '{source}', which is not a file")
    if model is not None:
        given = {} if classes is None else {"classes": classes}
        file = weights.read(source, use_ema=ema)
        network = applications.get_model(model, weights=file, **given)
        return network, weights.resolve(networks.identify(model)[0], file).preprocessing()
    if source.suffix != ".keras":
        raise ValueError(f"`--model` must be given for a file that contains only weights. Received: '{source}'")
    weights.read(source)  # raises a clear error on a bad file
    return keras.saving.load_model(source, compile=False, safe_mode=True), None


def _write(network, path, layout, preprocessing):
    from keras_sd import weights
    from keras_sd.utils.files import save_atomically

    if path.suffix == ".safetensors":
        weights.save(network, path, layout, preprocessing)
    else:
        save_atomically(network.save if path.suffix == ".keras" else network.save_weights, path)


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Argument(help="New folder or file to write.")],
    license: Annotated[
        str | None,
        Option("--license", help="License of the weights, for the model card: mit, ..."),
    ] = None,
    format: Annotated[
        str | None,
        Option(help="Write a file for a runtime instead: onnx (.onnx), litert (.tflite) or savedmodel."),
    ] = None,
    fold: Annotated[bool, Option("--fold", help="Fold batch normalizations (with --format).")] = False,
) -> None:
    """Export a run as a folder to publish (weights, configuration, model card), or with --format for a runtime."""
    from keras_sd.runs.export import export as write
    from keras_sd.runs.export import export_file

    with usage_errors():
        if format is not None and license is not None:
            raise ValueError("--license is for the model card, which --format does not write")
        if format is None and fold:
            raise ValueError("--fold is for --format; a folder to publish contains the weights as trained")
        try:
            written = write(run, out, license) if format is None else export_file(run, out, format, fold)
        except ImportError as error:  # an optional library is missing
            raise ValueError(str(error)) from error
    for file in sorted(f for f in written.rglob("*") if f.is_file()) if written.is_dir() else [written]:
        typer.echo(f"{file}: {file.stat().st_size:,} bytes")
