"""Loops on PyTorch, which are Python loops."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from keras_sd.backend.torch.gates import with_zero_gradients
from keras_sd.utils.aliases import Tensor

# Nothing is compiled ahead of a step: `torch.compile` leaves loops over survivors to Python.
COMPILES_DYNAMIC_LOOPS = True


def scan(
    body: Callable, carry: Tensor, states: list[Tensor], inputs: list[Tensor], length: Any, unroll: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """Carry a tensor through the rows of `states` and `inputs`, as the function of this name on TensorFlow."""
    first = carry
    # States are assigned in place later, which must not change the rows that the gradient needs.
    state_rows = [_rows(t.clone()) for t in states]
    input_rows = [_rows(t) for t in inputs]
    written = []
    for t in range(length):
        carry, new = body(carry, [rows[t] for rows in state_rows], [rows[t] for rows in input_rows])
        written.append([v.detach() for v in new])
    if carry is first:  # all blocks were dropped
        carry = with_zero_gradients(carry, [t for t in (*states, *inputs) if isinstance(t, torch.Tensor)])
    return carry, [torch.stack(rows) for rows in zip(*written)] if written else states


def _rows(stacked):
    """Return rows by `unbind`, whose gradient is one stack; each index would have a gradient of the full size."""
    if not isinstance(stacked, torch.Tensor):
        return stacked
    if stacked.ndim == 5:  # kernels: one copy for all blocks, in the memory format of convolutions
        stacked = stacked.permute(0, 4, 1, 2, 3).contiguous().permute(0, 2, 3, 4, 1)
    return stacked.unbind()


def recomputed(body: Callable) -> Callable:
    """Return a `scan` body that keeps only its arguments for the backward pass and recomputes the rest."""

    def wrapped(*arguments):
        # Random numbers depend only on seeds in the arguments, so there is no generator state to restore.
        return checkpoint(body, *arguments, use_reentrant=False, preserve_rng_state=False)

    return wrapped


def map_chunks(function: Callable, x: Tensor, features: int) -> Tensor:
    """Return `function(x)`; chunks would not be faster."""
    return function(x)


def take_rows(x: Tensor, indices: Tensor) -> Tensor:
    """Return `x[indices]`, with a dense gradient."""
    return x.index_select(0, indices)
