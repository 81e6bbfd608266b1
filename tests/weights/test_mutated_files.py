"""Mutated files of every format: real finite arrays, or one short line that says what is wrong."""

import io
import json
import pickle
import struct
import tempfile
import zipfile
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_sd.weights.errors import WeightsError
from keras_sd.weights.formats.pytorch import LEGACY_MAGIC
from keras_sd.weights.formats.readers import read
from keras_sd.weights.formats.safetensors import write_safetensors

ARRAYS = {"conv.weight": np.linspace(-1, 1, 24, dtype="<f4").reshape(2, 3, 4), "conv.bias": np.ones(2, "<f2")}


def safetensors(folder):
    return write_safetensors(folder / "w.safetensors", ARRAYS, {"format": "pt"}).read_bytes()


def described():
    """A state dictionary as PyTorch pickles it, and its storages."""
    text = lambda value: b"X" + struct.pack("<I", len(value)) + value.encode()  # noqa: E731
    numbers = lambda values: b"(" + b"".join(b"K" + bytes([value]) for value in values) + b"t"  # noqa: E731
    items, storages = b"", {}
    for key, (name, array) in enumerate(ARRAYS.items()):
        kind = {"<f4": b"Float", "<f2": b"Half"}[array.dtype.str]
        strides = [stride // array.itemsize for stride in array.strides]
        storage = b"(" + text("storage") + b"ctorch\n" + kind + b"Storage\n" + text(str(key)) + text("cpu")
        items += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K" + bytes([array.size]) + b"tQ"
        items += b"K\0" + numbers(array.shape) + numbers(strides) + b"\x89ccollections\nOrderedDict\n)RtR"
        storages[str(key)] = array.tobytes()
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u.", storages


def zipped(entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def pytorch(folder):
    pickled, storages = described()
    return {"w/data.pkl": pickled} | {f"w/data/{key}": data for key, data in storages.items()}


def pytorch_before(folder):
    pickled, storages = described()
    header = [pickle.dumps(item, 2) for item in (LEGACY_MAGIC, 1001, {"little_endian": True})]
    sizes = [struct.pack("<Q", array.size) + array.tobytes() for array in ARRAYS.values()]
    return b"".join([*header, pickled, pickle.dumps(list(storages), 2), *sizes])


def hdf5(write):
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        write(opened)
    return file.getvalue()


def keras_3(file):
    for index, array in enumerate(ARRAYS.values()):
        file[f"layers/conv/vars/{index}"] = array


def keras_legacy(file):
    file.attrs["layer_names"] = [b"conv"]
    group = file.create_group("conv")
    group.attrs["weight_names"] = [b"conv/kernel:0", b"conv/bias:0"]
    for name, array in zip(("kernel:0", "bias:0"), ARRAYS.values()):
        group[f"conv/{name}"] = array


def keras_archive(folder):
    return {"config.json": json.dumps({"class_name": "Functional"}).encode(), "model.weights.h5": hdf5(keras_3)}


# A whole file, or the entries of an archive.
FORMATS = {
    "w.safetensors": safetensors,
    "w.pth": pytorch,
    "w.th": pytorch_before,
    "w.h5": lambda folder: hdf5(keras_legacy),
    "w.weights.h5": lambda folder: hdf5(keras_3),
    "w.keras": keras_archive,
}

mutations = st.lists(
    st.tuples(
        st.sampled_from(["overwrite", "insert", "delete", "cut", "repeat", "number"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=4,
)
INTERESTING = (0, 1, 2**31 - 1, 2**32 - 1, 2**62, 2**64 - 1)


def mutated(content, changes):
    for kind, where, new in changes:
        start = int(where * len(content))
        end = start + len(new)
        if kind == "number":
            size = (1, 2, 4, 8)[new[0] % 4]
            number = INTERESTING[new[-1] % len(INTERESTING)] % 256**size
            content = content[:start] + number.to_bytes(size, "little") + content[start + size :]
        else:
            middle = {"insert": new + content[start:end], "overwrite": new, "repeat": content[start:end] * 2}
            content = content[:start] + middle.get(kind, b"") + (b"" if kind == "cut" else content[end:])
    return content


def check(path):
    """Reads a file as the package promises."""
    try:
        arrays = read(path).arrays
    except WeightsError as error:
        said = str(error)
        assert str(path) in said
        assert said.isprintable()
        assert len(said) < 1000
        return
    assert sum(array.nbytes for array in arrays.values()) <= 4 * path.stat().st_size
    for array in arrays.values():
        assert array.dtype.kind in "fiub" or array.dtype == ml_dtypes.bfloat16
        assert np.isfinite(array).all()


def fuzz(name, examples, **how):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        whole = FORMATS[name](Path(folder))
        path.write_bytes(zipped(whole) if isinstance(whole, dict) else whole)
        read(path)  # it is a file of weights, before it is damaged
        entries = [None, *whole] if isinstance(whole, dict) else [None]

        @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck), **how)
        @given(changes=mutations, entry=st.sampled_from(entries))
        def run(changes, entry):
            if entry is None:
                content = mutated(zipped(whole) if isinstance(whole, dict) else whole, changes)
            else:  # damage that no checksum of the archive tells
                content = zipped(whole | {entry: mutated(whole[entry], changes)})
            path.write_bytes(content)
            check(path)

        run()


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_mutated_files(name):
    fuzz(name, 300, derandomize=True)


@pytest.mark.fuzz
@pytest.mark.skipif("'fuzz' not in config.getoption('-m')", reason="takes minutes; ask for it by `pytest -m fuzz`")
@pytest.mark.parametrize("name", FORMATS)
def test_thousands_of_mutated_files(name):
    fuzz(name, 5000)
