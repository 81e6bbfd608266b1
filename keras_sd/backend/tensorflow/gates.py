"""Gates on TensorFlow: blocks that are dropped are left out of loops, or not executed in conditionals."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_sd.backend.survivors import Survivors
from keras_sd.utils.aliases import Tensor

# A context in which there are float64 numbers: any.
float64 = contextlib.nullcontext


def survivors(gates: Tensor) -> Survivors:
    """Return the `Survivors` of a boolean gate for each block: the loop runs over the open ones alone."""
    rows = tf.cast(tf.reshape(tf.where(gates), [-1]), tf.int32)
    return Survivors(tf.shape(rows)[0], rows)


def choose(is_open: Tensor, compute: Callable, otherwise: Any) -> Any:
    """The tensors that `compute` returns if a gate is open, or those of `otherwise`; both are computed.

    Args:
        is_open: Boolean tensor of shape ().
        compute: Function of no arguments.
        otherwise: Tensors in the structure of what `compute` returns.
    """
    return tf.nest.map_structure(lambda a, b: tf.where(is_open, a, b), compute(), otherwise)


def cond(is_open: Tensor, compute: Callable, otherwise: Callable, variables: list[keras.Variable]) -> Tensor:
    """`compute()` if a gate is open, or `otherwise()`; one of them is executed.

    Args:
        is_open: Boolean tensor of shape ().
        compute: Function of no arguments that may assign to `variables`, and reads no others.
        otherwise: Function of no arguments.
        variables: List of Keras variables.
    """
    # A gate whose value is known, as in eager mode, takes no conditional; that of a graph would hide what is assigned.
    known = is_open if tf.executing_eagerly() else tf.get_static_value(tf.convert_to_tensor(is_open))
    if known is None:
        return tf.cond(is_open, compute, otherwise)
    return compute() if known else with_zero_gradients(otherwise(), [v.value for v in variables if v.trainable])


def with_zero_gradients(x: Tensor, unused: list[Tensor]) -> Tensor:
    """`x`, with gradients of zeros for tensors and variables that it does not depend on.

    They would be `None`, where those of a conditional in a graph are zeros: momentum would not move on, and arithmetic
    on gradients would fail.
    """

    @tf.custom_gradient
    def identity(x, *unused):
        return tf.identity(x), lambda upstream: (upstream, *map(tf.zeros_like, unused))

    return identity(x, *map(tf.convert_to_tensor, unused))
