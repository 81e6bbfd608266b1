"""Survival schedules compared: how many blocks a step computes, and what the network learns.

python docs/examples/survival_schedules.py
"""

import keras

from keras_sd import data, schedules
from keras_sd.applications import ResNet


def compared(depth):
    """Return survival probabilities of `depth` blocks, a tuple for each schedule."""
    half = depth // 2
    return {
        "constant depth": schedules.uniform(depth, 1.0),
        "linear, 0.8": schedules.linear(depth, 0.8),
        "linear, 0.5": schedules.linear(depth, 0.5),
        "uniform, 0.75": schedules.uniform(depth, 0.75),
        "second half, 0.5": (1.0,) * half + (0.5,) * (depth - half),
    }


def accuracy(probabilities, sets, epochs, seed=0):
    """Return the test accuracy of a ResNet with these survival probabilities after training on digits."""
    keras.utils.set_random_seed(seed)
    model = ResNet(depth=2 + 2 * len(probabilities), input_shape=(8, 8, 1), survival_schedule=probabilities)
    steps = epochs * sets.steps_per_epoch(64)
    rate = keras.optimizers.schedules.CosineDecay(0.001, steps, warmup_target=0.05, warmup_steps=steps // 4)
    model.compile(
        keras.optimizers.SGD(rate, 0.9, nesterov=True), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    batches = sets.training_batches(64, seed=seed)
    model.fit(batches, steps_per_epoch=sets.steps_per_epoch(64), epochs=epochs, shuffle=False, verbose=0)
    return model.evaluate(sets.batches("test"), verbose=0)[1]


def main(depth=9, epochs=6):
    """Train a ResNet with each schedule, print a table, and return it: expected depth and accuracy by name."""
    sets = data.load("digits")
    table = {}
    print(f"{'schedule':20}{'blocks in a step':>18}{'test accuracy':>15}")
    for name, probabilities in compared(depth).items():
        table[name] = schedules.expected_depth(probabilities), accuracy(probabilities, sets, epochs)
        print(f"{name:20}{table[name][0]:>12.2f} of {depth}{table[name][1]:>15.3f}")
    return table


if __name__ == "__main__":
    main()
