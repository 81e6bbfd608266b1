"""`config.json` of an exported folder: each value is one that an exported run can have."""

import json

import pytest

from keras_sd import applications, weights
from keras_sd.weights import WeightsError
from keras_sd.weights.exported_folder import read_folder

PREPROCESSING = {"size": 8, "interpolation": None, "channels": "L", "scale": 1.0, "mean": [0.5], "std": [0.25]}
CONFIG = {
    "format": "keras_sd",
    "architecture": "ResNet",
    "arguments": {"blocks": [1], "filters": [4], "stem_filters": 4},
    "input_shape": [8, 8, 1],
    "classes": 3,
    "class_names": ["a", "b", "c"],
    "preprocessing": PREPROCESSING,
    "test_accuracy": 0.9,
    "license": None,
}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    model = applications.ResNet(blocks=(1,), filters=(4,), stem_filters=4, classes=3, input_shape=(8, 8, 1))
    return weights.save(model, tmp_path_factory.mktemp("weights") / "model.safetensors").read_bytes()


@pytest.fixture
def folder(tmp_path, content):
    def write(text):
        (tmp_path / "model.safetensors").write_bytes(content)
        (tmp_path / "config.json").write_text(text)
        return tmp_path

    return write


def test_it_is_read(folder):
    path = folder(json.dumps(CONFIG))
    assert read_folder(path).classes == 3
    assert applications.ResNet(weights=path).output_shape == (None, 3)


def test_the_license_is_read_under_its_name_in_version_0_1(folder):
    config = {name: value for name, value in CONFIG.items() if name != "license"}
    assert read_folder(folder(json.dumps(config | {"licence": "MIT"}))).license == "MIT"
    assert read_folder(folder(json.dumps(config | {"license": "MIT"}))).license == "MIT"


WRONG = {
    "classes": [0, -1, True, 3.0],
    "class_names": [["a"], ["a", "b", 3], "abc", ["a"] * 10],
    "input_shape": [[8, 8], [8, 8, 0], [8, 8, "1"], [10**9, 8, 1], [8, 8, 1.0], [None, 8, 1]],
    "test_accuracy": [2, "0.9", float("nan"), [0.9]],
    "license": [3],
    "size": [0, "8", 10**9],
    "scale": [0, -1, float("inf"), "1", 1e300],
    "std": [[0], [-1], [float("nan")], [1e-300], [1e-39], 0.25, [], [1, 1], ["1"]],
    "mean": [[float("inf")], [0.5, 0.5], [1e300], None],
    "channels": ["CMYK", ["L"], 1],
    "interpolation": ["cubic", 3],
    "crop": [0, 2, None],
    "keep_aspect": [1, "yes"],
    "blocks": [[10**9], 10**9, ["1"], [-1], [10**6] * 3, [True]],
    "filters": [{"a": 1}, [[4]]],
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values(folder, name):
    for value in WRONG[name]:
        config = CONFIG | {name: value}
        for part in ("preprocessing", "arguments"):
            if name in {**PREPROCESSING, **CONFIG["arguments"], "crop": 1, "keep_aspect": True}:
                config = CONFIG | {part: CONFIG[part] | {name: value}}
                if name in CONFIG[part] or (part == "preprocessing" and name in ("crop", "keep_aspect")):
                    break
        with pytest.raises(WeightsError, match=name) as error:
            read_folder(folder(json.dumps(config)))
        assert "config.json" in str(error.value)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 1000


@pytest.mark.parametrize("text", ["", "{", "[" * 10**5, "9" * 5000, "null", '{"format": "keras_sd", "format": 3}'])
def test_no_json(folder, text):
    with pytest.raises(WeightsError, match=r"config\.json"):
        read_folder(folder(text))


@pytest.mark.parametrize("change", [{"color": "red"}, {"filters": "x"}, {"epsilon": -1}, {"momentum": None}])
def test_arguments_that_no_network_has(folder, change):
    path = folder(json.dumps(CONFIG | {"arguments": CONFIG["arguments"] | change}))
    with pytest.raises(WeightsError, match=rf"config\.json.*{next(iter(change))}"):
        applications.ResNet(weights=path)


def test_a_network_larger_than_its_file_is_never_made(folder):
    """Its variables would have terabytes: only shapes are compared."""
    path = folder(json.dumps(CONFIG | {"arguments": {"blocks": [1], "filters": [10**6], "stem_filters": 10**6}}))
    with pytest.raises(WeightsError, match="another shape"):
        applications.ResNet(weights=path)
