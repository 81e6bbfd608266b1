"""Where the story begins: the perceptron, and perceptrons in layers."""

from keras_sd.applications._registry import Model, register
from keras_sd.layers import threshold
from keras_sd.models.specs import MLPSpec

_ROSENBLATT = "[Rosenblatt, 1958](https://doi.org/10.1037/h0042519)"
_RUMELHART = "[Rumelhart et al., 1986](https://doi.org/10.1038/323533a0)"

# Threshold units, trained by the perceptron rule (`keras_sd.layers.perceptron_loss`); with
# `classifier_activation="softmax"` they are differentiable, and train with cross-entropy.
Perceptron, MLP = register(
    Model("Perceptron", "perceptron", MLPSpec(widths=()), 30_730, _ROSENBLATT, classifier_activation=threshold),
    Model("MLP", "perceptron", MLPSpec(widths=(512, 512)), 1_841_162, _RUMELHART),
)
