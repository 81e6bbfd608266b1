"""What tests need of the backend itself: compiled functions, gradients, layers that raise when they are executed."""

import keras
import numpy as np
import pytest

ENGINE = keras.backend.backend()
ON_TENSORFLOW, ON_JAX, ON_TORCH = (engine == ENGINE for engine in ("tensorflow", "jax", "torch"))
only_tensorflow = pytest.mark.skipif(not ON_TENSORFLOW, reason="tests what only TensorFlow has")
only_jax = pytest.mark.skipif(not ON_JAX, reason="tests what only JAX has (KERAS_BACKEND=jax)")
only_torch = pytest.mark.skipif(not ON_TORCH, reason="tests what only PyTorch has (KERAS_BACKEND=torch)")
# JAX computes dropped blocks where conditionals do not pay.
that_skip = pytest.mark.skipif(ON_JAX, reason="JAX skips on GPUs and TPUs (test_jax.py)")

if ON_JAX:
    import jax
elif ON_TORCH:
    import torch
else:
    import tensorflow as tf


def is_symbolic(tensor):
    """Whether a tensor has no numbers: one of a trace, or of a question for shapes."""
    return (
        tensor.is_meta if ON_TORCH else isinstance(tensor, jax.core.Tracer) if ON_JAX else tf.is_symbolic_tensor(tensor)
    )


class Bomb(keras.layers.Layer):
    """Raises when it is executed; its tracing is harmless."""

    def call(self, inputs):
        if ON_TORCH:
            if not inputs.is_meta:
                raise EXPLOSION("executed")
            return inputs
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_sum(inputs) > np.inf, ["executed"])]):
            return tf.identity(inputs)


EXPLOSION = tf.errors.InvalidArgumentError if ON_TENSORFLOW else ArithmeticError


def _pure(function, variables):
    """A function of values of the variables, and of arguments, that also returns the values that it leaves behind."""

    def pure(values, *args):
        with keras.StatelessScope(zip(variables, values)) as scope:
            results = function(*args)
        return results, [scope.get_current_value(v) for v in variables]

    return pure


def _assign(variables, values):
    for variable, value in zip(variables, values):
        variable.assign(value)


def compiled(function, variables):
    """The function as a graph, or under `jit`: one that reads and changes no variables but these. As is on PyTorch."""
    if ON_TORCH:
        return function
    if ON_TENSORFLOW:
        return tf.function(function)
    pure = jax.jit(_pure(function, variables))

    def run(*args):
        results, values = pure([v.value for v in variables], *args)
        _assign(variables, values)
        return results

    return run


def repeated(function, variables, count):
    """`count` results of a function of no arguments, stacked, in one compiled loop where there is one."""
    if ON_TORCH:
        results = [keras.tree.map_structure(keras.ops.convert_to_numpy, function()) for _ in range(count)]
        return keras.tree.map_structure(lambda *values: np.stack(values), *results)
    if ON_JAX:
        pure = _pure(function, variables)
        values, results = jax.lax.scan(lambda values, _: pure(values)[::-1], [v.value for v in variables], length=count)
        _assign(variables, values)
        return jax.tree.map(keras.ops.convert_to_numpy, results)
    signature = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), function())
    loop = tf.function(lambda: tf.map_fn(lambda _: function(), tf.range(count), fn_output_signature=signature))
    return tf.nest.map_structure(lambda t: t.numpy(), loop())


def gradients(function, inputs, trainable, variables=(), graph=ON_JAX):
    """Results of a function, and gradients of its loss by its inputs and by variables.

    Args:
        function: Function of the inputs that returns a loss and a structure of further results.
        inputs: List of arrays.
        trainable: List of Keras variables to differentiate by.
        variables: Other Keras variables that the function changes.
        graph: Whether to compile it as a whole. The default on JAX, which otherwise compiles each operation.

    Returns:
        The further results, the gradients by inputs, the gradients by variables (zeros where there is none).
    """
    of_engine = {"tensorflow": _gradients_tensorflow, "jax": _gradients_jax, "torch": _gradients_torch}[ENGINE]
    run = of_engine(function, trainable, list(variables), graph)
    return run([keras.ops.convert_to_tensor(x) for x in inputs])


def _gradients_jax(function, trainable, variables, graph):
    own = {id(v) for v in trainable}
    others = [v for v in variables if id(v) not in own]

    def loss(inputs, values, other_values):
        (value, results), left = _pure(function, trainable + others)([*values, *other_values], *inputs)
        return value, (results, left[len(trainable) :])

    differentiated = jax.grad(loss, (0, 1), has_aux=True)
    differentiated = jax.jit(differentiated) if graph else differentiated

    def run(inputs):
        (by_inputs, by_variables), (results, left) = differentiated(
            inputs, [v.value for v in trainable], [v.value for v in others]
        )
        _assign(others, left)
        return results, by_inputs, by_variables

    return run


def _gradients_tensorflow(function, trainable, variables, graph):
    def run(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            value, results = function(*inputs)
        by = tape.gradient(value, [inputs, [v.value for v in trainable]], unconnected_gradients="zero")
        return results, *by

    return tf.function(run) if graph else run


def _gradients_torch(function, trainable, variables, graph):
    def run(inputs):
        inputs = [x.detach().requires_grad_(x.is_floating_point()) for x in inputs]
        value, results = function(*inputs)
        by = torch.autograd.grad(
            value, [*inputs, *(v.value for v in trainable)], allow_unused=True, materialize_grads=True
        )
        return results, by[: len(inputs)], by[len(inputs) :]

    return run
