"""A vision transformer with LayerDrop: its encoder is a `StochasticDepthStack`, and dropped layers save time.

    python docs/examples/layerdrop_vit.py

Each encoder layer, attention and MLP together, is one block. The script checks that the model trains, and compares the
time of a training step with that of the same model at constant depth.
"""

import time

import keras
import numpy as np
from keras import layers

from keras_sd.layers import StochasticDepthStack


@keras.saving.register_keras_serializable(package="examples")
class PositionEmbedding(layers.Layer):
    """Add a learned vector to each token."""

    def build(self, input_shape):
        self.embedding = self.add_weight(shape=input_shape[1:], initializer="random_normal", name="embedding")

    def call(self, inputs):
        return inputs + self.embedding


def encoder_layer(tokens, width, heads):
    """Return what a pre-norm encoder layer adds to its input: the stack supplies the shortcut."""
    x = keras.Input((tokens, width))
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    attention = layers.MultiHeadAttention(heads, width // heads)(y, y)
    y = layers.LayerNormalization(epsilon=1e-6)(layers.add([x, attention]))
    y = layers.Dense(4 * width, activation="gelu")(y)
    mlp = layers.Dense(width)(y)
    return keras.Model(x, layers.add([attention, mlp]))


def vit(image_size, patch_size, depth, width, heads, classes, survival_probability):
    """Return a vision transformer for RGB images that drops encoder layers in training."""
    inputs = keras.Input((image_size, image_size, 3))
    x = layers.Conv2D(width, patch_size, strides=patch_size)(inputs)
    x = layers.Reshape((-1, width))(x)
    x = PositionEmbedding()(x)
    x = StochasticDepthStack(
        encoder_layer(x.shape[1], width, heads), depth, survival_probability, activation=None, gates="systematic"
    )(x)
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.GlobalAveragePooling1D()(x)
    outputs = layers.Dense(classes, activation="softmax")(x)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.AdamW(1e-3), "sparse_categorical_crossentropy")
    return model


def step_times(models, images, labels, steps):
    """Return the median time of a training step of each model; they take turns, so that they share disturbances."""
    times = [[] for _ in models]
    for step in range(steps + 1):
        for model, measured in zip(models, times):
            start = time.perf_counter()
            model.train_on_batch(images, labels)
            if step > 0:  # the first step compiles
                measured.append(time.perf_counter() - start)
    return [float(np.median(measured)) for measured in times]


def main(image_size=64, patch_size=8, depth=12, width=192, heads=3, batch_size=32, steps=12):
    """Compare the step time of LayerDrop with constant depth, print it, and return the fraction of time saved."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    images = random.normal(size=(batch_size, image_size, image_size, 3)).astype("float32")
    labels = random.integers(10, size=batch_size)
    models = [vit(image_size, patch_size, depth, width, heads, 10, p) for p in (1.0, 0.5)]
    constant, dropped = step_times(models, images, labels, steps)
    print(f"{depth} encoder layers, width {width}, {(image_size // patch_size) ** 2} tokens, batch {batch_size}")
    print(f"constant depth:   {1000 * constant:.0f} ms per training step")
    print(f"LayerDrop, p=0.5: {1000 * dropped:.0f} ms per training step, {1 - dropped / constant:.0%} less")
    return 1 - dropped / constant


if __name__ == "__main__":
    main()
