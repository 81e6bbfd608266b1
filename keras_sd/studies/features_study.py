"""Features that a DenseNet reuses: mean absolute weight by source and target layer."""

import numpy as np

from keras_sd import analysis
from keras_sd.studies.lab import Laboratory, Network
from keras_sd.studies.outcome import Outcome, summed_up
from keras_sd.utils.plotting import panels


def run(lab: Laboratory) -> Outcome:
    """Map the reuse of features in each dense block."""
    depth = 22 if lab.options.quick else 40
    epochs = lab.options.pick("epochs", quick=8, digits=80, other=8)
    # A map shows reuse only after unused weights have decayed from their initial values: few steps need more decay.
    changes = {"l2": 2e-3} if lab.options.data == "digits" else {}
    network = Network(f"dense {depth}", "DenseNet", {"depth": depth}, changes=changes)
    rows, maps = [], {}
    for subject in lab.subjects([network], epochs):
        for name, table in analysis.reuse_map(subject.model).items():
            maps[f"{subject.label}, {name}"] = table
            targets = len(table)
            rows += [
                {"network": subject.label, "block": name, "source": s, "target": t + 1, "weight": float(table[s, t])}
                for t in range(targets)
                for s in range(t + 1)
            ]
    numbers = summed_up(rows, _summary)
    return Outcome(rows, _draw(maps), _sentence(numbers), _holds(numbers), numbers)


def _summary(rows):
    last = max(row["target"] for row in rows)
    inside = [row for row in rows if row["target"] < last and row["target"] > 2]
    back = [row["weight"] for row in inside if row["source"] < row["target"] - 1]
    near = [row["weight"] for row in inside if row["source"] == row["target"] - 1]
    return {"further_back": float(np.mean(back)), "layer_before": float(np.mean(near))}


def _sentence(numbers):
    parts = [
        f"{label}: sources two or more layers back have {found['further_back']:.2f} of the weight of the most used "
        f"one, the layer right before {found['layer_before']:.2f}"
        for label, found in numbers.items()
    ]
    return f"Mean absolute weights within dense blocks (each target's largest is 1), {'; '.join(parts)}."


def _holds(numbers):
    """Return whether the criterion of `STUDIES` is met."""
    return all(found["further_back"] > 1 / 3 for found in numbers.values())


def _draw(maps):
    figure, axes = panels(1, len(maps), "Reuse of features: mean absolute weight, each target's largest is 1")
    image = None
    lowest = min(np.nanmin(table) for table in maps.values())
    for one, (name, table) in zip(axes, maps.items()):
        n = len(table)
        image = one.imshow(table, vmin=lowest, vmax=1, cmap="viridis", extent=(0.5, n + 0.5, n - 0.5, -0.5))
        one.grid(False)
        one.set(xlabel="target layer (last: the block's reader)", title=name)
        one.xaxis.get_major_locator().set_params(integer=True)
        one.yaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylabel("source layer (0: the block's input)")
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure
