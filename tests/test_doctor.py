"""`keras-sd doctor`."""

import importlib
import importlib.metadata
import json
import pathlib
import platform

import keras
import pytest
from helpers import keras_sd

import keras_sd as package
from keras_sd.utils import processors

doctor = importlib.import_module("keras_sd.cli.doctor")  # the command has its name


def test_what_is_there_and_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_OPTIONAL", (("no-such-package", "nothing"), ("numpy", "arrays")))
    monkeypatch.setenv("KERAS_SD_HOME", str(tmp_path / "not"))
    rows = {row["what"]: row for row in json.loads(keras_sd("doctor", "--json").output)}
    assert rows["keras_sd"]["found"] == package.__version__
    assert rows["Keras"]["found"].startswith(f"{keras.__version__} on {keras.backend.backend()} ")
    assert rows["numpy"] == {"what": "numpy", "found": importlib.metadata.version("numpy"), "for": "arrays"}
    assert rows["no-such-package"]["found"] == "missing: pip install no-such-package"
    assert rows["cache of weights"]["found"] == f"{tmp_path / 'not' / 'weights'}, 0.0 MB"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("model name\t: A\nflags\t\t: fpu amx_bf16 amx_tile\n", ("A", True)),
        ("model name\t: B\nflags\t\t: fpu avx512_bf16\nflags\t\t: fpu\n", ("B", False)),
        ("Features\t: fp asimd\n", (platform.machine(), None)),
    ],
)
def test_the_processor_and_its_bfloat16_units(monkeypatch, text, found):
    monkeypatch.setattr(pathlib.Path, "read_text", lambda path: text)
    assert (processors.processor(), processors.has_amx()) == found


def test_the_size_of_caches(monkeypatch, tmp_path):
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "a.onnx").write_bytes(b"0" * 2_500_000)
    monkeypatch.setenv("KERAS_SD_HOME", str(tmp_path))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "other"))
    rows = {row["what"]: row["found"] for row in json.loads(keras_sd("doctor", "--json").output)}
    assert rows["cache of predict --runtime onnx"] == f"{tmp_path / 'onnx'}, 2.5 MB"
    assert rows["cache of compiled steps of JAX"] == f"{tmp_path / 'other'}, 0.0 MB"


def test_the_optional_packages_are_those_of_the_extras():
    """Names as package indexes spell them."""
    extras = {text.split(";")[0].strip("<>=.0123456789 ") for text in importlib.metadata.requires("keras-sd") or ()}
    assert {name for name, _ in doctor._OPTIONAL} <= extras
