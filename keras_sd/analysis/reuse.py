"""Feature reuse between the layers of a dense block."""

import keras
import numpy as np
from keras import ops

from keras_sd.layers import DenseBlock, TransitionLayer
from keras_sd.layers.blocks import GatedBlocks
from keras_sd.layers.nesting import walk
from keras_sd.utils.checks import check_type, refusal


def reuse(block: DenseBlock) -> np.ndarray:
    """Return the mean absolute weight by source and target layer of a dense block.

    Columns are targets, the layers of the block. Rows are sources: 0 is the block's input, `s` is layer `s` of the
    block, counted from 1. Each column is divided by its largest entry, so that the most used source has 1.

    Args:
        block: A built `DenseBlock`.

    Returns:
        Array of shape (layers, layers); NaN where the source comes after the target.

    Raises:
        TypeError: The block is not a `DenseBlock`.

    Reference:
        [Huang et al., 2017](https://arxiv.org/abs/1608.06993), section 5 and figure 5
    """
    check_type("block", block, DenseBlock, "a `DenseBlock`")
    sources = [block.kernel_by_source(i) for i in range(block.num_layers)]
    return _normalized(sources, block.num_layers)


def reuse_map(model: keras.Model) -> dict[str, np.ndarray]:
    """Return the map of each dense block of a model, with the reader of the block's output as its last column.

    The reader is the 1x1 convolution of a transition, or the classifier after the last block.

    Args:
        model: A model with dense blocks, also inside nested models.

    Returns:
        Dictionary from the blocks' names to arrays of shape (layers + 1, layers + 1), or, where no reader is
        found, (layers, layers).

    Raises:
        TypeError: The model is not a Keras model.
        ValueError: The model has no dense blocks.
    """
    check_type("model", model, keras.Model, "a Keras model")
    found, layers = {}, list(walk(model))
    for place, block in enumerate(layers):
        if isinstance(block, GatedBlocks) and block.kind == "dense":
            found[block.name] = _with_reader(block, _reader(layers[place + 1 :]))
    if not found:
        raise refusal("model", "a model with dense blocks", model.name)
    return found


def _reader(following):
    """Return the kernel of the first layer that mixes channels (inputs on the second axis from the end), or `None`."""
    for layer in following:
        if isinstance(layer, TransitionLayer | keras.layers.Conv2D | keras.layers.Dense):
            return ops.convert_to_numpy(layer.kernel)
    return None


def _with_reader(block, kernel):
    sources = [block.kernel_by_source(i) for i in range(block.num_layers)]
    features = sources[0][0].shape[-2] + block.num_layers * block.growth_rate
    if kernel is None or kernel.shape[-2] != features:
        return _normalized(sources, block.num_layers)
    ends = range(sources[0][0].shape[-2], features, block.growth_rate)
    return _normalized([*sources, np.split(kernel, list(ends), axis=-2)], block.num_layers + 1)


def _normalized(sources, size):
    table = np.full((size, size), np.nan)
    for target, kernels in enumerate(sources):
        means = [np.abs(kernel).mean() for kernel in kernels]
        table[: len(means), target] = np.divide(means, max(max(means), np.finfo("float32").tiny))
    return table
