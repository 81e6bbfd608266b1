"""A training loop of your own on each engine: `GradientTape`, stateless JAX, PyTorch.

    KERAS_BACKEND=tensorflow python docs/examples/custom_loop.py
    KERAS_BACKEND=jax python docs/examples/custom_loop.py
    KERAS_BACKEND=torch python docs/examples/custom_loop.py

The gates are drawn inside the layers. All that a loop must do is call the model with `training=True` and, on JAX, carry
the model's non-trainable variables from step to step: the states of the random generators are among them.
"""

import keras
import numpy as np
from keras import layers

from keras_sd import data
from keras_sd.layers import StochasticDepthStack


def network(input_shape, classes, depth):
    """Return a small residual network that returns logits."""
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    branch = keras.Sequential([layers.Conv2D(16, 3, padding="same"), layers.BatchNormalization(momentum=0.8)])
    x = StochasticDepthStack(branch, depth, survival_probabilities=0.8, gates="systematic")(x)
    return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))


def tensorflow_step(model, loss_of, optimizer):
    """Return a training step: a function of images and labels that returns the loss."""
    import tensorflow as tf

    @tf.function
    def step(images, labels):
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(images, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    return step


def jax_step(model, loss_of, optimizer):
    """As `tensorflow_step`; the weights live in the step's state, and return to the model after each step."""
    import jax

    optimizer.build(model.trainable_variables)

    def loss_and_state(trainable, fixed, images, labels):
        outputs, fixed = model.stateless_call(trainable, fixed, images, training=True)
        return loss_of(labels, outputs), fixed

    gradients_of = jax.value_and_grad(loss_and_state, has_aux=True)

    @jax.jit
    def update(state, images, labels):
        trainable, fixed, optimizer_state = state
        (loss, fixed), gradients = gradients_of(trainable, fixed, images, labels)
        trainable, optimizer_state = optimizer.stateless_apply(optimizer_state, gradients, trainable)
        return loss, (trainable, fixed, optimizer_state)

    kept = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)

    def step(images, labels):
        loss, state = update([[v.value for v in variables] for variables in kept], images, labels)
        for variables, values in zip(kept, state):
            for variable, value in zip(variables, values):
                variable.assign(value)
        return loss

    return step


def torch_step(model, loss_of, optimizer):
    """As `tensorflow_step`; a dropped block has gradients of zeros."""
    optimizer.build(model.trainable_variables)

    def step(images, labels):
        model.zero_grad()
        loss = loss_of(labels, model(images, training=True))
        loss.backward()
        optimizer.apply([v.value.grad for v in model.trainable_variables], model.trainable_variables)
        return loss.detach()

    return step


STEPS = {"tensorflow": tensorflow_step, "jax": jax_step, "torch": torch_step}


def main(depth=8, steps=240, batch_size=64):
    """Train on scanned digits, print the test accuracy, and return it."""
    keras.utils.set_random_seed(0)
    digits, random = data.load("digits"), np.random.default_rng(0)
    images, labels = np.asarray(digits.train.images, "float32") / 16, np.asarray(digits.train.labels, "int32")
    model = network(images.shape[1:], classes=10, depth=depth)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    step = STEPS[keras.backend.backend()](model, loss_of, keras.optimizers.Adam(3e-3))
    for number in range(1, steps + 1):
        rows = random.choice(len(images), batch_size, replace=False)
        loss = step(keras.ops.convert_to_tensor(images[rows]), keras.ops.convert_to_tensor(labels[rows]))
        if number % max(1, steps // 3) == 0:
            print(f"step {number}: loss {float(loss):.3f}")
    predicted = model.predict(np.asarray(digits.test.images, "float32") / 16, verbose=0).argmax(-1)
    accuracy = float((predicted == np.asarray(digits.test.labels)).mean())
    print(f"{keras.backend.backend()}: test accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
