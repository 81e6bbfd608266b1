"""Files as users have them: of a compiled model, in the older HDF5 format, of a PyTorch Lightning module."""

import numpy as np
import pytest
from helpers import randomize

from keras_sd import applications, weights
from keras_sd.weights.formats.safetensors import write_safetensors

MLP = {"widths": (6, 5, 4), "input_shape": (4, 4, 1), "classes": 3}
RESNET = {"depth": 8, "input_shape": (8, 8, 3), "classes": 3, "shortcut": "projection"}


def assert_equal(model, other):
    x = np.random.default_rng(0).normal(size=(3, *model.input_shape[1:])).astype("float32")
    np.testing.assert_allclose(other(x), model(x), atol=1e-6)


@pytest.mark.parametrize("file", ["w.weights.h5", "w.keras", "w.h5"])
@pytest.mark.filterwarnings("ignore:You are saving")
def test_the_optimizer_of_a_compiled_model_is_no_weight(file, tmp_path):
    model = randomize(applications.MLP(**MLP))
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    model.train_on_batch(np.ones((2, 4, 4, 1)), np.array([0, 1]))
    (model.save_weights if file.endswith(".weights.h5") else model.save)(tmp_path / file)
    assert_equal(model, applications.MLP(weights=tmp_path / file, **MLP))


@pytest.mark.parametrize("prefix", ["model.", "net.", "backbone.", "model.module.", "module.model._orig_mod."])
def test_the_attribute_of_a_lightning_module_is_no_part_of_a_name(prefix, tmp_path):
    model = randomize(applications.ResNet(weights=None, **RESNET))
    arrays = weights.read(weights.save(model, tmp_path / "w.safetensors", layout="timm")).arrays
    write_safetensors(tmp_path / "lit.safetensors", {prefix + name: array for name, array in arrays.items()}, {})
    assert_equal(model, applications.ResNet(weights=tmp_path / "lit.safetensors", **RESNET))
