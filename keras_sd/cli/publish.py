"""`keras-sd convert` and `export`: weights in other formats, and for others."""

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
    model: Annotated[str | None, Option(help="Name of the model; a .keras file holds its own.")] = None,
    layout: Annotated[str, Option(help="Names in a .safetensors file: timm or keras_sd.")] = "timm",
    classes: Annotated[int | None, Option(help="Number of classes.", show_default="the model's")] = None,
    ema: Annotated[
        bool, Option("--ema/--no-ema", help="Of a checkpoint with weights and their average: which of them.")
    ] = True,
    mean: image_options.Mean = None,
    std: image_options.Std = None,
    scale: image_options.Scale = None,
    preprocessing: image_options.Source = None,
) -> None:
    """Write a file of weights in another format. What does not fit is listed, and nothing is written.

    A .safetensors file also says how images are prepared, where that is known or given.
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
            raise ValueError(f"`target` must end in .safetensors to hold how images are prepared. Received: '{target}'")
        network, known = _network(source, model, classes, ema)
        how = image_options.fitted(prepared, network) if prepared else known
        with replacing(target) as partial:
            _write(network, partial, layout, how)
    typer.echo(f"{target}: {count_parameters(network):,} parameters of {network.name}")
    if how is not None and not is_safetensors:
        typer.echo("keras-sd: how images are prepared is not in this format; `--preprocessing` says it", err=True)


def _network(source, model, classes, ema):
    """The network of a file, and how images are prepared for it, where that is known."""
    import keras

    from keras_sd import applications, weights
    from keras_sd.runs import networks

    if not source.is_file():
        raise FileNotFoundError(f"`source` must be a file. Received: '{source}', which is none")
    if model is not None:
        given = {} if classes is None else {"classes": classes}
        file = weights.read(source, use_ema=ema)
        network = applications.get_model(model, weights=file, **given)
        return network, weights.resolve(networks.identify(model)[0], file).preprocessing()
    if source.suffix != ".keras":
        raise ValueError(f"`--model` must be given for a file that holds weights alone. Received: '{source}'")
    weights.read(source)  # which says what is wrong with a file that is none
    return keras.saving.load_model(source, compile=False, safe_mode=True), None


def _write(network, path, layout, preprocessing):
    from keras_sd import weights
    from keras_sd.utils.files import save_atomically

    if path.suffix == ".safetensors":
        weights.save(network, path, layout, preprocessing)
    else:
        save_atomically(network.save if path.suffix == ".keras" else network.save_weights, path)


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run that ended.")],
    out: Annotated[Path, typer.Argument(help="Folder or file to write, new.")],
    licence: Annotated[
        str | None,
        Option("--license", "--licence", help="License of the weights, for the model card: mit, ..."),
    ] = None,
    format: Annotated[
        str | None,
        Option(help="Write a file for a runtime instead: onnx (.onnx), litert (.tflite), savedmodel."),
    ] = None,
    fold: Annotated[bool, Option("--fold", help="Fold batch normalizations (with --format).")] = False,
) -> None:
    """Write a run as a folder to publish (weights, configuration, model card), or with --format for a runtime."""
    from keras_sd.runs.export import export as write
    from keras_sd.runs.export import export_file

    with usage_errors():
        if format is not None and licence is not None:
            raise ValueError("--license is for the model card, which --format does not write")
        if format is None and fold:
            raise ValueError("--fold is for --format; a folder to publish holds the weights as they were trained")
        try:
            written = write(run, out, licence) if format is None else export_file(run, out, format, fold)
        except ImportError as error:  # of an optional library
            raise ValueError(str(error)) from error
    for file in sorted(f for f in written.rglob("*") if f.is_file()) if written.is_dir() else [written]:
        typer.echo(f"{file}: {file.stat().st_size:,} bytes")
