"""Gradients of a function of tensors and variables."""

from collections.abc import Callable, Iterable

import jax
import keras


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
