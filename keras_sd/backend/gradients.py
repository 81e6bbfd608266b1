"""Gradients of a function of tensors and variables, whatever the backend."""

import keras


def gradients(loss, variables=()):
    """Makes a function (compiled, on TensorFlow) that returns a loss and its gradients, and changes no variable.

    Args:
        loss: Function of tensors that returns a scalar. What it assigns to variables (moving statistics, states of
            seed generators) is dropped.
        variables: Keras variables to differentiate by, beside the first argument of `loss`.

    Returns:
        Function of the same arguments as `loss`: it returns the loss, the gradient of the first argument, and a list
        of gradients of the variables; zeros where the loss does not depend on one.
    """
    return _ENGINES[keras.backend.backend()](loss, list(variables))


def _tensorflow(loss, variables):
    import tensorflow as tf

    @tf.function
    def run(x, *rest):
        with tf.GradientTape() as tape, keras.StatelessScope():
            tape.watch(x)
            value = loss(x, *rest)
        watched = [x, *(v.value for v in variables)]
        first, *others = tape.gradient(value, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return value, first, [tf.convert_to_tensor(g) for g in others]

    return lambda x, *rest: run(tf.convert_to_tensor(x), *map(tf.convert_to_tensor, rest))


def _jax(loss, variables):
    import jax

    def pure(x, values, *rest):
        with keras.StatelessScope(state_mapping=list(zip(variables, values))):
            return loss(x, *rest)

    def run(x, *rest):
        values = [v.value for v in variables]
        value, (first, others) = jax.value_and_grad(pure, argnums=(0, 1))(x, values, *rest)
        return value, first, list(others)

    return run


_ENGINES = {"tensorflow": _tensorflow, "jax": _jax}
