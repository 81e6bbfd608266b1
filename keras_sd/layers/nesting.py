"""Traversal of models: layers in order, calls of a graph, and replacement of calls while a model runs."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras

from keras_sd.layers.blocks import GatedBlocks
from keras_sd.layers.stack import StochasticDepthStack
from keras_sd.utils.aliases import Tensor
from keras_sd.utils.checks import refusal


def walk(layer: keras.Layer, into_blocks: bool = False) -> Iterator[keras.Layer]:
    """Yield the layers inside a layer or model in order, each once.

    Layers of nested models and wrappers follow the layer that contains them.

    Args:
        layer: Keras layer or model.
        into_blocks: Whether to also yield the layers inside blocks, and those of a stack's template.
    """
    seen = {id(layer)}

    def inside(layer):
        parts = layer._flatten_layers(include_self=False, recursive=False)
        if isinstance(layer, StochasticDepthStack) and layer.built:
            parts = [layer._template.layer]  # which Keras does not see
        for part in parts:
            if id(part) not in seen:
                seen.add(id(part))
                yield part
                if into_blocks or not isinstance(part, GatedBlocks):
                    yield from inside(part)

    return inside(layer)


def count_parameters(model: keras.Model) -> int:
    """Return the number of parameters as papers count them: with frozen weights, without moving statistics."""
    return sum(math.prod(weight.shape) for weight in model.weights if "moving_" not in weight.path)


def is_graph(layer: keras.Layer) -> bool:
    """Return whether a layer is a functional or sequential model that knows its inputs and outputs."""
    if isinstance(layer, keras.Sequential) and not layer.built and layer.layers and is_graph(layer.layers[0]):
        layer.build(layer.layers[0].input_shape)  # Keras would build it in the first call, from the same shape
    return isinstance(layer, keras.Function) or (isinstance(layer, keras.Sequential) and layer.built)


def check_graph(argument: str, model: Any) -> keras.Model:
    """Return a model as a functional model, or raise an error if it cannot be one."""
    if not isinstance(model, keras.Model):
        raise refusal(argument, "a functional Keras model", model, TypeError)
    if not is_graph(model):
        raise refusal(argument, "a functional Keras model, or a sequential one that is built", model)
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return model


def calls(model: keras.Model) -> Iterator[tuple]:
    """Yield each call in the graph of a functional model, from the input on, as `(operation, arguments, outputs)`.

    Arguments have `args`, `kwargs`, and a list `keras_tensors` of the tensors among them. Use these instead of a
    layer's `input`, which is that of its first call, possibly in the graph of another model.
    """
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if not node.is_input:
                yield node.operation, node.arguments, list(node.outputs)


def without_none(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of a call without those that are `None`, which the call did not pass."""
    return {name: value for name, value in arguments.items() if value is not None}


def connected(model: keras.Model, call: Callable) -> keras.Model:
    """Return a functional model with the same layers, connected by `call(layer, *args, **kwargs)`.

    Arguments that the model's calls do not pass are not passed here either.
    """

    def given(layer, *args, **kwargs):
        return call(layer, *args, **without_none(kwargs))

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=given)


@contextlib.contextmanager
def replaced_calls(replacements: Iterable[tuple[keras.Layer, Callable]]) -> Iterator[None]:
    """Replace the `call` of layers by functions within a `with` block, wherever in a model the layers are.

    Args:
        replacements: Pairs of a layer and a function that maps the layer's `call` to its replacement.
    """
    before = [(layer, vars(layer).get("call")) for layer, _ in replacements]
    try:
        for layer, replace in replacements:
            vars(layer)["call"] = replace(layer.call)  # on this object only, and not tracked by Keras
        yield
    finally:
        for layer, call in before:
            vars(layer).pop("call", None)
            if call is not None:
                vars(layer)["call"] = call


class Rewired(keras.Model):
    """A model in which the calls of some layers are replaced; it shares the weights of the original.

    Args:
        inner: Keras model of any kind.
        replacements: As in `replaced_calls`.
        training: Whether it always runs in training mode, even in prediction.
    """

    def __init__(
        self, inner: keras.Model, replacements: Iterable[tuple[keras.Layer, Callable]], training: bool = False
    ):
        super().__init__(name=f"{inner.name}_rewired")
        self.inner = inner
        self._replacements, self._training = tuple(replacements), training

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        with replaced_calls(self._replacements):
            return self.inner(inputs, training=training or self._training)
