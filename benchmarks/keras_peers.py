"""The CIFAR networks as graphs of `keras.layers`, as a user would write them from the papers."""

import sys

import keras
from keras import layers


def build(network, image_size=None):
    """Return a Keras model of a `CifarNetwork` at constant depth."""
    size = image_size or 32
    inputs = keras.Input((size, size, 3))
    features = {"resnet": _resnet, "densenet": _densenet}[network.family](inputs, network)
    x = layers.GlobalAveragePooling2D()(features)
    outputs = layers.Dense(network.classes, activation="softmax", dtype="float32")(x)
    # Keras traverses the graph recursively, with one or two calls per layer: thousands for ResNet-1202.
    sys.setrecursionlimit(max(20_000, sys.getrecursionlimit()))
    return keras.Model(inputs, outputs)


def _conv(x, filters, size, strides=1):
    return layers.Conv2D(filters, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)


def _norm_relu(x):
    return layers.ReLU()(layers.BatchNormalization()(x))


def _resnet(x, network):
    """He et al. 2016, section 4.2: three stages of two-convolution blocks, option A shortcuts."""
    x = _norm_relu(_conv(x, 16, 3))
    for filters in (16, 32, 64):
        for block in range(network.blocks):
            strides = 2 if filters > 16 and block == 0 else 1
            branch = _norm_relu(_conv(x, filters, 3, strides))
            branch = layers.BatchNormalization()(_conv(branch, filters, 3))
            x = layers.ReLU()(layers.Add()([_shortcut(x, filters, strides), branch]))
    return x


def _shortcut(x, filters, strides):
    """Option A: every other pixel, and zeros in the new channels."""
    if strides > 1:
        x = layers.AveragePooling2D(pool_size=1, strides=strides)(x)
    if missing := filters - x.shape[-1]:
        x = keras.ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, missing]])
    return x


def _densenet(x, network):
    """Huang et al. 2017, section 3: three dense blocks, two transitions between them."""
    growth_rate = network.growth_rate
    x = _conv(x, 2 * growth_rate if network.bottleneck else 16, 3)
    for stage in range(3):
        if stage:
            x = _conv(_norm_relu(x), int(x.shape[-1] * network.compression), 1)
            x = layers.AveragePooling2D(2)(x)
        for _ in range(network.blocks):
            y = _norm_relu(x)
            if network.bottleneck:
                y = _norm_relu(_conv(y, 4 * growth_rate, 1))
            x = layers.Concatenate()([x, _conv(y, growth_rate, 3)])
    return _norm_relu(x)
