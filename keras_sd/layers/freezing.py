"""Freeze parts of a model: the first layers, batch normalization, everything except the classifier."""

import keras
from keras import layers

from keras_sd.layers.blocks import GatedBlocks
from keras_sd.layers.nesting import calls, check_graph, is_graph, walk
from keras_sd.layers.pre_activation import PreActivation
from keras_sd.utils.checks import check_flag, check_type, refusal


def freeze(model: keras.Model, upto: str | None = None, batch_norm: bool = True) -> keras.Model:
    """Freeze layers from the input on, and batch normalization everywhere.

    The weights of a frozen layer are not trained, and its batch normalizations use their moving statistics without
    updating them. Layers that were frozen before stay frozen; `unfreeze` reverses both. Compile the model afterwards,
    as always in Keras.

    Args:
        model: A model of `keras_sd.applications`, or any functional or sequential model; without `upto`, any model.
        upto: Name of the last layer to freeze, together with all layers it depends on: `"conv4_block6_out"`,
            `"stage2_blocks"`; `"avg_pool"` freezes everything except the classifier. It may be inside a nested model.
            Blocks of one stack freeze together. `None`: freeze no layers.
        batch_norm: Whether batch normalizations after `upto` (also those in residual blocks, stacks and dense blocks)
            use moving statistics, and fixed scale and offset, in training too, as is usual for small batches. The
            convolutions there are trained.

    Returns:
        The model.

    Raises:
        TypeError: The model is not a Keras model.
        ValueError: No layer has this name, or layers of several nested models have it. Nothing is frozen then.
    """
    check_type("model", model, keras.Model, "a Keras model")
    check_flag("batch_norm", batch_norm)
    if upto is not None:
        for layer in _ancestors(check_graph("model", model), upto):
            layer.trainable = False
    if batch_norm:
        for layer in walk(model, into_blocks=True):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
            elif isinstance(layer, GatedBlocks | PreActivation) and layer.trainable:
                layer.normalization_trainable = False
    return model


def unfreeze(model: keras.Model) -> keras.Model:
    """Make every layer of a model trainable, including those inside blocks; compile the model afterwards.

    `model.trainable = True` alone does nothing if the model is already trainable but has frozen layers: TensorFlow's
    tracking ignores an assignment that does not change the value.

    Args:
        model: A Keras model.

    Returns:
        The model.

    Raises:
        TypeError: The model is not a Keras model.
    """
    check_type("model", model, keras.Model, "a Keras model")
    model.trainable = False
    model.trainable = True
    return model


def _ancestors(model, upto):
    """Return the layer of this name and all layers it depends on, in a functional model and its nested models."""
    names = {layer.name for layer in walk(model) if not isinstance(layer, layers.InputLayer)}
    found = [(layer, outputs) for layer, _, outputs in calls(model) if layer.name == upto]
    if not found:
        found = [
            (layer, arguments.keras_tensors)
            for layer, arguments, _ in calls(model)
            if is_graph(layer) and any(part.name == upto for part in walk(layer))
        ]
    if not found:
        raise refusal("upto", f"None or the name of a layer: one of {sorted(names)}", upto)
    if len({id(layer) for layer, _ in found}) > 1:
        raise refusal("upto", f"the name of one layer; {[layer.name for layer, _ in found]} all contain one", upto)
    layer, tensors = found[0]
    before = keras.Model(model.inputs, tensors).layers
    return before if layer.name == upto else before + _ancestors(check_graph("model", layer), upto)
