"""The map of reuse against means taken from the kernels directly."""

import numpy as np
import pytest

from keras_sd.analysis import reuse, reuse_map


def test_the_map_is_the_mean_absolute_weight_by_source_and_target(make):
    model = make("DenseNet", blocks=(3, 2), growth_rate=4, stem_filters=6)
    block = model.get_layer("stage1_block")
    table = reuse(block)
    assert table.shape == (3, 3)
    for target in range(3):
        kernel = np.abs(np.array(block.block_weights(target)["conv1/kernel"].variable))
        means = [kernel[:, :, :6].mean()] + [kernel[:, :, 6 + 4 * s : 10 + 4 * s].mean() for s in range(target)]
        assert table[: target + 1, target] == pytest.approx(np.array(means) / max(means))
        assert np.isnan(table[target + 1 :, target]).all()
    assert np.nanmax(table, axis=0) == pytest.approx(1)


def test_the_last_column_is_what_reads_the_block(make):
    model = make("DenseNet", blocks=(2, 2), growth_rate=4, stem_filters=6)
    maps = reuse_map(model)
    assert list(maps) == ["stage1_block", "stage2_block"]
    for name, layer in (("stage1_block", "transition1"), ("stage2_block", "predictions")):
        reader = model.get_layer(layer)
        kernel = reader.kernel
        kernel = np.abs(np.array(kernel)).reshape(-1, *kernel.shape[-2:])
        start = kernel.shape[1] - 8
        means = np.array([kernel[:, a:b].mean() for a, b in ((0, start), (start, start + 4), (start + 4, None))])
        assert maps[name][:, 2] == pytest.approx(means / means.max(), rel=1e-5)


def test_a_model_without_dense_blocks_is_refused(make):
    with pytest.raises(ValueError, match="dense"):
        reuse_map(make("ResNet", depth=8))
