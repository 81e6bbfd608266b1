"""Gradients of a function of tensors and variables."""

from collections.abc import Callable, Iterable

import jax
import keras

# Steps of Keras on JAX need gradients of all variables that the optimizer was built for.
STEPS_MAY_LEAVE_OUT_VARIABLES = False


def gradients(loss: Callable, variables: Iterable[keras.Variable] = ()) -> Callable:
    """Return a function that returns a loss and its gradients, like the function of this name on TensorFlow."""
    variables = list(variables)

    def pure(x, values, *rest):
        with keras.StatelessScope(state_mapping=list(zip(variables, values))):
            return loss(x, *rest)

    def run(x, *rest):
        values = [v.value for v in variables]
        value, (first, others) = jax.value_and_grad(pure, argnums=(0, 1))(x, values, *rest)
        return value, first, list(others)

    return run
