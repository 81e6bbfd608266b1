"""Gradients of a function of tensors and variables."""

from collections.abc import Callable, Iterable

import keras
import tensorflow as tf

from keras_sd.utils import retracing


def gradients(loss: Callable, variables: Iterable[keras.Variable] = ()) -> Callable:
    """Return a compiled function that returns a loss and its gradients, and changes no variable.

    Args:
        loss: Function of tensors that returns a scalar. Its assignments to variables (moving statistics, states of
            seed generators) are discarded.
        variables: Keras variables to differentiate with respect to, in addition to the first argument of `loss`.

    Returns:
        Function of the same arguments as `loss`: it returns the loss, the gradient of the first argument, and a list
        of gradients of the variables; zeros if the loss does not depend on one.
    """
    variables = list(variables)

    @tf.function
    def run(x, *rest):
        with tf.GradientTape() as tape, keras.StatelessScope():
            tape.watch(x)
            value = loss(x, *rest)
        watched = [x, *(v.value for v in variables)]
        first, *others = tape.gradient(value, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return value, first, [tf.convert_to_tensor(g) for g in others]

    def call(x, *rest):
        with retracing.meant():  # every loss has its own graph
            return run(tf.convert_to_tensor(x), *map(tf.convert_to_tensor, rest))

    return call
