"""What tests need of the backend itself: compiled functions and gradients, on TensorFlow and on JAX."""

import keras
import pytest

ON_JAX = keras.backend.backend() == "jax"
only_tensorflow = pytest.mark.skipif(ON_JAX, reason="tests what only TensorFlow has")
only_jax = pytest.mark.skipif(not ON_JAX, reason="tests what only JAX has (KERAS_BACKEND=jax)")

if ON_JAX:
    import jax
else:
    import tensorflow as tf


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
    """The function as a graph, or under `jit`: one that reads and changes no variables but these."""
    if not ON_JAX:
        return tf.function(function)
    pure = jax.jit(_pure(function, variables))

    def run(*args):
        results, values = pure([v.value for v in variables], *args)
        _assign(variables, values)
        return results

    return run


def repeated(function, variables, count):
    """`count` results of a function of no arguments, stacked, in one compiled loop."""
    if ON_JAX:
        pure = _pure(function, variables)
        values, results = jax.lax.scan(lambda values, _: pure(values)[::-1], [v.value for v in variables], length=count)
        _assign(variables, values)
        return jax.tree.map(keras.ops.convert_to_numpy, results)
    signature = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), function())
    loop = tf.function(lambda: tf.map_fn(lambda _: function(), tf.range(count), fn_output_signature=signature))
    return tf.nest.map_structure(lambda t: t.numpy(), loop())


def gradients(function, inputs, trainable, variables=(), graph=False):
    """Results of a function, and gradients of its loss by its inputs and by variables.

    Args:
        function: Function of the inputs that returns a loss and a structure of further results.
        inputs: List of arrays.
        trainable: List of Keras variables to differentiate by.
        variables: Other Keras variables that the function changes.
        graph: Whether to compile it.

    Returns:
        The further results, the gradients by inputs, the gradients by variables (zeros where there is none).
    """
    run = (_gradients_jax if ON_JAX else _gradients_tensorflow)(function, trainable, list(variables), graph)
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
