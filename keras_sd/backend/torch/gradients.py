"""Gradients of a function of tensors and variables."""

from collections.abc import Callable, Iterable

import keras
import torch


def gradients(loss: Callable, variables: Iterable[keras.Variable] = ()) -> Callable:
    """Return a function that returns a loss and its gradients, like the function of this name on TensorFlow."""
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
