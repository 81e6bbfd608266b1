"""A layer as a function of weights that are kept elsewhere."""

import contextlib
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
        # A class that is not registered, or local to a function, is found by its name only where it is in scope.
        self._classes = {type(part).__name__: type(part) for part in parts(layer) if not _is_built_in(part)}

    def copy(self):
        """Another layer of the same structure."""
        with keras.saving.custom_object_scope(self._classes):
            # Not safe mode: the configuration is that of a layer which lives already, whatever is in it.
            return keras.saving.deserialize_keras_object(self.config, safe_mode=False)

    def build(self, input_shape, scope):
        """Builds the copy, and remembers how each variable is to be initialized.

        Args:
            input_shape: Shape of the layer's inputs.
            scope: The owner's path, which paths of the variables begin with.

        Returns:
            The shape of the layer's outputs.
        """
        # In a stateless scope variables wait with their initializers; only there can these be read.
        with keras.StatelessScope():
            self.layer = self.copy()
            output_shape = build_by_call(self.layer, input_shape)
            self.variables = _by_name(self.layer, scope)
            self._initializers = {name: v._initializer for name, v in self.variables.items()}
        self._names = {id(v): name for name, v in self.variables.items()}
        weights = {id(v) for v in self.layer.weights}
        self._seeds = {name for name, v in self.variables.items() if id(v) not in weights}
        with _thawed(self.layer):
            self.states = {self._names[id(v)] for v in self.layer.non_trainable_variables}
        self._takes_training = "training" in inspect.signature(self.layer.call).parameters
        return output_shape

    def set_normalization_trainable(self, value):
        """Freezes or thaws the batch normalizations, in the layer and in the configuration that is saved."""
        norms = [p for p in parts(self.layer or self.copy()) if isinstance(p, keras.layers.BatchNormalization)]
        for norm in norms:
            norm.trainable = value
        self.config = _with_trainable(self.config, {norm.name for norm in norms}, value)

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


def build_by_call(layer, input_shape):
    """Builds a layer as Keras would when it is called (some have no `build` of their own); returns its output shape."""
    return tuple(layer(keras.KerasTensor(input_shape)).shape)


def parts(layer):
    """A layer and all layers inside of it."""
    return list(layer._flatten_layers())


def _with_trainable(config, names, value):
    """A serialized layer in which the parts of these names are trainable or not."""
    if isinstance(config, list | tuple):
        return type(config)(_with_trainable(c, names, value) for c in config)
    if not isinstance(config, dict):
        return config
    config = {key: _with_trainable(c, names, value) for key, c in config.items()}
    if config.get("name") in names:
        config["trainable"] = value
    return config


def _is_built_in(layer):
    return type(layer).__module__.split(".")[0] in ("keras", "keras_sd")


@contextlib.contextmanager
def _thawed(layer):
    """All parts of a layer trainable for a while."""
    flags = [(part, part.trainable) for part in parts(layer)]
    layer.trainable = False  # setting what is set already would reach no part
    layer.trainable = True
    yield
    for part, flag in flags:  # a part comes before those inside of it, which it sets too
        part.trainable = flag


def _by_name(layer, scope):
    """Weights of a layer by their paths below it, and states of seed generators (whose paths are counters) by order."""
    named = {v.path.removeprefix(f"{scope}/"): v for v in layer.weights}
    if all(name.startswith(f"{layer.name}/") for name in named):
        named = {name.removeprefix(f"{layer.name}/"): v for name, v in named.items()}
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
