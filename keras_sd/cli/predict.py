"""`keras-sd predict`."""

from pathlib import Path
from typing import Annotated

import typer

from keras_sd.cli import image_options, tables
from keras_sd.cli.console import silent_stderr, usage_errors
from keras_sd.utils.checks import check_choice, check_integer, refusal

Option = typer.Option
_COLUMNS = (
    tables.Column("image"),
    tables.Column("class"),
    tables.Column("probability", "{:.4f}".format, is_number=True),
)
_BATCH = 64  # images in memory at a time


def predict(
    model: Annotated[str, typer.Argument(help="Folder of a run, exported folder, or name of a model.")],
    images: Annotated[list[Path], typer.Argument(help="Image files or folders of images.")],
    weights: Annotated[
        str | None,
        Option(
            help="For a run: best, final or ema. For a model: a tag such as cifar10 or a1_in1k, hf://owner/name, a "
            "file or an exported folder.",
            show_default="best",
        ),
    ] = None,
    top: Annotated[
        int | None, Option(help="Classes to print for each image.", show_default="5 for one image, else 1")
    ] = None,
    runtime: Annotated[
        str, Option(help="keras, or onnx: onnxruntime, faster for one image; the first call exports the network.")
    ] = "keras",
    mean: image_options.Mean = None,
    std: image_options.Std = None,
    scale: image_options.Scale = None,
    preprocessing: image_options.Source = None,
    as_json: tables.Json = False,
    as_csv: tables.Csv = False,
) -> None:
    """Print the most likely classes of images, prepared as the weights need them.

    Examples: keras-sd predict runs/ResNet50-folder-photos-1 new.jpg more/

              keras-sd predict ResNet50 cat.jpg --weights a1_in1k
    """
    with usage_errors():
        check_choice("runtime", runtime, ("keras", "onnx"))
        if runtime == "onnx":
            _check_onnx()
        top = top if top is None else check_integer("top", top)
        prepared = image_options.chosen(mean, std, scale, preprocessing)
        files = _files(images)
        if (architecture := _exported(Path(model))) and weights is None:
            network, prepare, names = _of_model(architecture, model, prepared)
        elif Path(model).exists() or "/" in model:
            network, prepare, names = _of_run(model, weights, prepared)
        else:
            network, prepare, names = _of_model(model, weights, prepared)
        if runtime == "onnx":
            network = _on_onnx(network)
        first = prepare(files[:_BATCH])  # raises on a bad image before anything is printed
        rows = list(_rows(network, prepare, first, files, names, top or (5 if len(files) == 1 else 1)))
        tables.print_table(_COLUMNS, rows, as_json, as_csv)


def _rows(network, prepare, first, files, names, top):
    for begin in range(0, len(files), _BATCH):
        batch = files[begin : begin + _BATCH]
        for file, scores in zip(batch, network.predict(prepare(batch) if begin else first, verbose=0)):
            for index in scores.argsort()[::-1][:top]:
                yield str(file), names[index] if names else f"{index}", float(scores[index])


def _check_onnx():
    """Raise before anything is read if libraries are missing."""
    from keras_sd.models.runtimes import check_libraries

    try:
        check_libraries("onnx")
    except ImportError as error:
        raise ValueError(f"--runtime onnx: {error}") from error


def _on_onnx(network):
    """Return the network on onnxruntime; its file is kept next to the cache of published weights."""
    from keras_sd.models.runtimes import OnnxModel
    from keras_sd.weights import cache

    with silent_stderr():  # silences the converter
        return OnnxModel(network, cache.home() / "onnx")


def _files(paths):
    """Return the named files, and the images below named folders in the order of their paths."""
    from keras_sd.utils.images import suffixes

    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if _is_image(file, path, suffixes()))
            if not found:
                raise refusal("images", "image files, or folders that contain images", str(path))
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise refusal("images", "files, or folders of files", str(path), FileNotFoundError)
    return files


def _is_image(file, root, suffixes):
    is_hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    return file.is_file() and not is_hidden and file.suffix.lower() in suffixes


def _exported(path):
    """Return the architecture of an exported folder; `None` for anything else."""
    from keras_sd.weights.exported_folder import CONFIG, MODEL, read_folder

    return read_folder(path).architecture if (path / MODEL).is_file() and (path / CONFIG).is_file() else None


def _of_run(run, weights, prepared):
    """Return the network, preprocessing and class names of a run."""
    from keras_sd.runs import networks
    from keras_sd.weights.preprocessing import Preprocessor

    image_options.refuse_for_run(prepared)
    network, record = networks.trained(run, weights or "best")
    return network, Preprocessor(networks.preprocessing_of(record)), record["class_names"]


def _of_model(model, weights, prepared):
    """Return the network, preprocessing and class names of a model with weights."""
    from keras_sd import applications
    from keras_sd.runs import networks
    from keras_sd.weights import WeightsError, class_names, resolve
    from keras_sd.weights.preprocessing import Preprocessor, for_weights

    name, _ = networks.identify(model)
    if weights is None:
        raise refusal("--weights", "given for a model that is not a run", None)
    network = applications.get_model(name, weights=weights)  # first: it raises on a bad file
    prepare = Preprocessor(image_options.fitted(prepared, network)) if prepared else for_weights(name, weights)
    row = resolve(name, weights).row
    try:
        return network, prepare, () if row is None else class_names.class_names(row)
    except WeightsError as error:
        typer.echo(f"keras-sd: class names are not available; showing indices. {error}", err=True)
        return network, prepare, ()
