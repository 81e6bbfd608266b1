"""Residual blocks with pre-activation compute what He et al., 2016b, write, x + conv(relu(norm(...)))."""

import keras
import numpy as np
import pytest
from helpers import randomize
from keras import ops

from keras_sd import applications

SIZES = {"preactivation_basic": (3, 3), "preactivation_bottleneck": (1, 3, 1)}


def reference(values, x, blocks, sizes):
    """Compute the network in plain operations, from its weights by path; each stage begins with a projection."""

    def norm_relu(x, name):
        part = {p: values[f"{name}/{p}"] for p in ("gamma", "beta", "moving_mean", "moving_variance")}
        x = (x - part["moving_mean"]) / ops.sqrt(part["moving_variance"] + 1e-5)
        return ops.relu(x * part["gamma"] + part["beta"])

    def conv(x, name, stride=1):
        kernel = values[f"{name}/kernel"]
        padded = ops.pad(x, [(0, 0), *[(kernel.shape[0] // 2,) * 2] * 2, (0, 0)])
        return ops.conv(padded, kernel, strides=stride, padding="valid", data_format="channels_last")

    x = conv(x, "stem_conv")
    for stage, count in enumerate(blocks, 1):
        for i in range(1, count + 1):
            name = f"stage{stage}_block{i}"
            stride = 2 if i == 1 and stage > 1 else 1
            y = norm_relu(x, f"{name}_preact/preact_norm" if i == 1 else f"{name}/branch/preact_norm")
            shortcut = conv(y, f"{name}/shortcut/conv", stride) if i == 1 else x
            for j in range(1, len(sizes) + 1):
                y = conv(y, f"{name}/branch/conv{j}", stride if j == 1 else 1)
                y = norm_relu(y, f"{name}/branch/norm{j}") if j < len(sizes) else y
            x = shortcut + y
    return norm_relu(x, "post_bn")


@pytest.mark.parametrize("block", SIZES)
def test_preactivated_blocks_are_those_of_the_paper(block):
    blocks = (2, 2)
    model = applications.ResNet(
        blocks=blocks,
        filters=(4, 8),
        block=block,
        shortcut="projection",
        stem_filters=3,
        stacked=False,
        include_top=False,
        input_shape=(8, 8, 2),
    )
    randomize(model)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 2)).astype("float32")
    values = {w.path: ops.convert_to_tensor(w) for w in model.weights}
    expected = keras.ops.convert_to_numpy(reference(values, x, blocks, SIZES[block]))
    np.testing.assert_allclose(model(x), expected, atol=1e-5 * np.abs(expected).max())
