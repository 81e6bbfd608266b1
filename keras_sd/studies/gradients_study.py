"""Signals in the forward pass and gradients in the backward pass, by depth."""

import csv

import numpy as np

from keras_sd import analysis
from keras_sd.runs.networks import build
from keras_sd.studies import subjects
from keras_sd.studies.lab import Laboratory, four
from keras_sd.studies.outcome import Outcome, by, summed_up
from keras_sd.utils.plotting import colors, panels, set_log_scale

_FILE = "gradients.csv"  # in the folder of a run
_BATCH = 64


def run(lab: Laboratory) -> Outcome:
    """Measure gradients by depth at initialization and during training, and signals at initialization."""
    networks = four(20, 22) if lab.options.quick else four(110, 100, lab.slow_start)
    epochs = lab.options.pick("epochs", quick=2, digits=10, other=3)
    x, y = subjects.examples(lab.dataset, "train", _BATCH)
    rows = []
    for network in networks:
        trained = lab.train(network, epochs, lambda folder: [analysis.GradientHistory(x, y, _recorder(folder))], _FILE)
        found = _signals(lab, network, epochs, x)
        for row in _read(trained.rows(_FILE)):
            extra = found[row["block"]] if row["epoch"] == 0 else {}
            rows.append({"network": network.label, "position": found[row["block"]]["position"], **row, **extra})
    ratios = summed_up(rows, _ratios)
    return Outcome(rows, _draw(rows), _sentence(ratios), _holds(ratios), ratios)


def _recorder(folder):
    """Return a function that appends the values of a `GradientHistory` to a file in the run folder."""

    def record(epoch, values):
        file = folder.path / _FILE
        is_new = not file.exists()
        with file.open("a", newline="") as stream:
            writer = csv.writer(stream)
            if is_new:
                writer.writerow(["epoch", "block", "gradient"])
            writer.writerows([epoch, name, value] for name, value in values)

    return record


def _read(rows):
    """Return the rows as numbers, the first ones of epochs repeated after resuming: epoch 0 is before training."""
    found = {}
    for row in rows:
        found.setdefault((int(row["epoch"]), row["block"]), float(row["gradient"]))
    return [{"epoch": epoch, "block": block, "gradient": value} for (epoch, block), value in found.items()]


def _signals(lab, network, epochs, x):
    """Return size and similarity of the untrained network's signals, by block."""
    config = lab.config(network, epochs)

    def compute():
        found = {}
        for index, (block, features) in enumerate(analysis.signals(build(config, lab.dataset), x)):
            found[block.name] = {
                "position": index + 1,
                "signal": analysis.root_mean_square(features),
                "similarity": analysis.similarity(features),
            }
        return found

    key = [config.model, config.model_arguments, config.seed, config.policy, lab.dataset.describe()]
    return lab.cache.get("signals", key, compute)


def _ratios(rows):
    """Return the mean gradient of the first tenth of the blocks over the last's, before and after training."""
    found = {}
    for name, epoch in (("untrained", 0), ("trained", max(row["epoch"] for row in rows))):
        values = np.array([row["gradient"] for row in rows if row["epoch"] == epoch])
        tenth = max(1, len(values) // 10)
        first, last = (np.exp(np.mean(np.log(np.maximum(v, 1e-30)))) for v in (values[:tenth], values[-tenth:]))
        found[name] = float(first / last)
    start = [row for row in rows if row["epoch"] == 0]
    found["similarity_last_block"] = start[-1]["similarity"]
    return found


def _sentence(ratios):
    parts = [
        f"{label}: {found['untrained']:.3g} untrained, {found['trained']:.3g} trained"
        for label, found in ratios.items()
    ]
    alike = ", ".join(f"{label} {found['similarity_last_block']:.3f}" for label, found in ratios.items())
    return (
        f"Mean absolute gradient of the first tenth of the blocks over that of the last tenth: {'; '.join(parts)}. "
        f"Mean cosine between the untrained last features of different images (1: indistinguishable): {alike}."
    )


def _holds(ratios):
    """Return whether the criterion of `STUDIES` is met."""

    def fades(found):
        return min(found["untrained"], found["trained"]) < 0.1 or found["similarity_last_block"] > 0.95

    return [fades(found) for found in ratios.values()] == [True, False, False, False]


def _draw(rows):
    figure, (untrained, trained, size, alike) = panels(2, 2, "Signals and gradients by depth")
    networks = by(rows, "network")
    color = colors(networks)
    for label, group in networks.items():
        # Stochastic depth begins with the weights of the residual network: both curves are seen where they agree.
        style = {"color": color[label], "linestyle": (0, (5, 5)) if label.startswith("stochastic") else "-"}
        for axes, epoch in ((untrained, 0), (trained, max(row["epoch"] for row in group))):
            chosen = [row for row in group if row["epoch"] == epoch]
            depth = [row["position"] / len(chosen) for row in chosen]
            axes.semilogy(depth, [row["gradient"] for row in chosen], label=label, **style)
        start = [row for row in group if row["epoch"] == 0]
        depth = [row["position"] / len(start) for row in start]
        size.plot(depth, [row["signal"] for row in start], **style)
        alike.plot(depth, [row["similarity"] for row in start], **style)
    set_log_scale(size, "y")
    last = max(row["epoch"] for row in rows)
    untrained.set(ylabel="mean absolute gradient of kernels", title="backward, untrained")
    trained.set(title=f"backward, after {last} epochs")
    size.set(xlabel="depth (fraction of the blocks)", ylabel="root mean square", title="forward, untrained: size")
    alike.set(xlabel="depth (fraction of the blocks)", ylabel="cosine of different images", title="forward: similarity")
    untrained.legend(fontsize=8)
    return figure
