"""Weights that fit by shape but were trained for another function: refused, with the argument that is wrong."""

import json
import zipfile

import keras
import numpy as np
import pytest
from helpers import randomize

from keras_sd import applications, weights
from keras_sd.weights import WeightsError
from keras_sd.weights.formats.safetensors import write_safetensors
from keras_sd.weights.semantics import traits

SHAPE = (32, 32, 3)
TINY = {"blocks": (2, 2), "filters": (4, 8), "stem_filters": 4, "classifier_activation": None}


def resnet(**arguments):
    return randomize(applications.ResNet(**{**TINY, **arguments}))


def densenet(**arguments):
    return randomize(applications.DenseNet(blocks=(2, 2), growth_rate=4, classifier_activation=None, **arguments))


def bottlenecks(**arguments):
    common = {"block": "bottleneck", "shortcut": "projection", "classes": 5}
    return resnet(**{**common, **arguments})


def outputs(model):
    return keras.ops.convert_to_numpy(model(np.random.default_rng(9).normal(size=(2, *SHAPE)).astype("float32")))


def refused(model, action, *parts):
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.variables]
    with pytest.raises(WeightsError) as error:
        action()
    assert all((keras.ops.convert_to_numpy(v) == b).all() for v, b in zip(model.variables, before))
    for part in parts:
        assert part in str(error.value)


def test_traits_are_those_of_the_network_not_of_its_form():
    found = [traits(resnet(survival_probability=0.5, stacked=stacked)) for stacked in (True, False)]
    assert found[0] == found[1]
    assert found[0] == {
        **{
            f"stage{s}/block{b}/factor": p
            for (s, b), p in zip(((1, 1), (1, 2), (2, 1), (2, 2)), (0.875, 0.75, 0.625, 0.5))
        },
        "stage2/block1/strided": "conv1",
        "stage2/block1/shortcut": "average",
    }
    scaled = {"survival_probability": 0.5, "scaling": "training"}
    assert not [name for name in traits(resnet(**scaled)) if name.endswith("factor")]
    assert traits(densenet(survival_probability=0.5)) == {
        f"stage{1 + i // 2}/layer{1 + i % 2}/factor": p for i, p in enumerate((0.875, 0.75, 0.625, 0.5))
    }


@pytest.mark.slow
def test_traits_of_keras_applications():
    theirs = keras.applications.ResNet50V2(weights=None, include_top=False, input_shape=SHAPE)
    assert traits(theirs) == traits(applications.ResNet50V2(False, None, input_shape=SHAPE))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".safetensors", ".keras"])
@pytest.mark.parametrize("make", [resnet, densenet])
def test_survival_probabilities_are_part_of_the_weights(tmp_path, make, suffix):
    trained = make(survival_probability=0.5)
    path = tmp_path / f"w{suffix}"
    weights.save(trained, path) if suffix == ".safetensors" else trained.save(path)
    same = weights.load(make(survival_probability=0.5), path)
    np.testing.assert_array_equal(outputs(same), outputs(trained))
    for other in ({}, {"survival_probability": 0.8}, {"survival_probability": 0.5, "scaling": "training"}):
        model = make(**other)
        refused(model, lambda model=model: weights.load(model, path), "0.875 in training", "survival probabilities")


@pytest.mark.parametrize("layout", ["keras_sd", "timm"])
@pytest.mark.parametrize("make", [resnet, densenet])
def test_stochastic_depth_upon_constant_depth_only_when_scaled_in_training(tmp_path, make, layout):
    trained = make()
    path = weights.save(trained, tmp_path / "w.safetensors", layout)
    model = make(survival_probability=0.5)
    refused(model, lambda: weights.load(model, path), 'scaling="training"')
    refused(model, lambda: weights.copy(trained, model), 'scaling="training"')
    scaled = weights.load(make(survival_probability=0.5, scaling="training"), path)
    np.testing.assert_allclose(outputs(scaled), outputs(trained), atol=1e-6)


@pytest.mark.parametrize("make", [resnet, densenet, bottlenecks])
def test_files_for_others_hold_the_survival_probabilities_in_the_weights(tmp_path, make):
    """timm and torchvision know none: the last layer of a branch takes it."""
    trained = make(survival_probability=0.5)
    path = weights.save(trained, tmp_path / "w.safetensors", "timm")
    np.testing.assert_allclose(outputs(weights.load(make(), path)), outputs(trained), atol=1e-5)


def test_the_form_of_a_shortcut(tmp_path):
    path = weights.save(resnet(shortcut="slice"), tmp_path / "w.safetensors", "timm")
    model = resnet(shortcut="average")
    refused(model, lambda: weights.load(model, path), "The shortcut of stage2/block1 was slice", "argument `shortcut`")
    theirs = weights.read(path).arrays
    theirs = {name.replace("fc.", "linear."): array for name, array in theirs.items()}
    other = write_safetensors(tmp_path / "other.safetensors", theirs)  # names that only one publisher uses
    refused(model, lambda: weights.load(model, other), "was slice")
    weights.load(resnet(shortcut="slice"), other)


@pytest.mark.slow
def test_the_place_of_the_stride(tmp_path):
    path = weights.save(bottlenecks(stride_in="middle"), tmp_path / "w.safetensors", "timm")
    bare = write_safetensors(tmp_path / "bare.safetensors", weights.read(path).arrays)  # as timm itself writes it
    model = bottlenecks(stride_in="first")
    for file in (path, bare):
        refused(model, lambda file=file: weights.load(model, file), "strided convolution of stage2/block1", "stride_in")
        weights.load(bottlenecks(stride_in="middle"), file)
    refused(model, lambda: weights.copy(bottlenecks(stride_in="middle"), model), "was conv2", "is conv1")


@pytest.mark.slow
def test_a_dilated_network_takes_the_weights_of_the_other(tmp_path):
    path = weights.save(bottlenecks(), tmp_path / "w.safetensors")
    weights.load(bottlenecks(output_stride=1), path)


@pytest.mark.slow
def test_biases_that_pytorch_has_not(tmp_path):
    path = weights.save(bottlenecks(stride_in="middle"), tmp_path / "w.safetensors", "timm")
    model = bottlenecks(stride_in="middle", use_bias=True)
    refused(model, lambda: weights.load(model, path), "use_bias=False")


@pytest.mark.slow
def test_damaged_metadata(tmp_path):
    arrays = weights.read(weights.save(resnet(), tmp_path / "w.safetensors")).arrays
    factor = "stage1/block1/factor"
    wrong = [{factor: value} for value in ("0.5", 0, 2, True, None, [0.5], float("nan"))]
    wrong += [{"stage1/block1/strided": 3}, {"stage1/block1/color": "red"}, {"x" * 10**6: 1}]
    twice = f'{{"{factor}": 0.5, "{factor}": 0.6}}'
    for bad in ("{", "3", "[" * 10**5, "9" * 5000, twice, json.dumps([1]), *map(json.dumps, wrong)):
        path = write_safetensors(tmp_path / "bad.safetensors", arrays, {"keras_sd.traits": bad})
        model = resnet()
        refused(model, lambda model=model, path=path: weights.load(model, path), "damaged metadata")


def rewritten(path, change):
    """A `.keras` file with another configuration."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["config.json"] = change(entries["config.json"].decode()).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@pytest.mark.slow
def test_the_epsilon_of_normalizations(tmp_path):
    """Another epsilon is another function, whether or not all layers have it."""
    for make, shown in ((resnet, '"epsilon": 1e-05'), (densenet, '"epsilon": 1e-05')):
        trained, model = make(), make()
        trained.save(path := tmp_path / "w.keras")
        rewritten(path, lambda text, shown=shown: text.replace(shown, '"epsilon": 10', 1))
        refused(
            model, lambda model=model, path=path: weights.load(model, path), "epsilons of normalizations were", "10"
        )
    other = resnet(epsilon=1e-3)
    refused(other, lambda: weights.copy(resnet(), other), "argument `epsilon`")
    weights.copy(resnet(epsilon=1.001e-5), resnet())  # as between Keras's own networks and those of others


@pytest.mark.parametrize(
    ("name", "huge", "message"),
    [
        ("depth", 10**9, "no array is that long"),
        ("filters", 10**6, "incompatible with the layer"),
        ("units", 10**9, "expected .* of the shapes"),
    ],
)
def test_a_model_larger_than_its_file_is_never_made(tmp_path, name, huge, message):
    """Its variables would have terabytes."""
    trained = resnet(blocks=(3, 2))
    trained.save(path := tmp_path / "w.keras")
    number = {"depth": 3, "filters": 8, "units": 10}[name]
    rewritten(path, lambda text: text.replace(f'"{name}": {number}', f'"{name}": {huge}'))
    with pytest.raises(WeightsError, match=message):
        weights.load(resnet(blocks=(3, 2)), path)
    assert np.isfinite(outputs(trained)).all()  # and no variable is left that would be made later
    assert applications.MLP(widths=(3,)).count_params()
