"""Files of weights: read as their own libraries read them, refused whole when damaged or hostile."""

import os
import pickle
import struct
import zipfile

import h5py
import keras
import ml_dtypes
import numpy as np
import pytest

from keras_sd.weights.errors import WeightsError
from keras_sd.weights.formats.pytorch import LEGACY_MAGIC
from keras_sd.weights.formats.readers import read
from keras_sd.weights.formats.safetensors import write_safetensors

DTYPES = ("float64", "float32", "float16", "int64", "int32", "int8", "uint8", "bool", ml_dtypes.bfloat16)


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    made = {f"a{i}": (10 * random.normal(size=(3, 2 + i))).astype(dtype) for i, dtype in enumerate(DTYPES)}
    return made | {"scalar": np.float32(1.5), "empty": np.zeros((0, 3), "float32")}


def assert_equal(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype), name
        np.testing.assert_array_equal(found[name], array)


# ------------------------------------------------------------------------------------------------ safetensors


def test_safetensors_round_trip(tmp_path, arrays):
    path = write_safetensors(tmp_path / "w.safetensors", arrays, {"format": "pt"})
    file = read(path)
    assert (file.format, file.metadata) == ("safetensors", {"format": "pt"})
    assert_equal(file.arrays, arrays)
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_safetensors_agree_with_the_package(tmp_path, arrays):
    package = pytest.importorskip("safetensors.numpy")
    shared = {name: array for name, array in arrays.items() if array.dtype != ml_dtypes.bfloat16}
    ours = package.load_file(write_safetensors(tmp_path / "ours.safetensors", shared))
    assert_equal({name: ours[name] for name in shared}, shared)
    package.save_file({name: np.asarray(a) for name, a in arrays.items()}, tmp_path / "theirs.safetensors")
    theirs = read(tmp_path / "theirs.safetensors").arrays
    assert_equal({name: theirs[name] for name in arrays}, arrays)


def test_a_failed_write_leaves_the_old_file(tmp_path, arrays):
    path = write_safetensors(tmp_path / "w.safetensors", arrays)
    before = path.read_bytes()
    with pytest.raises(WeightsError, match="complex64"):
        write_safetensors(path, {"z": np.zeros(2, "complex64")})
    assert path.read_bytes() == before


def safetensors_bytes(header: bytes, data: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


ENTRY = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
HOSTILE_SAFETENSORS = {
    "header longer than the file": (safetensors_bytes(ENTRY + b"}", b"x" * 8, 2**62), "header of 46116860"),
    "header past the limit": (safetensors_bytes(b"{" + b" " * 100_000_000 + b"}", b""), "100000000 bytes"),
    "not JSON": (safetensors_bytes(b'{"a":', b"x" * 8), "not JSON"),
    "nested past all depth": (safetensors_bytes(b'{"a":' + b"[" * 100_000, b""), "not JSON"),
    "no offsets": (safetensors_bytes(b'{"a":{"dtype":"F32","shape":[2]}}', b"x" * 8), "described as"),
    "unknown dtype": (safetensors_bytes(ENTRY.replace(b"F32", b"Q77") + b"}", b"x" * 8), "Q77"),
    "outside the file": (safetensors_bytes(ENTRY.replace(b"0,8", b"8,16") + b"}", b"x" * 8), "bytes 8 to 16 of 8"),
    "shape and bytes differ": (safetensors_bytes(ENTRY.replace(b"[2]", b"[3]") + b"}", b"x" * 8), "12 bytes"),
    "absurd shape": (safetensors_bytes(ENTRY.replace(b"[2]", b"[9999999999,9]") + b"}", b"x" * 8), "0 to 8"),
    "negative": (safetensors_bytes(ENTRY.replace(b"0,8", b"-8,0") + b"}", b"x" * 8), "described as"),
    "overlap": (
        safetensors_bytes(ENTRY + b',"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}', b"x" * 12),
        "'b' at byte 4",
    ),
    "bytes behind": (safetensors_bytes(ENTRY + b"}", b"x" * 9), "9 bytes of tensors"),
    "empty": (b"", "an empty file"),
    "web page": (b"<!DOCTYPE html><html>404</html>", "web page"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
}


@pytest.mark.parametrize("case", HOSTILE_SAFETENSORS)
def test_hostile_safetensors(tmp_path, case):
    content, message = HOSTILE_SAFETENSORS[case]
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as error:
        read(path)
    assert str(path) in str(error.value)
    assert "expected" in str(error.value)


# ---------------------------------------------------------------------------------------------------- PyTorch


@pytest.mark.torch
@pytest.mark.parametrize("new_format", [True, False])
def test_pytorch_files(tmp_path, new_format):
    import torch

    state = {
        "transposed": torch.arange(12.0).reshape(3, 4).T,
        "slice": torch.arange(12, dtype=torch.float64).reshape(3, 4)[1:, ::2],
        "parameter": torch.nn.Parameter(torch.randn(2, 3).half()),
        "counter": torch.tensor(7),
        "bytes": torch.arange(4, dtype=torch.uint8),
        "bfloat16": torch.randn(5).bfloat16(),
        "bool": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
    }
    module = torch.nn.Linear(2, 2)
    extra = {"epoch": 3, "best": 0.5, "optimizer": torch.optim.SGD(module.parameters(), 0.1).state_dict()}
    for content in (state, {"state_dict": state, **extra}):
        path = tmp_path / "w.pth"
        torch.save(content, path, _use_new_zipfile_serialization=new_format)
        found = read(path).arrays
        assert list(found) == list(state)
        for name, tensor in state.items():
            assert found[name].shape == tuple(tensor.shape), name
            expected = tensor.detach().double().numpy()
            np.testing.assert_array_equal(found[name].astype("float64"), expected, name)
        assert found["bfloat16"].dtype == ml_dtypes.bfloat16


class Exploit:
    """Runs a command when it is unpickled, as a hostile checkpoint does."""

    def __init__(self, command, path):
        self.call = command, (str(path),)

    def __reduce__(self):
        return self.call


def zip_file(path, pickled, storages=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, data in storages:
            archive.writestr(f"archive/data/{key}", data)


def legacy_file(path, pickled, rest=b""):
    header = [pickle.dumps(item, 2) for item in (LEGACY_MAGIC, 1001, {"little_endian": True})]
    path.write_bytes(b"".join([*header, pickled, rest]))


@pytest.mark.parametrize("write", [zip_file, legacy_file])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("hidden", [lambda bomb: bomb, lambda bomb: {"state_dict": {"w": [bomb]}}])
def test_a_malicious_pickle_runs_nothing(tmp_path, write, protocol, hidden):
    target = tmp_path / "executed"
    path = tmp_path / "w.th"
    pickled = pickle.dumps(hidden(Exploit(os.mkdir, target)), protocol)
    write(path, pickled)
    with pytest.raises(WeightsError, match=r"posix.mkdir|nt.mkdir"):
        read(path)
    assert not target.exists()
    pickle.loads(pickled)  # the bomb is real
    assert target.exists()


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"


def tensor(offset=b"K\x00", shape=b"K\x04\x85", stride=b"K\x01\x85"):
    """A pickled dictionary of one tensor in a storage of four numbers."""
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + offset + shape + stride + b"\x89}tR"
    return b"\x80\x02}X\x01\x00\x00\x00w" + rebuild + b"s."


FOUR = (("0", np.arange(4, dtype="<f4").tobytes()),)


def test_a_handmade_file(tmp_path):
    zip_file(tmp_path / "w.pth", tensor(), FOUR)
    np.testing.assert_array_equal(read(tmp_path / "w.pth").arrays["w"], [0, 1, 2, 3])


HOSTILE_PICKLES = {
    "past the storage": tensor(offset=b"K\x02"),
    "negative offset": tensor(offset=b"J\xff\xff\xff\xff"),
    "terabytes by a stride of 0": tensor(shape=b"J\x00\x00\x00\x7f\x85", stride=b"K\x00\x85"),
    "stride past the end": tensor(stride=b"K\x02\x85"),
    "huge memo index": b"\x80\x02}r\xff\xff\xff\x7f.",
    "a global of ours": b"\x80\x02ckeras_sd.weights.readers\nread\n.",
    "a builtin": b"\x80\x02c__builtin__\neval\n(X\x01\x00\x00\x001tR.",
    "a way round through OrderedDict": b"\x80\x02ccollections\nOrderedDict.fromkeys\n.",
    "an attribute set on a function": b"\x80\x02ctorch._utils\n_rebuild_tensor\n(N}X\x01\x00\x00\x00aK\x01stb.",
    "a storage class called": b"\x80\x02ctorch\nFloatStorage\n)R.",
    "an instruction that makes objects": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "an extension code": b"\x80\x02\x82\x01.",
    "truncated": tensor()[:-9],
    "no pickle": b"hello",
    "no dictionary": pickle.dumps([1, 2], 2),
    "no tensors": pickle.dumps({"epoch": 3}, 2),
    "a storage under another kind": tensor().replace(b"storagec", b"stOragec"),
    "a missing storage": tensor().replace(b"\x01\x00\x00\x000X", b"\x01\x00\x00\x001X"),
}


@pytest.mark.parametrize("case", HOSTILE_PICKLES)
def test_hostile_pickles(tmp_path, case):
    path = tmp_path / "w.pth"
    zip_file(path, HOSTILE_PICKLES[case], FOUR)
    with pytest.raises(WeightsError) as error:
        read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("an instruction that makes objects", "pickle instruction NEWOBJ"),
        ("an extension code", "pickle instruction EXT1"),
        ("huge memo index", "memo index 2147483647"),
        ("terabytes by a stride of 0", "in a storage of 4 numbers"),
        ("an attribute set on a function", "an attribute set on a function"),
        ("a builtin", "__builtin__.eval"),
    ],
)
def test_each_gate_stops_what_it_is_for(tmp_path, case, message):
    zip_file(tmp_path / "w.pth", HOSTILE_PICKLES[case], FOUR)
    with pytest.raises(WeightsError, match=message):
        read(tmp_path / "w.pth")


def test_zip_bomb(tmp_path):
    path = tmp_path / "w.pth"
    zip_file(path, tensor(), [("0", bytes(50_000_000))], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(WeightsError, match="unpack to 5000"):
        read(path)


def test_flipped_byte_in_a_zip(tmp_path):
    path = tmp_path / "w.pth"
    zip_file(path, tensor(), FOUR)
    content = bytearray(path.read_bytes())
    content[content.index(FOUR[0][1]) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="CRC"):
        read(path)


def test_truncated_anywhere(tmp_path):
    """No truncation of any format gives arrays."""
    whole, path = tmp_path / "whole", tmp_path / "w.pth"
    legacy_file(whole, tensor(), pickle.dumps(["0"], 2) + struct.pack("<Q", 4) + FOUR[0][1])
    path.write_bytes(whole.read_bytes())
    np.testing.assert_array_equal(read(path).arrays["w"], [0, 1, 2, 3])
    for write in (lambda: None, lambda: zip_file(whole, tensor(), FOUR)):
        write()
        content = whole.read_bytes()
        for end in range(0, len(content), 7):
            path.write_bytes(content[:end])
            with pytest.raises(WeightsError):
                read(path)


def test_absurd_storage_size_in_the_old_format(tmp_path):
    path = tmp_path / "w.th"
    legacy_file(path, tensor(), pickle.dumps(["0"], 2) + struct.pack("<Q", 2**60) + FOUR[0][1])
    with pytest.raises(WeightsError, match="inside storage '0'"):
        read(path)


# ------------------------------------------------------------------------------------------------------ Keras


@pytest.fixture
def model():
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(4, 3, name="zebra"),
            layers.ReLU(),
            layers.BatchNormalization(name="ant"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, name="mole"),
        ]
    )


@pytest.mark.filterwarnings("ignore:You are saving")
def test_legacy_h5_keeps_the_order_of_the_layers(tmp_path, model):
    model.save(tmp_path / "w.h5")
    file = read(tmp_path / "w.h5")
    assert file.format == "keras-legacy"
    assert list(file.layers) == ["zebra", "ant", "mole"]
    assert [len(names) for names in file.layers.values()] == [2, 4, 2]
    found = [file.arrays[name] for names in file.layers.values() for name in names]
    expected = [weight for layer in model.layers for weight in layer.get_weights()]
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["w.weights.h5", "w.keras"])
def test_keras_3_files(tmp_path, model, name):
    path = tmp_path / name
    model.save(path) if name.endswith(".keras") else model.save_weights(path)
    file = read(path)
    assert not file.layers
    found = sorted(map(np.sum, file.arrays.values()))
    np.testing.assert_array_equal(found, sorted(map(np.sum, model.get_weights())))


def test_hostile_hdf5(tmp_path, model):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.ones(3)
    cases = {
        "a link": lambda f: f.__setitem__("x", h5py.ExternalLink(str(secret), "x")),
        "inside itself": lambda f: f.create_group("g").__setitem__("again", f["g"]),
        "arrays of 4294967296": lambda f: f.create_dataset("x", (1 << 30,), "f4", chunks=(1024,)),
        "another file": lambda f: f.create_dataset("x", (3,), "f8", external=[(str(tmp_path / "raw"), 0, 24)]),
        "without arrays": lambda f: f.create_group("g"),
        "no array for": lambda f: (
            f.attrs.__setitem__("layer_names", ["l"]),
            f.create_group("l").attrs.create("weight_names", ["w"]),
        ),
    }
    for message, write in cases.items():
        path = tmp_path / "w.h5"
        with h5py.File(path, "w") as file:
            write(file)
        with pytest.raises(WeightsError, match=message):
            read(path)


@pytest.mark.filterwarnings("ignore:You are saving")
@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.keras"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x89HDF\r\n\x1a\n" + b"\0" * 99, b"PK\3\4zip"])
def test_files_of_keras_that_are_not(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        read(tmp_path / name)


@pytest.mark.filterwarnings("ignore:You are saving")
@pytest.mark.parametrize("name", ["w.h5", "w.keras"])
def test_truncated_keras_files(tmp_path, model, name):
    path = tmp_path / name
    model.save(path)
    content = path.read_bytes()
    for end in range(0, len(content), len(content) // 9):
        path.write_bytes(content[:end])
        with pytest.raises(WeightsError):
            read(path)


def test_flipped_byte_in_a_keras_archive(tmp_path, model):
    path = tmp_path / "w.keras"
    model.save(path)
    content = bytearray(path.read_bytes())
    content[content.index(model.layers[-1].get_weights()[0].tobytes()) + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="CRC"):
        read(path)


def test_names_and_places(tmp_path):
    with pytest.raises(WeightsError, match=r"expected a name ending in \.safetensors"):
        read(tmp_path / "weights.txt")
    with pytest.raises(WeightsError, match="No such file"):
        read(tmp_path / "weights.h5")
    (tmp_path / "dir.keras").mkdir()
    with pytest.raises(WeightsError, match="directory"):
        read(tmp_path / "dir.keras")
