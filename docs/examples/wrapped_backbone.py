"""Stochastic depth for a network of keras.applications: the residual blocks of a MobileNetV2, wrapped.

    python docs/examples/wrapped_backbone.py

The network is cut at its residual blocks, and joined again with `StochasticDepthResidual` in place of each sum. The
layers, and so the weights, are those of the original.
"""

import keras
import numpy as np

from keras_sd.layers import StochasticDepthResidual
from keras_sd.schedules import linear


def residual_sums(model):
    """Return the layers that add a branch to its own input, in order, with the tensors of both."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.Add):
            start, branch = layer.input
            found.append((layer, start, branch))
    return found


def with_stochastic_depth(model, survival_probability):
    """Return a MobileNetV2 with stochastic depth that shares all weights with `model`.

    Args:
        model: `keras.applications.MobileNetV2`, whose residual blocks have identity shortcuts and no activation.
        survival_probability: That of the last block; the others follow the linear schedule.
    """
    sums = residual_sums(model)
    outputs, position = model.input, model.input  # in the new network, and in the original
    for (add, start, branch), p in zip(sums, linear(len(sums), survival_probability)):
        if start is not position:  # layers between two residual blocks
            outputs = keras.Model(position, start)(outputs)
        outputs = StochasticDepthResidual(
            keras.Model(start, branch),
            survival_probability=p,
            activation=None,
            scaling="training",  # inference stays that of the original weights
            name=f"{add.name}_stochastic",
        )(outputs)
        position = add.output
    return keras.Model(model.input, keras.Model(position, model.output)(outputs))


def main(image_size=96):
    """Wrap a MobileNetV2, compare its outputs with the original's, train a step, and return the largest difference."""
    keras.utils.set_random_seed(0)
    shape = (image_size, image_size, 3)
    # weights="imagenet" works the same; None needs no download.
    original = keras.applications.MobileNetV2(input_shape=shape, weights=None, classes=10)
    model = with_stochastic_depth(original, survival_probability=0.8)
    images = np.random.default_rng(0).normal(size=(8, *shape)).astype("float32")
    difference = float(np.abs(model.predict(images, verbose=0) - original.predict(images, verbose=0)).max())
    print(f"{len(residual_sums(original))} blocks wrapped, largest difference of the outputs: {difference:.1e}")
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    print(f"loss of a training step: {float(model.train_on_batch(images, np.arange(8))):.3f}")
    return difference


if __name__ == "__main__":
    main()
