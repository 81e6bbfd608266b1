"""A layer as a function of weights stored elsewhere."""

import contextlib
import copy
import inspect
import re
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from keras.src.backend.common.variables import AutocastScope  # values of variables in the compute dtype

from keras_sd.layers.convolution import Conv2D
from keras_sd.layers.normalization import FusedBatchNormalization
from keras_sd.utils.aliases import Shape
from keras_sd.utils.checks import refusal

# Layers that need nothing but their `call`: one tensor in, one tensor of the compute dtype out.
_PLAIN = (Conv2D, FusedBatchNormalization, keras.layers.Activation, keras.layers.ReLU)


class Template:
    """The structure of a layer, called with weights that belong to its owner.

    This is an ordinary object, so that Keras does not track the layer in it and count the owner's weights twice.

    Args:
        layer: Keras layer or model; copied by its configuration.

    Attributes:
        layer: The copy, once it is built.
        variables: Its variables by name (`"conv1/kernel"`), once it is built.
        seeds: Names of the variables that are states of seed generators.
        fixed: Names of the variables that no optimizer trains: moving statistics and states of seed generators.
        states: Names of the variables that a call in training assigns: those in `fixed`, and kernels under spectral
            normalization.
    """

    def __init__(self, layer: keras.Layer):
        self._config = keras.saving.serialize_keras_object(layer)
        self.layer: Any = None
        # Classes that are not registered, or local to a function, can only be found by name in a custom object scope.
        self._classes = {type(part).__name__: type(part) for part in parts(layer) if not _is_built_in(part)}

    @property
    def config(self) -> dict[str, Any]:
        """A copy of the serialized layer, since Keras removes keys from a configuration that it deserializes."""
        return copy.deepcopy(self._config)

    def copy(self) -> keras.Layer:
        """Return a new layer of the same structure."""
        with keras.saving.custom_object_scope(self._classes):
            return deserialize(self._config)

    def build(self, input_shape: Shape, scope: str) -> Shape:
        """Build the copy, and store the initializer of each variable.

        Args:
            input_shape: Shape of the layer's inputs.
            scope: The owner's path, a prefix of the variables' paths.

        Returns:
            The shape of the layer's outputs.
        """
        # Only in a stateless scope do variables keep their initializers, because it defers initialization.
        with keras.StatelessScope():
            self.layer = self.copy()
            output_shape = build_by_call(self.layer, input_shape)
            self.variables = _by_name(self.layer, scope)
            self._initializers = {name: v._initializer for name, v in self.variables.items()}
        self._takes_training = bool(_training(self.layer, True))  # cached: the lookup takes as long as a small layer
        self._chain = _plain_chain(self.layer)
        weights = {id(v) for v in self.layer.weights}
        self.seeds = {name for name, v in self.variables.items() if id(v) not in weights}
        with _thawed(self.layer):
            fixed = {id(v) for v in self.layer.non_trainable_variables}
            states = fixed | _traced(self.layer, input_shape, True).state_mapping.keys()
        self.fixed, self.states = ({n for n, v in self.variables.items() if id(v) in ids} for ids in (fixed, states))
        return output_shape

    def set_normalization_trainable(self, value: bool) -> None:
        """Freeze or unfreeze the batch normalizations, in the layer and in the saved configuration."""
        norms = normalizations(self.layer or self.copy())
        for norm in norms:
            norm.trainable = value
        self._config = _with_trainable(self._config, {norm.name for norm in norms}, value)

    def __call__(self, values, inputs, training):
        """Return the layer's output for weights given by name, and the values of all variables after the call."""
        with keras.StatelessScope([(v, values[name]) for name, v in self.variables.items()]) as scope:
            outputs = self._called(inputs, training)
        return outputs, {name: scope.get_current_value(v) for name, v in self.variables.items()}

    def _called(self, inputs, training):
        if not self._chain:
            return self.layer(inputs, **({"training": training} if self._takes_training else {}))
        dtype = self.layer.compute_dtype
        x = keras.ops.cast(inputs, dtype)
        with AutocastScope(dtype):
            for part, takes_training in self._chain:
                x = part.call(x, training=training) if takes_training else part.call(x)
        return x

    def stacked_initializer(self, name: str, depth: int) -> Callable:
        """Return an initializer for `depth` copies of a variable on a leading axis, each drawn separately.

        A Keras initializer returns the same numbers in every call, and computes fans from the shape it is given.
        Each copy therefore has its own initializer, which is called with the shape of a single copy.
        """
        initializer, is_seed = self._initializers[name], name in self.seeds

        def stacked(shape, dtype=None):
            if is_seed:
                seed, count = np.array(initializer(shape[1:], dtype=dtype))
                return np.array([(_mixed(seed, i), count) for i in range(depth)], dtype)
            if isinstance(initializer, keras.initializers.Zeros | keras.initializers.Ones):
                return initializer(shape, dtype=dtype)
            draws = [_reseeded(initializer, i)(shape[1:], dtype=dtype) for i in range(depth)]
            return keras.ops.stack(draws)

        return stacked


def build_by_call(layer: keras.Layer, input_shape: Shape) -> Shape:
    """Build a layer by calling it symbolically (some do not define `build`); return its output shape."""
    return tuple(layer(keras.KerasTensor(input_shape)).shape)


def deserialize(config: dict[str, Any]) -> keras.Layer:
    """Return the layer of a configuration; deserialize a copy, since Keras removes keys from it."""
    # When a file is loaded, the safe mode requested there applies. Otherwise the configuration is that of an existing
    # layer (`clone_model`), and Python code in it is the caller's own, as for `keras.layers.Lambda`.
    return keras.saving.deserialize_keras_object(copy.deepcopy(config), safe_mode=False)


def check_layer(argument: str, layer: Any) -> keras.Layer:
    """Return the value if it is a layer, or raise a `ValueError`."""
    if not isinstance(layer, keras.layers.Layer):
        raise refusal(argument, "a Keras layer or model", layer)
    return layer


def check_adds_no_losses(owner: str, branch: keras.Layer, input_shape: Shape) -> None:
    """Raise a `ValueError` if a built branch adds losses, which would have to depend on whether it survives."""
    custom = [part for part in parts(branch) if not _is_built_in(part)]
    regularized = any(part.activity_regularizer is not None for part in parts(branch))
    if regularized or (custom and any(_traced(branch, input_shape, t).losses for t in (True, False))):
        allowed = (
            f"a layer without losses (`activity_regularizer`, `add_loss`) in {owner!r}: they would be added even when "
            "it is dropped; add them outside of it, or use regularizers of its weights"
        )
        raise refusal("branch", allowed, branch)


def positional(names: Iterable[str], stems: set[str]) -> list[str]:
    """Return names of weights with automatic layer names renumbered by position.

    Args:
        names: Names such as `"conv2d_7/kernel"`, in order.
        stems: Automatic names without their counters: `{"conv2d"}`. The first of these in each layer becomes
            `"conv2d"`, the second `"conv2d_1"`, as if it were the first layer that Keras counts.
    """
    seen: dict[tuple, list[str]] = {}
    results = []
    for name in names:
        path = name.split("/")
        for i, part in enumerate(path[:-1]):
            stem = _stem(part)
            if stem in stems:
                order = seen.setdefault((*name.split("/")[:i], stem), [])
                order += [part] * (part not in order)
                path[i] = f"{stem}_{order.index(part)}" if order.index(part) else stem
        results.append("/".join(path))
    return results


def automatic_stems(layer: keras.Layer) -> set[str]:
    """Return the names, without counters, of all parts of a layer that Keras named after their classes."""
    named = ((_stem(part.name), type(part).__name__) for part in parts(layer))
    return {stem for stem, kind in named if stem.replace("_", "") == kind.lower().replace("_", "")}


def _stem(name):
    return re.sub(r"_\d+$", "", name)


def _training(layer, training):
    """Return the keyword argument `training` for layers that accept it, otherwise nothing."""
    return {"training": training} if "training" in inspect.signature(layer.call).parameters else {}


def _plain_chain(layer):
    """Return the parts of a chain of built-in layers as (part, whether it accepts `training`); empty for other layers.

    They are called without Keras's work around each call (checks, masks, name scopes), which takes as long as the
    blocks of a small network when no graph is compiled.
    """
    if type(layer) is not keras.Sequential:
        return []
    if any(type(part) not in _PLAIN or part.dtype_policy != layer.dtype_policy for part in layer.layers):
        return []
    return [(part, bool(_training(part, True))) for part in layer.layers]


def _traced(layer, input_shape, training):
    """Return the scope of a symbolic call of a built layer: the losses it adds, the variables it assigns."""
    scope = keras.StatelessScope(collect_losses=True)

    def call(x):
        with scope:
            return layer(x, **_training(layer, training))

    with keras.StatelessScope():  # variables of a template have no values
        keras.layers.Lambda(call, dtype=layer.dtype_policy).compute_output_shape(tuple(input_shape))
    return scope


def parts(layer: keras.Layer) -> list[keras.Layer]:
    """Return a layer and all layers inside it."""
    return list(layer._flatten_layers())


def normalizations(layer: keras.Layer) -> list[keras.Layer]:
    """Return the batch normalization layers inside a layer."""
    return [part for part in parts(layer) if isinstance(part, keras.layers.BatchNormalization)]


def _with_trainable(config, names, value):
    """Return a serialized layer in which `trainable` of the parts with these names is `value`."""
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
    """Make all parts of a layer trainable within a `with` block."""
    flags = [(part, part.trainable) for part in parts(layer)]
    layer.trainable = False  # assigning an unchanged value would reach no part
    layer.trainable = True
    yield
    for part, flag in flags:  # outer parts first: they also set the parts inside them
        part.trainable = flag


def _by_name(layer, scope):
    """Return weights by their paths below the layer, and seed generator states (whose paths are counters) by order."""
    named = {v.path.removeprefix(f"{scope}/"): v for v in layer.weights}
    if all(name.startswith(f"{layer.name}/") for name in named):
        named = {name.removeprefix(f"{layer.name}/"): v for name, v in named.items()}
    if len(named) < len(layer.weights):
        raise ValueError(
            f"Weights of {layer.name!r} must have distinct paths. Received: {[w.path for w in layer.weights]}"
        )
    weights = {id(v) for v in layer.weights}
    seeds = [v for v in layer.variables if id(v) not in weights]
    return {**named, **{f"seed_generator_{i}/state": v for i, v in enumerate(seeds)}}


def _reseeded(initializer, index):
    """Return the initializer of copy `index`: the given one with a different seed."""
    config = initializer.get_config() if isinstance(initializer, keras.initializers.Initializer) else {}
    if "seed" not in config or isinstance(config["seed"], dict):  # not random, or a stateful seed generator
        return initializer
    seed = config["seed"]
    return type(initializer).from_config(config if seed is None else {**config, "seed": _mixed(seed, index)})


def _mixed(seed, index):
    return zlib.crc32(f"{seed}/{index}".encode()) & 0x7FFFFFFF
