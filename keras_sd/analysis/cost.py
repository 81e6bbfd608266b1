"""The cost of a network: multiply-adds counted from its graph."""

import math

import keras

from keras_sd.layers import TransitionLayer
from keras_sd.layers.blocks import GatedBlocks
from keras_sd.layers.nesting import calls, check_graph, is_graph
from keras_sd.utils.aliases import Shape
from keras_sd.utils.checks import check_flag, refusal


def flops(model: keras.Model, input_shape: Shape | None = None, expected: bool = False) -> float:
    """Count the floating-point operations of one forward pass of one example.

    Count the products of convolutions and dense layers, with a multiply-add as two operations (papers that count it as
    one state half of this). Normalization, activation, pooling and addition, a few percent, are not counted. Only
    shapes are used; nothing is computed.

    Args:
        model: A functional or sequential model of Keras layers, those of `keras_sd.layers`, and such models. A layer
            that is called several times counts each time.
        input_shape: Shape of an example, for models whose inputs have no fixed size; by default the model's.
        expected: Whether to count the expected cost of a training step's forward pass with stochastic depth: the branch
            of a block counts with its survival probability.

    Returns:
        Integer; with `expected`, float.

    Raises:
        TypeError: The model is not a Keras model.
        ValueError: A size is not known, or a layer cannot be counted.
    """
    model = check_graph("model", model)
    check_flag("expected", expected)
    if len(model.inputs) != 1:
        raise refusal("model", "a model with one input", model.name)
    shape = tuple(model.input_shape[1:] if input_shape is None else input_shape)
    if None in shape:
        raise refusal("input_shape", f"given without None for {model.name!r}", shape)
    products = _count(model, (1, *shape), expected)
    return 2 * products if expected else round(2 * products)


def _count(layer, shape, expected):
    """Return the multiply-adds of a layer for an input of this shape, or a list of shapes for several inputs."""
    for kind, count in _COUNTS.items():
        if isinstance(layer, kind):
            return count(layer, shape, expected)
    if type(layer).call is not keras.layers.Layer.call and any(len(w.shape) > 1 for w in layer.weights):
        raise ValueError(f"Multiply-adds of a {type(layer).__name__} are not known ({layer.name!r}).")
    return 0


def _model(model, shape, expected):
    if not is_graph(model):
        raise ValueError(f"Multiply-adds of a {type(model).__name__} are not known ({model.name!r}).")
    made = list(calls(check_graph("model", model)))
    tensors = [arguments.keras_tensors for _, arguments, _ in made]
    with keras.StatelessScope():  # a model built without values has none to track on PyTorch
        specs = keras.Model(model.inputs, tensors).compute_output_spec(_specs(shape))
    shapes = [[tuple(x.shape) for x in inputs] for inputs in specs]
    return sum(
        _count(layer, inputs[0] if len(inputs) == 1 else inputs, expected)
        for (layer, _, _), inputs in zip(made, shapes)
        if isinstance(layer, keras.layers.Layer)
    )


def _specs(shape):
    """Return a Keras tensor for a shape, or one for each shape in a list."""
    return [keras.KerasTensor(s) for s in shape] if isinstance(shape, list) else keras.KerasTensor(shape)


def _output_shape(layer, shape):
    return tuple(layer.compute_output_spec(_specs(shape)).shape)


def _image(layer, shape):
    """Return the number of positions in an image."""
    return math.prod(shape[1:3] if layer.data_format == "channels_last" else shape[2:4])


def _conv(layer, shape, expected):
    outputs = _output_shape(layer, shape)
    positions = math.prod(outputs[1:-1] if layer.data_format == "channels_last" else outputs[2:])
    return positions * math.prod(layer.kernel.shape)


def _dense(layer, shape, expected):
    return math.prod(shape[1:-1]) * math.prod(layer.kernel.shape)


def _blocks(layer, shape, expected):
    by_block, rest = layer.products(shape, lambda part, shape: _count(part, shape, expected))
    weights = layer.survival_probabilities if expected else (1,) * layer.num_blocks
    return sum(products * weight for products, weight in zip(by_block, weights)) + rest


def _transition(layer, shape, expected):
    # It pools before the convolution.
    return _image(layer, _output_shape(layer, shape)) * math.prod(layer.kernel.shape)


_COUNTS = {
    keras.Model: _model,
    keras.layers.Dense: _dense,
    keras.layers.Conv1D: _conv,
    keras.layers.Conv2D: _conv,
    keras.layers.Conv3D: _conv,
    GatedBlocks: _blocks,
    TransitionLayer: _transition,
}
