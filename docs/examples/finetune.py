"""Fine-tuning compared with training from scratch: published CIFAR-10 weights of ResNet-20, on scanned digits.

    python docs/examples/finetune.py resnet20-12fca82f.th docs/figures/finetune.png

The file is that of `keras-sd weights fetch ResNet20.cifar10`. Its stem takes color images; for digits with one
channel the kernels of the three are summed. Its classifier is replaced.
"""

import sys

import keras
import numpy as np

import keras_sd
from keras_sd import data
from keras_sd.applications import ResNet20
from keras_sd.utils.plotting import panels, save_figure, set_log_scale


def digits():
    """Training and test images of 32x32 pixels, of mean 0 and standard deviation 1, with their labels."""
    sets = data.load("digits")
    for part in (sets.train, sets.test):
        images = (np.asarray(part.images, "float32") - sets.mean) / sets.std
        yield keras.ops.convert_to_numpy(keras.ops.image.resize(images, (32, 32))), np.asarray(part.labels)


def accuracy_by_epoch(weights, epochs, seed=0):
    """Return the test accuracy after each epoch, from a file of weights or from scratch (`None`)."""
    keras.utils.set_random_seed(seed)
    train, test = digits()
    network = ResNet20(input_shape=(32, 32, 1), weights=weights)
    if weights is not None:
        network = keras_sd.replace_head(network, classes=10)
    inputs = keras.Input((32, 32, 1))
    shifted = keras.layers.RandomTranslation(0.12, 0.12, fill_mode="nearest", seed=seed)(inputs)
    model = keras.Model(inputs, network(shifted))
    steps = epochs * -(-len(train[0]) // 64)
    optimizer = keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.05, steps), 0.9, nesterov=True)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(*train, batch_size=64, epochs=epochs, validation_data=test, verbose=2)
    return history.history["val_accuracy"]


def draw(curves, path):
    """Draw the test error by epoch."""
    figure, (axes,) = panels(1, 1, "ResNet-20 on digits", (6, 4))
    for name, accuracy in curves.items():
        axes.plot(range(1, len(accuracy) + 1), 100 * (1 - np.array(accuracy)), marker=".", label=name)
    axes.set(xlabel="epoch", ylabel="test error (%)")
    set_log_scale(axes, "y")
    axes.legend()
    save_figure(figure, path)


def main(weights, figure, epochs=6):
    """Train twice, draw both curves, and return them."""
    curves = {
        "from CIFAR-10 weights": accuracy_by_epoch(weights, epochs),
        "from scratch": accuracy_by_epoch(None, epochs),
    }
    draw(curves, figure)
    for name, accuracy in curves.items():
        print(name, " ".join(f"{value:.4f}" for value in accuracy))
    return curves


if __name__ == "__main__":
    main(*sys.argv[1:3])
