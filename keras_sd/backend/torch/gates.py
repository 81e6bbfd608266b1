"""Gates on PyTorch: Python's `if`, so that dropped blocks run nothing."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import torch
from keras.src.backend.common.variables import AutocastScope  # values of variables in their stored dtype

from keras_sd.backend.survivors import Survivors
from keras_sd.utils.aliases import Tensor

# A context that allows float64, which PyTorch always does.
float64 = contextlib.nullcontext


def survivors(gates: Tensor) -> Survivors:
    """Return the `Survivors` of a boolean gate for each block: the loop runs only over open ones."""
    if gates.is_meta:  # Keras infers shapes
        return Survivors(gates.shape[0])
    rows = gates.nonzero().flatten().to(torch.int32)
    return Survivors(rows.shape[0], rows)


def choose(is_open: Tensor, compute: Callable, otherwise: Any) -> Any:
    """Return the tensors that `compute` returns if a gate is open, or else those in `otherwise`."""
    return compute() if is_open.is_meta or is_open else otherwise


def cond(is_open: Tensor, compute: Callable, otherwise: Callable, variables: list[keras.Variable]) -> Tensor:
    """Return `compute()`, which reads and assigns only these variables, if a gate is open, or else `otherwise()`."""
    if is_open.is_meta or is_open:
        return compute()
    with AutocastScope(None):
        unused = [v.value for v in variables if v.trainable]
    return with_zero_gradients(otherwise(), unused)


def with_zero_gradients(x: Tensor, unused: list[Tensor]) -> Tensor:
    """Return `x`, with zero gradients for tensors that it does not depend on.

    Otherwise they would be `None`: Keras would warn, and momentum would not be updated.
    """
    unused = [t for t in unused if t.requires_grad]
    return _WithZeroGradients.apply(x, *unused) if unused and torch.is_grad_enabled() else x


class _WithZeroGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, *unused):
        ctx.save_for_backward(*unused)
        return x.view_as(x)

    @staticmethod
    def backward(ctx, upstream):
        return upstream, *map(torch.zeros_like, ctx.saved_tensors)
