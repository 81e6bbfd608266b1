"""Files of weights: read as their own libraries read them, refused whole when damaged or hostile."""

import argparse
import collections
import os
import pickle
import struct
import zipfile
from pathlib import Path

import h5py
import keras
import ml_dtypes
import numpy as np
import pytest

from keras_sd.weights.errors import WeightsError
from keras_sd.weights.formats.pytorch import LEGACY_MAGIC
from keras_sd.weights.formats.readers import read
from keras_sd.weights.formats.safetensors import write_safetensors
from keras_sd.weights.formats.strict import parse_json

DTYPES = ("float64", "float32", "float16", "int64", "int32", "int8", "uint8", "bool", ml_dtypes.bfloat16)


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    made = {f"a{i}": (10 * random.normal(size=(3, 2 + i))).astype(dtype) for i, dtype in enumerate(DTYPES)}
    return made | {"scalar": np.float32(1.5), "empty": np.zeros((0, 3), "float32")}


def refused(path, message=None):
    """The file is refused in one short line, which any terminal can print; returns that."""
    with pytest.raises(WeightsError, match=message) as error:
        read(path)
    said = str(error.value)
    assert str(path) in said
    assert said.isprintable()
    assert len(said) < 1000
    return said


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
    "dtype a list": (safetensors_bytes(ENTRY.replace(b'"F32"', b"[]") + b"}", b"x" * 8), r"dtype \[\]"),
    "shape an object": (safetensors_bytes(ENTRY.replace(b"[2]", b"{}") + b"}", b"x" * 8), "described as"),
    "65 dimensions": (
        safetensors_bytes(ENTRY.replace(b"[2]", b"[2" + b",1" * 64 + b"]") + b"}", b"x" * 8),
        "described as",
    ),
    "a dimension past 64 bits": (
        safetensors_bytes(ENTRY.replace(b"[2]", b"[0,%d]" % 2**70) + b"}", b""),
        "described as",
    ),
    "5,000 digits": (safetensors_bytes(ENTRY.replace(b"[2]", b"[" + b"9" * 5000 + b"]") + b"}", b"x" * 8), "not JSON"),
    "metadata a number": (safetensors_bytes(b'{"__metadata__":3,' + ENTRY[1:] + b"}", b"x" * 8), "metadata 3"),
    "metadata null": (safetensors_bytes(b'{"__metadata__":null,' + ENTRY[1:] + b"}", b"x" * 8), "metadata None"),
    "metadata of numbers": (safetensors_bytes(b'{"__metadata__":{"a":3},' + ENTRY[1:] + b"}", b"x" * 8), "metadata {"),
    "a tensor twice": (safetensors_bytes(ENTRY + b"," + ENTRY[1:] + b"}", b"x" * 8), "'a' occurs twice"),
    "a name of a megabyte": (safetensors_bytes(ENTRY.replace(b"a", b"a" * 10**6, 1) + b"}", b"x"), "tensor 'aaa"),
    "a name that cannot be printed": (
        safetensors_bytes(ENTRY.replace(b"a", b"\\ud800\\u001b\\n", 1) + b"}", b"x"),
        "ud800",
    ),
    "not a number": (safetensors_bytes(ENTRY + b"}", b"\0\0\xc0\x7f" * 2), "NaN or infinity in 'a'"),
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
    assert "expected" in refused(path, message)


# ---------------------------------------------------------------------------------------------------- PyTorch


@pytest.mark.slow
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


class Settings(collections.OrderedDict):
    """A state dictionary, or options, of a class that only the script knows which trained the network."""


@pytest.mark.torch
@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("name", ["model_best.pth.tar", "last.ckpt"])
def test_what_is_no_tensor_is_skipped(tmp_path, name, new_format):
    """Usual checkpoints: options, metrics and states of optimizers next to the weights."""
    import torch

    weights = torch.arange(6.0).reshape(2, 3)
    content = {
        "args": argparse.Namespace(lr=0.1, out=Path("runs"), seen=torch.ones(5)),
        "best": np.float64(0.9),
        "curve": np.arange(3),
        "kinds": {argparse.Namespace: {1, 2}, Settings: collections.defaultdict(list, a=[1])},
        "loss": torch.tensor(0.5),
        "state_dict": Settings(w=weights, version=3, extra=None),
    }
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=new_format)
    arrays = read(tmp_path / name).arrays
    assert list(arrays) == ["w"]
    np.testing.assert_array_equal(arrays["w"], weights)


@pytest.mark.torch
def test_two_state_dictionaries_of_one_kind(tmp_path):
    import torch

    torch.save({key: {"w": torch.ones(2)} for key in ("model", "state_dict")}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="'state_dict', 'model'"):
        read(tmp_path / "w.pt")
    torch.save({"state_dict_ema": {"w": torch.ones(2)}}, tmp_path / "w.pt")
    assert list(read(tmp_path / "w.pt").arrays) == ["w"]
    with pytest.raises(WeightsError, match="moving average of weights alone"):
        read(tmp_path / "w.pt", use_ema=False)


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


NO_STORAGES = pickle.dumps([], 2)


def legacy_file(path, pickled, rest=NO_STORAGES):
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
    "an instruction that makes objects": b"\x80\x02(ccollections\nOrderedDict\no.",
    "an object made of a stand-in": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "an extension code": b"\x80\x02\x82\x01.",
    "truncated": tensor()[:-9],
    "no pickle": b"hello",
    "no dictionary": pickle.dumps([1, 2], 2),
    "no tensors": pickle.dumps({"epoch": 3}, 2),
    "a huge dimension": tensor(shape=b"\x8a\x09" + b"\xff" * 8 + b"\x00\x85"),
    "a huge dimension of nothing": tensor(shape=b"K\x00\x8a\x09" + b"\xff" * 8 + b"\x00\x86", stride=b"K\x01K\x01\x86"),
    "a huge stride of nothing": tensor(shape=b"K\x00\x85", stride=b"\x8a\x09" + b"\xff" * 8 + b"\x00\x85"),
    "65 dimensions": tensor(shape=b"(" + b"K\x01" * 65 + b"t", stride=b"(" + b"K\x01" * 65 + b"t"),
    "text that is not UTF-8": b"\x80\x02}X\x02\x00\x00\x00\xff\xffK\x01s.",
    "a key that has no hash": b"\x80\x02}]K\x01s.",
    "a key whose hash is never computed": b"\x80\x02})" + b"2\x86" * 100 + b"K\x01s.",
    "a kind that is never printed": b"\x80\x02()" + b"2\x86" * 100 + b"NNNNtQ.",
    "a key that is never printed": b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\n)"
    + b"2\x86" * 100
    + b"NK\x01tQ.",
    "a key twice": b"\x80\x02}(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00aK\x02u.",
    "a list copied again and again": b"\x80\x02("
    + b"N" * 300_000
    + b"lq\x00"
    + b"ctorch\nSize\nh\x00\x85R0" * 20_000
    + b".",
    "a call with 300,000 arguments": b"\x80\x02ctorch\nSize\n(" + b"N" * 300_000 + b"tR.",
    "attributes set again and again": (
        b"\x80\x02ccollections\nOrderedDict\n)R}("
        + b"".join(b"X\x06\x00\x00\x00%06dN" % i for i in range(50_000))
        + b"uq\x000"
        + b"h\x00b" * 50_000
        + b"."
    ),
    "a storage under another kind": tensor().replace(b"storagec", b"stOragec"),
    "a missing storage": tensor().replace(b"\x01\x00\x00\x000X", b"\x01\x00\x00\x001X"),
}


@pytest.mark.parametrize("case", HOSTILE_PICKLES)
def test_hostile_pickles(tmp_path, case):
    path = tmp_path / "w.pth"
    zip_file(path, HOSTILE_PICKLES[case], FOUR)
    refused(path)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("an instruction that makes objects", "pickle instruction OBJ"),
        ("an extension code", "pickle instruction EXT1"),
        ("huge memo index", "memo index 2147483647"),
        ("terabytes by a stride of 0", "in a storage of 4 numbers"),
        ("an attribute set on a function", "an attribute set on a function"),
        ("a builtin", "__builtin__.eval"),
        ("a huge dimension of nothing", "invalid sizes"),
        ("a key whose hash is never computed", "with a tuple as a key"),
        ("a key twice", "the key 'a' twice"),
        ("a call with 300,000 arguments", "too many"),
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


def test_views_of_one_storage(tmp_path):
    """Tied weights may share a storage, but a file of 200 kB does not hold 80 MB."""
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE.replace(b"K\x04t", b"M\x10'tQq\x01")[:-1]
    first = b"X\x05\x00\x00\x0000000" + rebuild + b"K\x00M\x10'\x85K\x01\x85\x89}tR"
    again = b"ctorch._utils\n_rebuild_tensor_v2\n(h\x01K\x00M\x10'\x85K\x01\x85\x89}tR"
    views = [first, *(b"X\x05\x00\x00\x00%05d" % i + again for i in range(1, 2001))]
    storage = (("0", np.zeros(10_000, "<f4").tobytes()),)
    zip_file(tmp_path / "w.pth", b"\x80\x02}(" + b"".join(views[:3]) + b"u.", storage)
    assert len(read(tmp_path / "w.pth").arrays) == 3
    zip_file(tmp_path / "w.pth", b"\x80\x02}(" + b"".join(views) + b"u.", storage)
    refused(tmp_path / "w.pth", "tensors of 80040000 bytes")


def test_archives_that_are_ambiguous_or_damaged(tmp_path):
    path = tmp_path / "w.pth"
    with pytest.warns(UserWarning, match="Duplicate name"):
        zip_file(path, tensor(), [*FOUR, *FOUR])
    refused(path, "two entries of one name")
    zip_file(path, tensor(), FOUR)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data.pkl", tensor())
    refused(path, "two entries of one name")
    zip_file(path, tensor(), [("0", np.random.default_rng(0).bytes(16))], zipfile.ZIP_BZIP2)
    refused(path, "unpack to|a method other than deflate")
    noise = np.random.default_rng(0).bytes(4000)
    zip_file(path, tensor(), [("0", noise[:16]), ("1", noise)], zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    place = content.index(b"data/1") + 6
    content[place : place + 40] = b"\xff" * 40
    path.write_bytes(content)
    refused(path, "damaged archive")


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
            f.attrs.__setitem__("layer_names", [b"l"]),
            f.create_group("l").attrs.create("weight_names", [b"w"]),
        ),
    }
    cases |= {
        "a Datatype": lambda f: f.__setitem__("x", np.dtype("f4")),
        "compressed": lambda f: f.create_dataset(
            "x", (3,), "f4", chunks=(1 << 20,), maxshape=(None,), compression="gzip"
        ),
        "arrays of 4194304 bytes": lambda f: f.create_dataset("x", (3,), "f4", chunks=(1 << 20,), maxshape=(None,)),
        "object": lambda f: f.create_dataset("x", data=["text", "of any length"]),
        "S4": lambda f: f.create_dataset("x", data=np.array([b"7.25"])),
        "complex64": lambda f: f.create_dataset("x", data=np.ones(3, "complex64")),
        "'a'": lambda f: f.create_dataset("x", data=np.ones(3, [("a", "f4")])),
        "V2": lambda f: f.create_dataset("x", data=np.ones(3, "V2")),
        "'x' of": lambda f: f.create_dataset("x", data=h5py.Empty("f4")),
        "NaN or infinity in 'x'": lambda f: f.create_dataset("x", data=np.float32([1, np.inf])),
        "nested 65 deep": lambda f: f.create_group("/".join("g" * 70)),
        "layer that is listed twice": lambda f: (f.attrs.__setitem__("layer_names", [b"l", b"l"]), f.create_group("l")),
        "layer_names of": lambda f: f.attrs.__setitem__("layer_names", 3.0),
        # Each may be the same text of the file, read again.
        "no group for the layer '/model/l'": lambda f: (  # an external link, where nobody looks for links
            f.create_group("model_weights").attrs.__setitem__("layer_names", [b"/model/l"]),
            f.__setitem__("model", h5py.ExternalLink(str(secret), "/")),
        ),
        "no group for the layer '../model'": lambda f: (
            f.create_group("model_weights").attrs.__setitem__("layer_names", [b"../model"]),
            f.__setitem__("model", h5py.SoftLink("/elsewhere")),
        ),
    }
    for message, write in cases.items():
        path = tmp_path / "w.h5"
        with h5py.File(path, "w") as file:
            write(file)
        refused(path, message)


def _legacy_file(path, names):
    """Weights of layers that have these names, and a configuration of a megabyte, as whole models have it."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "c" * 1_000_000
        file.attrs["layer_names"] = names
        for name in names:
            group = file.create_group(name)
            group.attrs["weight_names"] = ["w"]
            group["w"] = np.ones(3, "float32")


def test_many_names_may_not_be_one_long_text(tmp_path):
    """HDF5 would read it for each of them; here thirty names are made to point to the configuration."""
    path = tmp_path / "w.h5"
    _legacy_file(path, [f"layer{i:02}" for i in range(30)])
    assert len(read(path).arrays) == 30
    content = path.read_bytes()
    place = {name: content.rindex(b"GCOL", 0, content.index(name)) for name in (b"c" * 100, b"layer00")}
    name, long = (
        struct.pack("<IQ", length, at) for length, at in zip((7, 1_000_000), (place[b"layer00"], place[b"c" * 100]))
    )
    first = content.index(name)
    damaged = bytearray(content)
    for i in range(30):
        element = slice(first + 16 * i, first + 16 * i + 16)
        assert damaged[element][:12] == name
        damaged[element] = long + struct.pack("<I", 1)
    path.write_bytes(damaged)
    with h5py.File(path) as file:
        assert all(len(name) == 1_000_000 for name in file.attrs["layer_names"])
    refused(path, "names that may take 3")


def test_bfloat16_as_keras_stores_it(tmp_path):
    array = np.arange(3).astype(ml_dtypes.bfloat16)
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        file.create_dataset("layers/dense/vars/0", data=array.view("V2")).attrs["dtype"] = "bfloat16"
    assert_equal(read(tmp_path / "w.weights.h5").arrays, {"layers/dense/vars/0": array})


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


def test_json_of_more_values_than_any_network_has(tmp_path):
    with pytest.raises(ValueError, match=r"it has more than 2,000,000 values"):
        parse_json(b"[" + b"0," * 2_000_001 + b"0]")
    with pytest.raises(ValueError, match=r"it has more than 2,000,000 values"):
        parse_json("[" * 2_000_001)
