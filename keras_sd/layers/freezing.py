"""Frozen parts of a model: layers from the input on, batch normalization, all but the classifier."""

import keras
from keras import layers

from keras_sd.layers.blocks import GatedBlocks
from keras_sd.layers.nesting import calls, check_graph, is_graph, walk
from keras_sd.layers.pre_activation import PreActivation
from keras_sd.utils.checks import check_flag, check_type, refusal


def freeze(model: keras.Model, upto: str | None = None, batch_norm: bool = True) -> keras.Model:
    """Freeze layers from the input on, and batch normalization everywhere.

    A frozen layer's weights are not trained, and its batch normalizations use (and leave alone) their moving
    statistics. What was frozen before stays so; `unfreeze` reverses both. As always in Keras, compile the model
    after this.

    Args:
        model: A model of `keras_sd.applications`, or any functional or sequential model; without `upto`, any model.
        upto: Name of the last layer to freeze (`"conv4_block6_out"`, `"stage2_blocks"`; `"avg_pool"` freezes all but
            the classifier): it and all layers that it depends on. It may be inside a nested model. Blocks of one stack
            freeze together. `None`: none.
        batch_norm: Whether batch normalizations beyond `upto`, those inside of residual blocks, stacks and dense blocks
            included, use moving statistics in training too, with fixed scale and offset (as for small batches); the
            convolutions there are trained.

    Returns:
        The model.

    Raises:
        TypeError: The model is not a Keras model.
        ValueError: No layer has this name, or several in different nested models have it. Nothing is frozen then.
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
    """Make every layer of a model trainable, also those inside blocks; compile the model after this.

    `model.trainable = True` alone does nothing for a model that is trainable but has frozen layers: TensorFlow's
    tracking drops an assignment of the value that is there already.

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
    """Return the layer of this name and all that it depends on, in a functional model and those nested in it."""
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
        raise refusal("upto", f"the name of one layer; {[layer.name for layer, _ in found]} all have one", upto)
    layer, tensors = found[0]
    before = keras.Model(model.inputs, tensors).layers
    return before if layer.name == upto else before + _ancestors(check_graph("model", layer), upto)
