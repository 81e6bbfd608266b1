"""`keras-sd doctor`."""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import typer

from keras_sd.cli import tables
from keras_sd.cli.console import usage_errors

# Optional packages and their uses.
_OPTIONAL = (
    ("scikit-learn", "the digits data set, tuning"),
    ("matplotlib", "figures: train, plot, study, evaluate --report"),
    ("tensorflow-datasets", "cifar10, svhn, imagenet, tfds:NAME"),
    ("keras-tuner", "tune"),
    ("tensorboard", "train --logger tensorboard"),
    ("onnxruntime", "export --format onnx"),
    ("tf2onnx", "export --format onnx"),
    ("ai-edge-litert", "export --format litert"),
    ("jax", "KERAS_BACKEND=jax"),
    ("torch", "KERAS_BACKEND=torch, bench --against torch"),
)
# Subdirectories of `cache.home()`; all of them can be deleted at any time.
_CACHES = (("weights", "weights"), ("onnx", "predict --runtime onnx"), ("jax", "compiled steps of JAX"))
_FOUND = (tables.Column("what"), tables.Column("found", wraps=True))
_COLUMNS = (tables.Column("what"), tables.Column("found"), tables.Column("for", wraps=True))


def doctor(as_json: tables.Json = False, as_csv: tables.Csv = False) -> None:
    """Print versions, engine, devices, cache and free disk space, and which optional packages are missing."""
    with usage_errors():
        if as_json or as_csv:
            everything = [*((*row, None) for row in _machine()), *_packages()]
            tables.print_table(_COLUMNS, everything, as_json, as_csv)
        else:
            tables.print_table(_FOUND, _machine())
            typer.echo()
            tables.print_table(_COLUMNS, _packages(), title="Optional packages")


def _machine() -> Iterator[tuple]:
    import keras

    from keras_sd import backend
    from keras_sd._version import __version__
    from keras_sd.utils import jax_environment
    from keras_sd.utils.processors import cores, has_amx, processor
    from keras_sd.weights import cache

    engine, home = keras.backend.backend(), cache.home()
    yield "keras_sd", __version__
    yield "Python", f"{platform.python_version()}, {platform.platform()}"
    yield "Keras", f"{keras.__version__} on {engine} {_version(engine)}"
    yield "processor", f"{processor()}, {cores()} cores"
    yield (
        "matrix units (AMX)",
        {True: "yes", False: "no: bfloat16 may be slower than float32", None: "unknown"}[has_amx()],
    )
    yield "accelerators", ", ".join(backend.devices.accelerators()) or "none"
    yield "free disk space here", _free(Path.cwd())
    yield "free disk space of caches", _free(home)
    for name, of in _CACHES:
        folder = Path(os.environ.get(jax_environment.CACHE_DIR, home / name)) if name == "jax" else home / name
        yield f"cache of {of}", f"{folder}, {_size(folder)}"


def _packages() -> Iterator[tuple]:
    for name, purpose in _OPTIONAL:
        version = _version(name)
        yield name, version or f"missing: pip install {name}", purpose


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _size(directory: Path) -> str:
    files = [path.stat().st_size for path in directory.rglob("*") if path.is_file()]
    return f"{sum(files) / 1e6:.1f} MB"


def _free(path: Path) -> str:
    """Return the free space of the disk that holds a path, or would hold it."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    return f"{shutil.disk_usage(existing).free / 1e9:.1f} GB"
