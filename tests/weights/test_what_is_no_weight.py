"""Arrays that fit by name and shape and are no weights: refused before the first one is assigned."""

import h5py
import keras
import numpy as np
import pytest

from keras_sd import applications, weights
from keras_sd.weights import WeightsError
from keras_sd.weights.formats.safetensors import write_safetensors

KERNEL, VARIANCE = "stem/conv/kernel", "stage1/block2/norm2/moving_variance"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Weights that another model has, all different from those of a new one."""
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    model = resnet()
    for weight in model.weights:
        weight.assign(weight + 0.5)
    return weights.save(model, path)


def resnet():
    return applications.ResNet(blocks=(2,), filters=(4,), stem_filters=4, classes=3, input_shape=(8, 8, 3))


def refused(model, action, *parts):
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.variables]
    with pytest.raises(WeightsError) as error:
        action()
    assert all((keras.ops.convert_to_numpy(v) == b).all() for v, b in zip(model.variables, before))
    for part in parts:
        assert part in str(error.value)


def test_in_safetensors(tmp_path, file):
    arrays, model = weights.read(file).arrays, resnet()
    shape = arrays[KERNEL].shape
    cases = {
        f"{KERNEL} of int32": {KERNEL: np.ones(shape, "int32")},
        f"{KERNEL} of bool": {KERNEL: np.ones(shape, "bool")},
        f"{KERNEL} with NaN or infinity in float32": {KERNEL: np.full(shape, 1e300)},
        f"{VARIANCE} with negative variances": {VARIANCE: np.full(4, -1, "float32")},
        "NaN or infinity in": {KERNEL: np.full(shape, np.nan, "float32")},
    }
    for message, changes in cases.items():
        path = write_safetensors(tmp_path / "bad.safetensors", arrays | changes)
        for adapt in (False, True):
            refused(model, lambda adapt=adapt, path=path: weights.load(model, path, adapt), message, str(path))
    weights.load(
        model, write_safetensors(tmp_path / "wide.safetensors", {n: a.astype("f8") for n, a in arrays.items()})
    )
    np.testing.assert_array_equal(weights.canonical(model)["head/kernel"].variable, arrays["head/kernel"])


def test_not_finite_is_accepted_on_request(tmp_path, file):
    arrays, model = weights.read(file).arrays, resnet()
    arrays[KERNEL] = np.full_like(arrays[KERNEL], np.nan)
    path = write_safetensors(tmp_path / "w.safetensors", arrays)
    weights.load(model, path, allow_nonfinite=True)
    assert np.isnan(model.layers[1].kernel).all()
    other = resnet()
    refused(other, lambda: weights.copy(model, other), f"{KERNEL} with NaN")
    assert np.isnan(weights.copy(model, other, allow_nonfinite=True).layers[1].kernel).all()


@pytest.mark.filterwarnings("ignore:You are saving")
@pytest.mark.parametrize(
    "wrong",
    ["text", "S4", "complex64", "int64", "bool", "f8 1e300", h5py.vlen_dtype("f4"), h5py.ref_dtype, [("a", "f4")]],
)
def test_in_the_middle_of_a_legacy_file(tmp_path, wrong):
    def make():  # names as in keras.applications
        layers = keras.layers
        named = [layers.Conv2D(4, 3, name="conv1_conv"), layers.BatchNormalization(name="conv1_bn")]
        named += [layers.GlobalAveragePooling2D(), layers.Dense(2, name="predictions")]
        return keras.Sequential([layers.Input((8, 8, 3)), *named])

    make().save(tmp_path / "w.h5")
    model = make()
    weights.load(model, tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "a") as file:
        datasets = []
        file["model_weights"].visititems(lambda name, item: datasets.append(name) if hasattr(item, "dtype") else None)
        name = f"model_weights/{datasets[3]}"
        shape = file[name].shape
        del file[name]
        if wrong == "text":
            file[name] = np.full(shape, "7.25", object)
        elif wrong == "f8 1e300":
            file[name] = np.full(shape, 1e300)
        else:
            kind = np.dtype(wrong)
            dataset = file.create_dataset(name, shape, kind)
            if kind.kind in "cibS":
                dataset[...] = np.ones(shape, kind)
    assert len(datasets) == 8  # others are whole before and after it
    refused(model, lambda: weights.load(model, tmp_path / "w.h5"), "w.h5")
