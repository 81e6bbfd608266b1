"""What `weights=` may be."""

import dataclasses
import hashlib
import json

import pytest

from keras_sd.weights import Preprocessing, find, get_row, sources
from keras_sd.weights.remote_file import RemoteFile
from keras_sd.weights.sources import required_arguments, resolve


@pytest.fixture(autouse=True)
def keras_state():
    """Nothing here touches Keras."""


def test_tags_files_and_directories(tmp_path):
    assert resolve("ResNet50", "a1_in1k").row is get_row("ResNet50.a1_in1k")
    assert resolve("ResNet50", "imagenet", include_top=False).row is find("ResNet50", "imagenet", False)
    file = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match="a file that exists"):
        resolve("ResNet20", file)
    with pytest.raises(ValueError, match=r"contains model\.safetensors"):
        resolve("ResNet20", tmp_path)
    file.write_bytes(b"")
    assert resolve("ResNet20", file).path() == file
    assert resolve("ResNet20", str(tmp_path)).path() == file


def test_the_hub():
    assert resolve("ResNet50", "hf://timm/resnet50.a1_in1k").row is get_row("ResNet50.a1_in1k")
    row = resolve("ResNet50", "hf://someone/net").row
    assert row.file.url == "https://huggingface.co/someone/net/resolve/main/model.safetensors"
    assert (row.file.sha256, row.file.filename) == (None, "ResNet50.someone--net.safetensors")
    assert row.preprocessing is None  # nothing is claimed that is not known
    assert row.arguments["stride_in"] == "middle"
    assert dict(resolve("ResNet20", "hf://someone/net").row.arguments) == {}
    for wrong in ("hf://timm", "hf://timm/../x", "hf://a/b/c", "hf://a/b?x"):
        with pytest.raises(ValueError, match="hf://owner/name"):
            resolve("ResNet50", wrong)


@pytest.mark.parametrize("wrong", [3, True, "imagent", b"imagenet"])
def test_none_of_these(wrong):
    with pytest.raises(ValueError, match=r"`weights` must be .*Received: weights="):
        resolve("ResNet50", wrong)


def test_arguments_that_weights_need():
    row = get_row("ResNet50.a1_in1k")
    assert required_arguments(row, {}) == {"epsilon": 1e-5, "use_bias": False, "stride_in": "middle"}
    assert required_arguments(row, {"stride_in": "middle"})
    with pytest.raises(ValueError, match=r"`stride_in` must be 'middle' .*Received: stride_in='first'"):
        required_arguments(row, {"stride_in": "first"})
    with pytest.raises(ValueError, match=r"Received: use_bias=True, stride_in='first'$"):
        required_arguments(row, {"stride_in": "first", "use_bias": True})


def test_stochastic_depth_upon_weights_of_constant_depth():
    row = get_row("ResNet20.cifar10")
    for stochastic in ({"survival_probability": 0.5}, {"survival_schedule": (1.0, 0.5)}):
        assert required_arguments(row, {**stochastic, "scaling": "training"})
        with pytest.raises(ValueError, match='`scaling` must be "training"'):
            required_arguments(row, stochastic)


# ------------------------------------------------------------------------------------------- published files by hash


def test_a_file_is_known_by_its_hash_whatever_it_is_called(tmp_path, monkeypatch):
    content = b"weights"
    published = RemoteFile("https://a/b.th", hashlib.sha256(content).hexdigest(), size=len(content))
    row = dataclasses.replace(get_row("ResNet20.cifar10"), file=published)
    monkeypatch.setattr(sources, "WEIGHTS", {row.name: row})
    file = tmp_path / "renamed.pth"
    file.write_bytes(content)
    assert resolve("ResNet20", file) == sources.Source(row, file)
    assert resolve("ResNet32", file) == sources.Source(None, file)  # published for another architecture
    start = dataclasses.replace(published, sha256=published.sha256[:8], size=None)
    md5 = dataclasses.replace(published, sha256=None, md5=hashlib.md5(content).hexdigest())
    for known in (dataclasses.replace(row, file=file) for file in (start, md5)):
        monkeypatch.setattr(sources, "WEIGHTS", {known.name: known})
        assert resolve("ResNet20", file).row is known
        file.write_bytes(b"weights"[::-1])
        assert resolve("ResNet20", file).row is None
        file.write_bytes(content)


# -------------------------------------------------------------------------------------------------- exported folders


@pytest.fixture
def folder(tmp_path):
    """A function that writes a folder whose configuration has some values changed."""
    arguments = {"blocks": [2, 2], "survival_probability": 0.5, "scaling": "inference"}
    config = {
        "format": "keras_sd",
        "architecture": "ResNet20",
        "arguments": arguments,
        "input_shape": [8, 8, 1],
        "classes": 3,
        "class_names": ["a", "b", "c"],
        "preprocessing": {"size": 8, "mean": [1.0], "std": [2.0], "channels": "L"},
        "test_accuracy": 0.9,
    }

    def write(**changes):
        (tmp_path / "model.safetensors").write_bytes(bytes(1000))  # of a size that four blocks can have
        (tmp_path / "config.json").write_text(json.dumps(config | changes))
        return tmp_path

    return write


def test_an_exported_folder(folder):
    source = resolve("ResNet20", folder())
    row = source.row
    assert source.path().name == "model.safetensors"
    assert row.arguments["blocks"] == (2, 2)
    assert (row.classes, row.input_shape, row.class_names) == (3, (8, 8, 1), ("a", "b", "c"))
    assert row.preprocessing == Preprocessing(size=8, mean=(1.0,), std=(2.0,), channels="L")
    assert row.accuracy == 0.9
    assert required_arguments(row, {"blocks": [2, 2]}) == dict(row.arguments)  # trained with stochastic depth
    with pytest.raises(ValueError, match=r"`survival_probability` must be 0\.5 .*Received: survival_probability=1\.0"):
        required_arguments(row, {"survival_probability": 1.0})
    with pytest.raises(ValueError, match=r"of ResNet32, not of ResNet20; use ResNet20\(weights"):
        resolve("ResNet32", folder())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "not written by"),
        ({"architecture": 3}, "`architecture` must be of type str. Received: architecture=3"),
        ({"classes": None}, "`classes` must be of type int"),
        ({"preprocessing": {"sice": 8}}, "sice"),
    ],
)
def test_a_damaged_configuration(folder, changes, message):
    with pytest.raises(ValueError, match=message) as error:
        resolve("ResNet20", folder(**changes))
    assert "config.json" in str(error.value)


def test_a_configuration_that_is_no_json(folder):
    path = folder()
    (path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"Cannot read '.*config\.json'"):
        resolve("ResNet20", path)
