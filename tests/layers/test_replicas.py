"""Replicas of one host draw the same gates, so that a block that is dropped is dropped everywhere."""

import os
import subprocess
import sys

import pytest
from engines import only_tensorflow

# Logical devices must be made before TensorFlow starts: a process of its own.
SCRIPT = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras import layers
from keras_sd.layers import StochasticDepthResidual, StochasticDepthStack

DEPTH, STEPS = 6, 12
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

def unit(value):  # adds a constant: the sum over a network is its gates as a binary number
    return layers.Dense(1, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(value))

with strategy.scope():
    stack = StochasticDepthStack(unit(1.0), DEPTH, 0.5, activation=None, seed=1)
    stack.build((None, 1))
    for i, weights in enumerate(stack.unstacked_weights()):
        stack.assign_block(i, {name: w if "kernel" in name else w * 2.0**i for name, w in weights.items()})
    inputs = keras.Input((1,))
    x = inputs
    for i in range(DEPTH):
        x = StochasticDepthResidual(unit(2.0**i), survival_probability=0.5, activation=None, seed=1)(x)
    blocks = keras.Model(inputs, x)

@tf.function
def step(model):
    outputs = strategy.run(lambda: model(tf.zeros((2, 1)), training=True))
    return strategy.experimental_local_results(outputs)

for model in (stack, blocks):
    seen = []
    for _ in range(STEPS):
        first, second = (np.ravel(r) for r in step(model))
        assert len({*first, *second}) == 1, (first, second)
        seen.append(first[0])
    assert len(set(seen)) > STEPS // 2, seen  # gates are drawn anew in each step
    assert len({int(s) for s in seen} - {0, 2**DEPTH - 1}) > 2, seen  # and apart for each block

with strategy.scope():
    inputs = keras.Input((6, 6, 3))
    branch = keras.Sequential([layers.Conv2D(3, 3, padding="same"), layers.BatchNormalization()])
    x = StochasticDepthStack(branch, 4, 0.5, seed=2)(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    model.compile(keras.optimizers.SGD(0.05, 0.9, nesterov=True), "mse")
rng = np.random.default_rng(0)
losses = model.fit(rng.normal(size=(32, 6, 6, 3)), np.ones((32, 2)), batch_size=8, epochs=4, verbose=0).history["loss"]
assert losses[-1] < losses[0], losses
print("replicas agree")
"""


@pytest.mark.slow
@only_tensorflow
def test_replicas_draw_equal_gates():
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=300
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "replicas agree" in result.stdout
