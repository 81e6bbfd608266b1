"""A small ConvNeXt: `StochasticDepthResidual` around branches with layer scale.

python docs/examples/convnext_blocks.py
"""

import keras
import numpy as np
from keras import layers

from keras_sd import data
from keras_sd.layers import StochasticDepthResidual
from keras_sd.schedules import linear


@keras.saving.register_keras_serializable(package="examples")
class LayerScale(layers.Layer):
    """Multiply each channel by a learned factor that starts near zero."""

    def __init__(self, initial_value=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.initial_value = initial_value

    def build(self, input_shape):
        initializer = keras.initializers.Constant(self.initial_value)
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer=initializer, name="gamma")

    def call(self, inputs):
        return inputs * self.gamma

    def get_config(self):
        return {**super().get_config(), "initial_value": self.initial_value}


def branch(filters, initial_scale):
    """Return the branch of a ConvNeXt block: everything but the shortcut."""
    return keras.Sequential(
        [
            layers.DepthwiseConv2D(7, padding="same"),
            layers.LayerNormalization(epsilon=1e-6),
            layers.Dense(4 * filters, activation="gelu"),
            layers.Dense(filters),
            LayerScale(initial_scale),
        ]
    )


def convnext(input_shape, classes, blocks=(2, 2), filters=(32, 64), survival_probability=0.8, initial_scale=1e-6):
    """Return a ConvNeXt whose blocks are dropped for the whole batch, and then not computed."""
    probabilities = iter(linear(sum(blocks), survival_probability))
    inputs = x = keras.Input(input_shape)
    for stage, (depth, width) in enumerate(zip(blocks, filters)):
        if stage > 0:
            x = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Conv2D(width, 3 if stage == 0 else 2, strides=1 if stage == 0 else 2, padding="same")(x)
        for _ in range(depth):
            x = StochasticDepthResidual(
                branch(width, initial_scale),
                survival_probability=next(probabilities),
                activation=None,  # a ConvNeXt block has no activation after the sum
                scaling="training",  # as in the published networks: inference adds the branch unscaled
            )(x)
    x = layers.LayerNormalization(epsilon=1e-6)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))


def main(epochs=8, images=None):
    """Train on scanned digits, print the test accuracy, and return it."""
    keras.utils.set_random_seed(0)
    digits = data.load("digits")
    x, y = np.asarray(digits.train.images)[:images] / 16, np.asarray(digits.train.labels)[:images]
    model = convnext(x.shape[1:], classes=10)
    model.compile(keras.optimizers.AdamW(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)
    test = np.asarray(digits.test.images) / 16, np.asarray(digits.test.labels)
    accuracy = model.evaluate(*test, verbose=0)[1]
    print(f"{model.count_params():,} parameters, test accuracy {accuracy:.3f} after {epochs} epochs")
    return accuracy


if __name__ == "__main__":
    main()
