"""Gates on TensorFlow: dropped blocks are left out of loops, or not executed in conditionals."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_sd.backend.survivors import Survivors
from keras_sd.utils.aliases import Tensor

# A context in which float64 is available: always, on TensorFlow.
float64 = contextlib.nullcontext


def survivors(gates: Tensor) -> Survivors:
    """Return the `Survivors` for a boolean gate per block: the loop runs only over open ones."""
    rows = tf.cast(tf.reshape(tf.where(gates), [-1]), tf.int32)
    return Survivors(tf.shape(rows)[0], rows)


def choose(is_open: Tensor, compute: Callable, otherwise: Any) -> Any:
    """Return the tensors of `compute()` if a gate is open, or those of `otherwise`; both are computed.

    Args:
        is_open: Boolean tensor of shape ().
        compute: Function of no arguments.
        otherwise: Tensors with the structure of the result of `compute`.
    """
    return tf.nest.map_structure(lambda a, b: tf.where(is_open, a, b), compute(), otherwise)


def cond(is_open: Tensor, compute: Callable, otherwise: Callable, variables: list[keras.Variable]) -> Tensor:
    """Return `compute()` if a gate is open, or `otherwise()`; only one of them is executed.

    Args:
        is_open: Boolean tensor of shape ().
        compute: Function of no arguments that may assign to `variables`, and reads no other variables.
        otherwise: Function of no arguments.
        variables: List of Keras variables.
    """
    # A gate with a known value, as in eager mode, needs no conditional; a graph's conditional would hide assignments.
    known = is_open if tf.executing_eagerly() else tf.get_static_value(tf.convert_to_tensor(is_open))
    if known is None:
        return tf.cond(is_open, compute, otherwise)
    return compute() if known else with_zero_gradients(otherwise(), [v.value for v in variables if v.trainable])


def with_zero_gradients(x: Tensor, unused: list[Tensor]) -> Tensor:
    """Return `x`, with zero gradients for tensors and variables that it does not depend on.

    They would be `None` otherwise, but those of a conditional in a graph are zeros. With `None`, momentum would not be
    updated, and arithmetic on gradients would fail.
    """

    @tf.custom_gradient
    def identity(x, *unused):
        return tf.identity(x), lambda upstream: (upstream, *map(tf.zeros_like, unused))

    return identity(x, *map(tf.convert_to_tensor, unused))
