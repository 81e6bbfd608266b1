"""Feature maps of a model by scale, for dense prediction, and new classifiers, for fine-tuning."""

import math
from typing import Any

import keras
from keras import layers

from keras_sd.layers.blocks import GatedBlocks
from keras_sd.layers.nesting import calls, check_graph, connected, is_graph, without_none
from keras_sd.utils.checks import check_integer, check_number, refusal

_UNKNOWN = 256  # pixels, used if a size is not fixed; all strides divide it
_FINAL = ("softmax", "log_softmax", "sigmoid", "linear")  # activations of classifiers


def feature_pyramid(model: keras.Model) -> keras.Model:
    """Return a model that outputs a dictionary with the last feature map of each scale.

    The output `"P3"` has stride 2^3 = 8: it is the output of the last block before the maps shrink further. The
    coarsest output is the network's last map, after the final normalization if there is one. CIFAR networks have the
    outputs P0, P1, P2, those for ImageNet P2, P3, P4, P5. With `output_stride` the coarser ones are missing, and the
    coarsest of the remaining ones is the last map of the dilated network.

    Args:
        model: A convolutional model of `keras_sd.applications`, or one with its blocks, with or without its top. The
            blocks may be inside nested models, as in `Sequential([backbone, ...])`.

    Returns:
        A `keras.Model` with the input and the weights of the model (the same variables, not copies).

    Raises:
        TypeError: The model is not a functional or sequential Keras model.
        ValueError: The model has no such blocks.
    """
    model, blocks, maps = _with_maps(check_graph("model", model))
    if not blocks:
        raise refusal("model", "a model with residual or dense blocks among its layers", model.name)
    maps = [*blocks, maps[-1]]
    size, *sizes = _sizes(model, maps)
    level, pyramid = round(math.log2(size / sizes[0])), {}
    for before, after, output in zip([sizes[0], *sizes], sizes, maps):
        level += after < before  # blocks shrink their input by two at most
        pyramid[f"P{level}"] = output
    return keras.Model(_input_of(model), pyramid, name=f"{model.name}_pyramid")


def _with_maps(model):
    """Return a model with the same layers, the outputs of its blocks, and all its feature maps.

    Maps inside nested models become additional outputs of those models.
    """
    blocks, maps = [], []

    def call(layer, *args, **kwargs):
        inner = _with_maps(check_graph("model", layer)) if is_graph(layer) else (None, [], [])
        tensors = [*inner[1], *inner[2]]
        if not tensors:
            output = layer(*args, **kwargs)
        else:
            nested = keras.Model(_input_of(inner[0]), [inner[0].output, tensors], name=layer.name)
            output, tensors = nested(*args, **kwargs)
        count = len(inner[1])
        blocks.extend(tensors[:count] + [output] * isinstance(layer, GatedBlocks))
        maps.extend(tensors[count:] + [x for x in keras.tree.flatten(output) if len(x.shape) == 4])
        return output

    return connected(model, call), blocks, maps


def _one_or_list(tensors):
    """Return a single tensor without its list, since Keras warns about lists of one."""
    return tensors[0] if len(tensors) == 1 else tensors


def _input_of(model):
    return _one_or_list(model.inputs)


def _sizes(model, maps):
    """Return the longer side, in pixels, of the model's input and of feature maps."""
    shape = [_UNKNOWN if size is None else size for size in model.inputs[0].shape]
    outputs = keras.Model(model.inputs, maps).compute_output_spec(keras.KerasTensor(shape))
    axes = slice(1, 3) if keras.config.image_data_format() == "channels_last" else slice(2, 4)
    return [max(shape[axes]), *(max(x.shape[axes]) for x in outputs)]


def replace_head(
    model: keras.Model, classes: int, activation: Any = "softmax", dropout_rate: float = 0.0
) -> keras.Model:
    """Return the same network with a new classifier.

    Args:
        model: A functional or sequential model. A dense layer at its end is the old classifier and is removed, together
            with a softmax, sigmoid or cast to another dtype that follows it as a separate layer; also if these are the
            end of a nested model. The model may also end with features (batch, channels), or with feature maps, which
            are then averaged over height and width.
        classes: Number of classes.
        activation: Activation of the classifier; `None` for logits.
        dropout_rate: Rate of a dropout before the classifier, in [0, 1).

    Returns:
        A `keras.Model` with all other layers of the model; its classifier is named `"predictions"`.

    Raises:
        TypeError: The model is not a Keras model.
        ValueError: An argument is invalid.
    """
    model = check_graph("model", model)
    check_integer("classes", classes)
    check_number("dropout_rate", dropout_rate, "a number in [0, 1)", lambda rate: 0 <= rate < 1)
    x = _features(model)
    if not keras.utils.is_keras_tensor(x) or len(x.shape) not in (2, 4):
        raise refusal("model", "a model with one output, features or feature maps", model.name)
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    if dropout_rate:
        x = layers.Dropout(dropout_rate, name="head_dropout")(x)
    # At least float32, as in all models of the package: half precision is too coarse for a softmax.
    dtype = keras.backend.result_type(x.dtype, "float32")
    x = layers.Dense(classes, activation=activation, dtype=dtype, name="predictions")(x)
    return keras.Model(_input_of(model), x, name=model.name)


def _features(model):
    """Return the input of the classifier of a functional model; if it has no classifier, its output."""
    makers = {id(x): (layer, arguments) for layer, arguments, outputs in calls(model) for x in outputs}
    x = model.output
    layer, arguments = makers.get(id(x), (None, None))
    while _is_final(layer):
        (x,) = arguments.keras_tensors
        layer, arguments = makers.get(id(x), (None, None))
    if isinstance(layer, layers.Dense):
        return arguments.keras_tensors[0]
    if is_graph(layer):
        inner = check_graph("model", layer)
        features = _features(inner)
        if features is not inner.output:
            headless = keras.Model(_input_of(inner), features, name=layer.name)
            return headless(*arguments.args, **without_none(arguments.kwargs))
    return model.output


def _is_final(layer):
    """Return whether an operation only turns logits into probabilities, or changes their dtype."""
    if isinstance(layer, layers.Activation):
        return layer.activation.__name__ in _FINAL
    return type(layer).__name__ in ("Softmax", "LogSoftmax", "Sigmoid", "Identity", "Cast")  # layers, and `keras.ops`
