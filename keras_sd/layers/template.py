"""A layer as a function of weights that are kept elsewhere."""

import inspect
import zlib

import keras
import numpy as np


class Template:
    """The structure of a layer, called with weights that its owner has.

    An ordinary object: Keras does not find the layer inside of it, and so its owner does not have its weights twice.

    Args:
        layer: Keras layer or model; copied by its configuration.

    Attributes:
        layer: The copy, once it is built.
        variables: Its variables by name (`"conv1/kernel"`), once it is built.
        states: Names of those that a call in training changes: moving statistics, states of seed generators.
    """

    def __init__(self, layer):
        self.config = keras.saving.serialize_keras_object(layer)
        self.layer = None

    def copy(self):
        """Another layer of the same structure."""
        return keras.saving.deserialize_keras_object(self.config)

    def build(self, input_shape):
        """Builds the copy, and remembers how each variable is to be initialized."""
        # In a stateless scope variables wait with their initializers; only there can these be read.
        with keras.StatelessScope():
            self.layer = self.copy()
            if not self.layer.built:
                self.layer.build(input_shape)
            self.variables = _by_name(self.layer)
            self._initializers = {name: v._initializer for name, v in self.variables.items()}
        self._names = {id(v): name for name, v in self.variables.items()}
        weights = {id(v) for v in self.layer.weights}
        self._seeds = {name for name, v in self.variables.items() if id(v) not in weights}
        self.states = {name for name, v in self.variables.items() if not v.trainable}
        self._takes_training = "training" in inspect.signature(self.layer.call).parameters

    def __call__(self, values, inputs, training):
        """The layer's output with `values` by name in place of its weights, and the values that it leaves behind."""
        fixed = self.layer.non_trainable_variables
        arguments = {"training": training} if self._takes_training else {}
        outputs, left = self.layer.stateless_call(
            [values[self._names[id(v)]] for v in self.layer.trainable_variables],
            [values[self._names[id(v)]] for v in fixed],
            inputs,
            **arguments,
        )
        return outputs, {self._names[id(v)]: value for v, value in zip(fixed, left)}

    def stacked_initializer(self, name, depth):
        """An initializer for `depth` copies of a variable on a leading axis, each with a draw of its own.

        A Keras initializer returns the same numbers at every call, and takes its fans from the shape it is given:
        so each copy has an initializer of its own, which sees the shape of one.
        """
        initializer, is_seed = self._initializers[name], name in self._seeds

        def stacked(shape, dtype=None):
            if is_seed:
                seed, count = np.array(initializer(shape[1:], dtype=dtype))
                return np.array([(_mixed(seed, i), count) for i in range(depth)], dtype)
            if isinstance(initializer, keras.initializers.Zeros | keras.initializers.Ones):
                return initializer(shape, dtype=dtype)
            draws = [_reseeded(initializer, i)(shape[1:], dtype=dtype) for i in range(depth)]
            return keras.ops.stack(draws)

        return stacked


def _by_name(layer):
    """Weights of a layer by their paths below it, and states of seed generators (whose paths are counters) by order."""
    named = {v.path.split(f"{layer.name}/", 1)[-1]: v for v in layer.weights}
    if len(named) < len(layer.weights):
        raise ValueError(
            f"Weights of {layer.name!r} must have different paths. Received: {[w.path for w in layer.weights]}"
        )
    weights = {id(v) for v in layer.weights}
    seeds = [v for v in layer.variables if id(v) not in weights]
    return {**named, **{f"seed_generator_{i}/state": v for i, v in enumerate(seeds)}}


def _reseeded(initializer, index):
    """The initializer of copy `index`: as the given one, but with a seed of its own."""
    config = initializer.get_config() if isinstance(initializer, keras.initializers.Initializer) else {}
    if "seed" not in config or isinstance(config["seed"], dict):  # not random, or a seed generator, which moves on
        return initializer
    seed = config["seed"]
    return type(initializer).from_config(config if seed is None else {**config, "seed": _mixed(seed, index)})


def _mixed(seed, index):
    return zlib.crc32(f"{seed}/{index}".encode()) & 0x7FFFFFFF
