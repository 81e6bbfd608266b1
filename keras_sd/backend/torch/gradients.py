"""Gradients of a function of tensors and variables."""

from collections.abc import Callable, Iterable

import keras
import torch

# Keras's steps may leave out variables that its optimizer was built for.
STEPS_MAY_LEAVE_OUT_VARIABLES = True


def gradients(loss: Callable, variables: Iterable[keras.Variable] = ()) -> Callable:
    """Make a function that returns a loss and its gradients, and changes no variable.

    Args:
        loss: Function of tensors that returns a scalar. What it assigns to variables (moving statistics, states of
            seed generators) is discarded.
        variables: Keras variables to differentiate by, in addition to the first argument of `loss`.

    Returns:
        Function of the same arguments as `loss`: it returns the loss, the gradient of the first argument, and a list
        of gradients of the variables; zeros where the loss does not depend on one.
    """
    variables = list(variables)

    def run(x, *rest):
        x, *values = (
            keras.ops.convert_to_tensor(t).detach().requires_grad_() for t in (x, *(v.value for v in variables))
        )
        with torch.enable_grad(), keras.StatelessScope(state_mapping=list(zip(variables, values))):
            value = loss(x, *map(keras.ops.convert_to_tensor, rest))
        watched = [x, *values]
        if not value.requires_grad:
            first, *others = map(torch.zeros_like, watched)
        else:
            first, *others = torch.autograd.grad(value, watched, allow_unused=True, materialize_grads=True)
        return value.detach(), first.detach(), [g.detach() for g in others]

    return run
