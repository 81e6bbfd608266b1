"""Parameter counts are those of the papers' tables, in millions as printed there."""

import keras
import numpy as np
import pytest

from keras_sd import applications

PAPERS = {
    # He et al. 2016, table 6
    "ResNet20": "0.27",
    "ResNet32": "0.46",
    "ResNet44": "0.66",
    "ResNet56": "0.85",
    "ResNet110": "1.7",
    "ResNet1202": "19.4",
    # Huang et al. 2017, table 2
    "ResNet164": "1.7",
    "WideResNet28_10": "36.5",
    "DenseNet40": "1.0",
    "DenseNet100": "7.0",
    "DenseNetBC100": "0.8",
    "DenseNetBC250": "15.3",
    "DenseNetBC190": "25.6",
    # Zagoruyko and Komodakis 2016, table 4
    "WideResNet40_4": "8.9",
}


def millions(model, digits):
    return f"{sum(np.prod(w.shape) for w in model.trainable_weights) / 1e6:.{digits}f}"


@pytest.mark.parametrize("name", PAPERS)
def test_parameters(name):
    printed = PAPERS[name]
    with keras.StatelessScope(initialize_variables=False):
        model = applications.get_model(name, weights=None)
    assert millions(model, len(printed.split(".")[1])) == printed
    assert applications.MODELS[name].parameters == sum(np.prod(w.shape) for w in model.trainable_weights)


@pytest.mark.slow
def test_the_paper_counts_the_kernels_of_resnet_1001():
    """10.2M in Huang et al. 2017, table 2: without the scales and offsets of normalization, which are 0.15M more."""
    with keras.StatelessScope(initialize_variables=False):
        model = applications.ResNet1001()
    counted = [w for w in model.trainable_weights if not w.name.endswith(("gamma", "beta"))]
    assert f"{sum(np.prod(w.shape) for w in counted) / 1e6:.1f}" == "10.2"


@pytest.mark.slow
def test_growth_rate_24():
    assert millions(applications.DenseNet100(growth_rate=24), 1) == "27.2"
