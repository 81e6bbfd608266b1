"""Conversion of tensors between libraries."""

from typing import Any

import keras


def of_engine(batch: Any) -> Any:
    """Return a batch of `tf.data` (any nest of tensors) as tensors of Keras's engine.

    `fit`, `evaluate` and `predict` of Keras convert batches themselves; its single-batch steps do not.
    """
    return keras.tree.map_structure(keras.ops.convert_to_tensor, batch)
