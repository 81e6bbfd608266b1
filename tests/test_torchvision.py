"""Torchvision's networks and its drop path: equal functions, with weights from its own files."""

import keras
import numpy as np
import pytest

from keras_sd import applications
from keras_sd.layers import StochasticDepthResidual

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.fixture(scope="module")
def torchvision():
    return pytest.importorskip("torchvision", reason="torchvision is not installed")


@pytest.mark.parametrize("name", ["ResNet18", "ResNet50", "DenseNet121"])
def test_outputs_equal(torchvision, name, tmp_path):
    import torch

    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name.lower())(weights=None, num_classes=10)
    with torch.no_grad():
        for module in theirs.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    torch.save(theirs.state_dict(), tmp_path / "model.pth")
    arguments = {"classes": 10, "classifier_activation": None, "input_shape": (64, 64, 3)}
    mine = applications.get_model(name, weights=tmp_path / "model.pth", **arguments)
    x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(mine(x), expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize(("granularity", "mode"), [("batch", "batch"), ("sample", "row")])
def test_drop_path_has_the_same_values(torchvision, granularity, mode):
    """`stochastic_depth(x, p, mode)` divides by 1 - p what it keeps: `scaling="training"`."""
    import torch

    x = np.ones((64, 3), "float32")
    torch.manual_seed(0)
    theirs = torchvision.ops.stochastic_depth(torch.from_numpy(x), 0.2, mode, training=True).numpy()
    options = {"survival_probability": 0.8, "granularity": granularity, "scaling": "training", "activation": None}
    layer = StochasticDepthResidual(keras.layers.Identity(), seed=0, **options)
    mine = np.concatenate([np.asarray(layer(x, training=True)) - x for _ in range(8)])
    drawn = [torchvision.ops.stochastic_depth(torch.from_numpy(x), 0.2, mode, training=True) for _ in range(8)]
    assert set(np.unique(mine.round(4))) == set(np.unique(np.concatenate([theirs, *drawn]).round(4))) == {0.0, 1.25}
    tested = torchvision.ops.stochastic_depth(torch.from_numpy(x), 0.2, mode, training=False).numpy()
    np.testing.assert_allclose(layer(x, training=False), x + tested)
