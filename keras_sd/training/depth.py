"""Survival probabilities of the blocks of a model, read and set."""

from keras_sd.layers.blocks import GatedBlocks
from keras_sd.layers.nesting import walk


def survival_probabilities(model):
    """The survival probabilities of a model's blocks, by the layer that holds them.

    Returns:
        A dictionary from layers to tuples of floats; layers of which nothing can be dropped are left out.
    """
    found = {}
    for layer in walk(model, into_blocks=True):
        if isinstance(layer, GatedBlocks) and layer.kind != "plain":
            found[layer] = layer.survival_probabilities
    return found


def set_survival(layer, probabilities):
    """Sets the survival probabilities of a layer's blocks, as `survival_probabilities` returns them."""
    layer.survival_probabilities = probabilities


def expected_depth(model):
    """How many blocks survive a training step on average, and how many there are."""
    probabilities = [p for blocks in survival_probabilities(model).values() for p in blocks]
    return sum(probabilities), len(probabilities)
