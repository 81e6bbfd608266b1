"""The perceptron and the multi-layer perceptron."""

from keras_sd.applications._registry import Model, register
from keras_sd.models.specs import MLPSpec

__all__ = ["MLP", "Perceptron"]

_ROSENBLATT = "[Rosenblatt, 1958](https://doi.org/10.1037/h0042519)"
_RUMELHART = "[Rumelhart et al., 1986](https://doi.org/10.1038/323533a0)"


def _row(name, widths, parameters, source, **arguments):
    return register(Model(name, "perceptron", MLPSpec(widths=widths), parameters, source, **arguments))


# Threshold units, trained by the perceptron rule (`keras_sd.layers.perceptron_loss`); with
# `classifier_activation="softmax"` it is differentiable and can be trained with cross-entropy.
Perceptron = _row("Perceptron", (), 30_730, _ROSENBLATT, classifier_activation="keras_sd>threshold")
MLP = _row("MLP", (512, 512), 1_841_162, _RUMELHART)
