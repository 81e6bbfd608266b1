"""The registry: every row is whole, and what it says agrees with the sources that are at hand."""

import inspect
import re

import keras
import pytest

from keras_sd import applications
from keras_sd.weights import WEIGHTS, find, get_row, list_weights
from keras_sd.weights.layouts import LAYOUTS

ROWS = list(WEIGHTS.values())


@pytest.fixture(autouse=True)
def keras_state():
    """Nothing here changes Keras's state."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_rows_are_whole(row):
    assert WEIGHTS[row.name] is row
    assert row.file.url.startswith("https://")
    assert row.file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{8}", row.file.sha256)
    assert row.file.md5 is None or re.fullmatch(r"[0-9a-f]{32}", row.file.md5)
    assert row.layout in LAYOUTS
    assert row.license in ("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-NC-4.0", "MIT")
    assert (row.accuracy is None) == (row.accuracy_source is None)
    assert row.accuracy is None or 0.6 < row.accuracy < 1
    assert 0.5 < row.preprocessing.crop <= 1
    factory = getattr(applications, row.architecture)
    assert set(row.arguments) <= set(inspect.signature(factory).parameters)


def test_files_in_the_cache_do_not_collide():
    assert len({row.file.filename for row in ROWS}) == len({row.file.url for row in ROWS}) == len(ROWS)


def test_only_the_hub_may_leave_the_hash_to_the_download():
    for row in ROWS:
        assert row.file.digest or row.file.url.startswith("https://huggingface.co/")


@pytest.mark.parametrize("row", [r for r in ROWS if r.layout == "keras"], ids=lambda row: row.name)
def test_files_of_keras(row):
    """Hashes and addresses as in the installed Keras; preprocessing as its `preprocess_input` computes."""
    module = inspect.getmodule(getattr(keras.applications, row.architecture))
    source = inspect.getsource(module)
    if row.architecture.endswith("V2"):
        source += inspect.getsource(inspect.getmodule(keras.applications.ResNet50))
    assert row.file.md5 in source
    assert row.file.url.rpartition("/")[0] + "/" in source
    images = keras.random.uniform((2, 8, 8, 3), 0, 255, seed=1)
    expected = keras.ops.convert_to_numpy(module.preprocess_input(keras.ops.convert_to_numpy(images)))
    p = row.preprocessing
    ours = keras.ops.convert_to_numpy(images)[..., :: -1 if p.channels == "BGR" else 1]
    assert abs((ours * p.scale - p.mean) / p.std - expected).max() < 1e-4


def test_find():
    assert find("ResNet50", "imagenet").include_top
    assert find("ResNet50", "imagenet", include_top=False).file.url.endswith("_notop.h5")
    assert find("ResNet50", "a1_in1k", include_top=False).name == "ResNet50.a1_in1k"
    assert find("ResNet20", "cifar10") is get_row("ResNet20.cifar10")
    assert list_weights("ResNet20") == ["ResNet20.cifar10"]
    with pytest.raises(ValueError, match=r"must be one of 'cifar10' for ResNet20, .*Received: weights='imagenet'"):
        find("ResNet20", "imagenet")
    with pytest.raises(ValueError, match="nothing is published"):
        find("DenseNet40", "cifar10")
    with pytest.raises(ValueError, match=r"such as .*ResNet50\.a1_in1k"):
        get_row("ResNet50.a1")


def test_the_names_of_the_cifar_files_hold_their_hashes():
    for row in (r for r in ROWS if r.layout == "cifar"):
        assert row.file.sha256.startswith(re.search(r"-([0-9a-f]{8})\.th$", row.file.url)[1])


def test_rows_do_not_change():
    with pytest.raises(TypeError):
        get_row("ResNet50.a1_in1k").arguments["epsilon"] = 1
    with pytest.raises(TypeError):
        WEIGHTS["x"] = None
