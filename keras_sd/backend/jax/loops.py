"""Loops and gates on JAX.

Shapes are static under XLA, so a loop runs over all blocks and skips dropped ones by a conditional. On a CPU XLA runs
convolutions in loops and conditionals on one thread and without its fast kernels, more than 30 times slower. There
loops are unrolled, and dropped blocks are computed and their results discarded. Without `jit` dropped blocks are
skipped everywhere, since the gates are known.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np
from jax import lax
from jax import numpy as jnp
from keras.src.backend.common.variables import AutocastScope  # values of variables in their stored dtype

from keras_sd.backend.survivors import Survivors
from keras_sd.utils.aliases import Tensor

# All kinds of gates have static shapes here.
COMPILES_DYNAMIC_LOOPS = True


def scan(
    body: Callable, carry: Tensor, states: list[Tensor], inputs: list[Tensor], length: Any, unroll: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """Carry a tensor through the rows of `states` and `inputs`, like the function of this name on TensorFlow.

    Inputs that are NumPy arrays contain values that `body` needs at trace time: then the loop is unrolled.
    """

    def step(carry, rows):
        carry, new = body(carry, *rows)
        return carry, [lax.stop_gradient(v) for v in new]

    if any(isinstance(t, np.ndarray) for t in inputs) or not _is_traced(carry, states, inputs):
        written = []
        for t in range(length):
            carry, new = step(carry, ([s[t] for s in states], [i[t] for i in inputs]))
            written.append(new)
        return carry, [jnp.stack(rows) for rows in zip(*written)]
    return lax.scan(step, carry, (states, inputs), length, unroll=length if unroll or not _skips() else 1)


def recomputed(body: Callable) -> Callable:
    """Return a `scan` body that keeps only its arguments for the backward pass and recomputes the rest."""
    return jax.checkpoint(body)


def survivors(gates: Tensor) -> Survivors:
    """Return the `Survivors` of a boolean gate for each block: the loop runs over all and skips closed ones."""
    return Survivors(gates.shape[0], live=gates)


def choose(is_open: Tensor, compute: Callable, otherwise: Any) -> Any:
    """Return the tensors that `compute` returns if a gate is open, or else those in `otherwise`."""
    if not _is_traced(is_open):
        return compute() if is_open else otherwise
    if _skips():
        return lax.cond(is_open, compute, lambda: otherwise)
    return jax.tree.map(lambda a, b: jnp.where(is_open, a, b), compute(), otherwise)


def cond(is_open: Tensor, compute: Callable, otherwise: Callable, variables: list[keras.Variable]) -> Tensor:
    """Return `compute()`, which reads and assigns only these variables, if a gate is open, or else `otherwise()`."""
    if not _is_traced(is_open):
        return compute() if is_open else otherwise()
    with AutocastScope(None):
        values = [v.value for v in variables]

    def run():
        # Values assigned within a conditional would not be visible outside.
        with AutocastScope(None):
            scope = keras.StatelessScope(zip(variables, values))
        with scope:
            outputs = compute()
        return outputs, [scope.get_current_value(v) for v in variables]

    outputs, new_values = choose(is_open, run, (otherwise(), values))
    for variable, old, new in zip(variables, values, new_values):
        if not variable.trainable and new is not old:
            variable.assign(new)
    return outputs


def map_chunks(function: Callable, x: Tensor, features: int) -> Tensor:
    """Return `function(x)`: XLA manages the cache itself, and convolutions in a loop are slow on a CPU."""
    return function(x)


def take_rows(x: Tensor, indices: Tensor) -> Tensor:
    """Return `x[indices]`."""
    return jnp.take(x, indices, axis=0)


def fused_batch_normalization(
    x: Tensor, scale: Tensor, offset: Tensor, epsilon: float, mean: Tensor | None = None, variance: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize a batch over the last axis, like the function of this name on TensorFlow; XLA fuses what it can."""
    wide = jnp.promote_types(x.dtype, "float32")
    z = x.astype(wide)
    if mean is None or variance is None:
        axes = tuple(range(x.ndim - 1))
        mean = jnp.mean(z, axes)
        variance = jnp.mean(jnp.square(z - mean), axes)
    factor = scale * lax.rsqrt(variance + epsilon)
    y = (z - mean) * factor + offset
    return y.astype(x.dtype), lax.stop_gradient(mean), lax.stop_gradient(variance)


def float64() -> contextlib.AbstractContextManager:
    """Return a context that allows float64."""
    return contextlib.nullcontext() if jax.config.read("jax_enable_x64") else jax.enable_x64(True)


def _is_traced(*trees):
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


def _skips():
    """Return whether conditionals are faster than computing both branches."""
    return jax.default_backend() != "cpu"
