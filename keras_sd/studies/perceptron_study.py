"""From 1957 to 2016 on the same digits: a perceptron, a multi-layer perceptron and a residual network; and XOR."""

import keras
import numpy as np

from keras_sd import analysis, applications
from keras_sd.layers import perceptron_loss
from keras_sd.studies.lab import Laboratory, Network
from keras_sd.studies.outcome import Outcome, error_bars, over, spread, summed_up
from keras_sd.utils.plotting import colors, panels

_SIDE = 8  # pixels of an image of two bits, one in the left half, one in the right
_PASSES = 200


def run(lab: Laboratory) -> Outcome:
    """Train all three on the same images, without augmentation, and on the four points of XOR."""
    depth = 8 if lab.options.quick else 20
    # Without augmentation: a layer that is linear in the pixels cannot follow shifted images.
    still = {"augmentation": (), "learning_rate": 0.1}
    rule = still | {"loss": "keras_sd>perceptron_loss"}
    networks = {
        1957: Network("perceptron", "Perceptron", {}, changes=rule),
        1986: Network("MLP", "MLP", {"widths": (128, 128)}, changes=still | {"learning_rate": 0.05}),
        2016: Network(f"ResNet-{depth}", "ResNet", {"depth": depth}, 0.8, changes=still),
    }
    epochs = lab.options.pick("epochs", quick=8, digits=40, other=8)
    rows = []
    for year, network in networks.items():
        trained = [lab.train(network, epochs, seed=seed) for seed in lab.seeds]
        parameters = trained[0].subject().model.count_params()
        for seed, one in zip(lab.seeds, trained):
            key = [network.model, network.arguments, seed, _PASSES]
            right = lab.cache.get("xor", key, lambda: xor(network, seed))  # noqa: B023
            found = {"parameters": parameters, "test_error": one.test_error, "xor_right": right}
            rows.append({"year": year, "network": network.label, "seed": seed, **found})
    numbers = summed_up(rows, _summary)
    return Outcome(rows, _draw(numbers), _sentence(numbers, lab), _holds(list(numbers.values())), numbers)


def _summary(rows):
    return {
        "year": rows[0]["year"],
        "test_error": spread(row["test_error"] for row in rows),
        "xor_right": [row["xor_right"] for row in rows],
    }


def xor(network: Network, seed: int = 0) -> int:
    """Return how many of the four points of XOR a network gets right after training on them.

    Args:
        network: A `Network`.
        seed: Integer.

    Returns:
        Integer from 0 to 4. The two bits are the two halves of an image, so that networks for images can read them.
    """
    bits = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
    images = np.repeat(bits[:, None, :], _SIDE, axis=1).repeat(_SIDE // 2, axis=2)[..., None] - 0.5
    labels = bits.astype(int).sum(axis=1) % 2
    keras.utils.set_random_seed(seed)
    shape = {"input_shape": images.shape[1:], "classes": 2}
    model = applications.get_model(network.model, weights=None, **shape, **network.arguments)
    loss = perceptron_loss if network.model == "Perceptron" else "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(0.05), loss)
    passes = np.tile(images, (_PASSES, 1, 1, 1)), np.tile(labels, _PASSES)
    model.fit(*passes, batch_size=8, shuffle=True, verbose=0)
    return round(4 * (1 - analysis.error(model.predict(images, verbose=0), labels)))


def _sentence(numbers, lab):
    parts = [
        f"{label} ({found['year']}): {found['test_error']} of {lab.options.data} wrong, "
        f"{' and '.join(map(str, sorted(set(found['xor_right']))))} of the 4 points of XOR right"
        for label, found in numbers.items()
    ]
    return f"After equal epochs ({over(lab.seeds)}), {'; '.join(parts)}."


def _holds(found):
    """Return whether the criterion of `STUDIES` is met by perceptron, multi-layer perceptron and residual network."""
    errors = [one["test_error"].mean for one in found]
    perceptron, *others = (one["xor_right"] for one in found)
    learned = max(perceptron) < 4 and all(right == 4 for one in others for right in one)
    return errors[0] > errors[1] > errors[2] and learned


def _draw(numbers):
    figure, (digits, points) = panels(1, 2, "The same images, 1957 to 2016")
    names = [f"{label}\n{found['year']}" for label, found in numbers.items()]
    color = list(colors(numbers).values())
    errors = [found["test_error"] for found in numbers.values()]
    bars = digits.bar(names, [error.mean for error in errors], yerr=error_bars(errors), capsize=3, color=color)
    digits.bar_label(bars, list(map(str, errors)))
    digits.set(ylabel="test error (%)")
    digits.margins(y=0.1)  # for the labels
    bars = points.bar(names, [min(found["xor_right"]) for found in numbers.values()], color=color)
    points.bar_label(bars)
    points.yaxis.get_major_locator().set_params(integer=True)
    of = ", worst seed" if any(error.std is not None for error in errors) else ""
    points.set(ylabel=f"points of XOR that are right{of}", ylim=(0, 4.5))
    return figure
