"""Loops and gates on JAX.

Shapes are static under XLA: a loop goes over all blocks, and a block that is dropped is a conditional of it. On a CPU
XLA runs the convolutions in loops and conditionals on one thread and without its fast kernels, more than 30 times
slower: there loops are unrolled, and blocks that are dropped are computed and thrown away. What is executed without
`jit` skips everywhere, as the gates are known.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np
from jax import lax
from jax import numpy as jnp
from keras.src.backend.common.variables import AutocastScope  # values of variables as they are stored

from keras_sd.backend.survivors import Survivors
from keras_sd.utils.aliases import Tensor

# Gates have static shapes here, whatever their kind.
COMPILES_DYNAMIC_LOOPS = True


def scan(
    body: Callable, carry: Tensor, states: list[Tensor], inputs: list[Tensor], length: Any, unroll: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """Carry a tensor through the rows of `states` and `inputs`, as the function of this name on TensorFlow.

    Inputs that are NumPy arrays are numbers that `body` must know when it is traced: then the loop is unrolled.
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
    """The body of a `scan`, of which the backward pass keeps the arguments only, and computes the rest again."""
    return jax.checkpoint(body)


def survivors(gates: Tensor) -> Survivors:
    """Return the `Survivors` of a boolean gate for each block: the loop runs over all, and skips shut ones."""
    return Survivors(gates.shape[0], live=gates)


def choose(is_open: Tensor, compute: Callable, otherwise: Any) -> Any:
    """The tensors that `compute` returns if a gate is open, or those of `otherwise`."""
    if not _is_traced(is_open):
        return compute() if is_open else otherwise
    if _skips():
        return lax.cond(is_open, compute, lambda: otherwise)
    return jax.tree.map(lambda a, b: jnp.where(is_open, a, b), compute(), otherwise)


def cond(is_open: Tensor, compute: Callable, otherwise: Callable, variables: list[keras.Variable]) -> Tensor:
    """`compute()` if a gate is open, or `otherwise()`; the former may assign to the variables, and reads no others."""
    if not _is_traced(is_open):
        return compute() if is_open else otherwise()
    with AutocastScope(None):
        values = [v.value for v in variables]

    def run():
        # Assigned within a conditional, values would not leave it.
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
    """`function(x)`: XLA has its own ways with the cache, and on a CPU convolutions in a loop are slow."""
    return function(x)


def take_rows(x: Tensor, indices: Tensor) -> Tensor:
    """`x[indices]`."""
    return jnp.take(x, indices, axis=0)


def fused_batch_normalization(
    x: Tensor, scale: Tensor, offset: Tensor, epsilon: float, mean: Tensor | None = None, variance: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalization over the last axis, as the function of this name on TensorFlow; XLA fuses what it can."""
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
    """A context in which there are float64 numbers."""
    return contextlib.nullcontext() if jax.config.read("jax_enable_x64") else jax.enable_x64(True)


def _is_traced(*trees):
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


def _skips():
    """Whether conditionals pay."""
    return jax.default_backend() != "cpu"
