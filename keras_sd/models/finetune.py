"""What fine-tuning and dense prediction need of a model: its maps by scale, frozen parts, another classifier."""

import math

import keras
from keras import layers

from keras_sd.layers import DenseBlock, StochasticDepthResidual, StochasticDepthStack, TransitionLayer
from keras_sd.layers.template import parts

_BLOCKS = (StochasticDepthResidual, StochasticDepthStack, DenseBlock)
_UNKNOWN = 256  # pixels, in place of a size that is not fixed: all strides divide it


def feature_pyramid(model):
    """The last feature map of each scale, as a model with a dictionary of outputs.

    The output `"P3"` has the stride 2^3 = 8: it is the output of the last block before the maps shrink further. The
    coarsest one is the network's last map, behind its last normalization if it ends with one. CIFAR networks give
    P0, P1, P2, those for ImageNet P2, P3, P4, P5; with `output_stride` the coarser ones are missing, and the coarsest
    that is left is the dilated network's last.

    Args:
        model: A convolutional model of `keras_sd.applications`, or one with its blocks, with or without its top.

    Returns:
        A `keras.Model` with the input and the weights of the model (shared, not copied).

    Raises:
        ValueError: The model has no such blocks.
    """
    maps = [layer.output for layer in _layers_of(model) if _is_block(layer)]
    if not maps:
        raise ValueError(f"`model` must have residual or dense blocks among its layers. Received: {model.name!r}")
    maps.append([layer.output for layer in model.layers if _is_map(layer)][-1])
    size, *sizes = _sizes(model, maps)
    level, pyramid = round(math.log2(size / sizes[0])), {}
    for before, after, output in zip([sizes[0], *sizes], sizes, maps):
        level += after < before  # blocks shrink their input by two at most
        pyramid[f"P{level}"] = output
    return keras.Model(_input_of(model), pyramid, name=f"{model.name}_pyramid")


def _input_of(model):
    """Of a model with one input that tensor, as it is called with it: a list of one would have Keras warn."""
    return model.inputs[0] if len(model.inputs) == 1 else model.inputs


def _layers_of(model):
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(f"`model` must be a functional Keras model. Received: {model!r}")
    return model.layers


def _is_block(layer):
    # A block of a plain network is a `Sequential`; so is the shared pre-activation of a block, which is no block.
    is_plain = isinstance(layer, keras.Sequential) and not layer.name.endswith("_preact")
    return isinstance(layer, _BLOCKS) or is_plain


def _is_map(layer):
    output = getattr(layer, "output", None)
    return keras.utils.is_keras_tensor(output) and len(output.shape) == 4


def _sizes(model, maps):
    """The longer side, in pixels, of the model's input and of feature maps."""
    shape = [_UNKNOWN if size is None else size for size in model.inputs[0].shape]
    outputs = keras.Model(model.inputs, maps).compute_output_spec(keras.KerasTensor(shape))
    axes = slice(1, 3) if keras.config.image_data_format() == "channels_last" else slice(2, 4)
    return [max(shape[axes]), *(max(x.shape[axes]) for x in outputs)]


def freeze(model, upto=None, batch_norm=True):
    """Freezes layers from the input on, and batch normalization everywhere.

    A frozen layer's weights are not trained, and its batch normalizations use (and leave alone) their moving
    statistics. What was frozen before stays so; `unfreeze` thaws everything. As always in Keras, compile the model
    after this.

    Args:
        model: A model of `keras_sd.applications`, or any functional or sequential model.
        upto: Name of the last layer to freeze (`"conv4_block6_out"`, `"stage2_blocks"`; `"avg_pool"` freezes all but
            the classifier): it and all layers that it depends on. Blocks of one stack freeze together. `None`: none.
        batch_norm: Whether batch normalizations beyond `upto`, those inside of residual blocks, stacks and dense blocks
            included, use moving statistics in training too, with fixed scale and offset (as for small batches); the
            convolutions there are trained.

    Returns:
        The model.

    Raises:
        ValueError: No layer has this name. Nothing is frozen then.
    """
    if upto is not None:
        for layer in _ancestors(model, upto):
            layer.trainable = False
    if batch_norm:
        for layer in parts(model):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
            elif isinstance(layer, DenseBlock | TransitionLayer | StochasticDepthStack) and layer.trainable:
                layer.normalization_trainable = False
    return model


def unfreeze(model):
    """Makes every layer of a model trainable, also those inside of blocks; compile the model after this.

    `model.trainable = True` alone does nothing for a model that is trainable but has frozen layers: TensorFlow's
    tracking drops an assignment of the value that is there already.

    Args:
        model: A Keras model.

    Returns:
        The model.
    """
    model.trainable = False
    model.trainable = True
    return model


def _ancestors(model, upto):
    """The layer of this name and all that it depends on."""
    names = [layer.name for layer in model.layers]
    if upto not in names:
        raise ValueError(f"`upto` must be None or the name of a layer: one of {names}. Received: upto={upto!r}")
    if isinstance(model, keras.Sequential):
        return model.layers[: names.index(upto) + 1]
    return keras.Model(model.inputs, model.get_layer(upto).output).layers


def replace_head(model, classes, activation="softmax", dropout_rate=0.0):
    """The same network with a new classifier.

    Args:
        model: A functional model that ends with a dense layer (which is left out), with features (batch, channels), or
            with feature maps (which global average pooling follows then).
        classes: Number of classes.
        activation: Of the classifier; `None` for logits.
        dropout_rate: Of a dropout before it.

    Returns:
        A `keras.Model` that shares all other weights with the model; its classifier is called `"predictions"`.

    Raises:
        ValueError: An argument outside of what is allowed.
    """
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ValueError(f"`classes` must be a positive integer. Received: classes={classes!r}")
    last = _layers_of(model)[-1]
    x = last.input if isinstance(last, layers.Dense) else model.output
    if not keras.utils.is_keras_tensor(x) or len(x.shape) not in (2, 4):
        raise ValueError(f"`model` must have one output, features or feature maps. Received: {model.name!r}")
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    if dropout_rate:
        x = layers.Dropout(dropout_rate, name="head_dropout")(x)
    # At least float32, as in all models of the package: half precision is too coarse for a softmax.
    dtype = keras.backend.result_type(x.dtype, "float32")
    x = layers.Dense(classes, activation=activation, dtype=dtype, name="predictions")(x)
    return keras.Model(_input_of(model), x, name=model.name)
