"""Degradation and its cure: error against depth in plain, residual and stochastic-depth networks."""

import itertools

from keras_sd import analysis
from keras_sd.studies.lab import Laboratory, Network
from keras_sd.studies.outcome import Outcome, by, error_bars, mean_curve, over, spread, summed_up
from keras_sd.utils.plotting import colors, panels

_WORDS = {"training_error": "training", "test_error": "test"}


def run(lab: Laboratory) -> Outcome:
    """Measure training and test errors of networks of several depths, after equal training."""
    small, deep, deepest = (8, 20, 20) if lab.options.quick else (20, 56, 110)
    sizes = [("plain", small), ("plain", deep)]
    sizes += [("residual", depth) for depth in dict.fromkeys((small, deep, deepest))]
    sizes.append(("stochastic", deepest))
    networks = [_network(kind, depth, lab.slow_start) for kind, depth in sizes]
    epochs = lab.options.pick("epochs", quick=3, digits=30, other=5)
    rows = []
    curves: dict[str, list[list[dict[str, float]]]] = {}
    for network, seed in itertools.product(networks, lab.seeds):
        trained = lab.train(network, epochs, seed=seed)
        kind, depth = network.label.split()
        found = {"training_error": _training_error(lab, trained), "test_error": trained.test_error}
        rows.append(
            {"network": network.label, "kind": kind, "depth": int(depth), "seed": seed, "epochs": epochs, **found}
        )
        curves.setdefault(network.label, []).append(trained.history())
    numbers = summed_up(rows, _summary)
    sentence = f"Errors after {epochs} epochs ({over(lab.seeds)}), {_listed(numbers)}."
    return Outcome(rows, _draw(rows, numbers, curves), sentence, _holds(numbers, small, deep, deepest), numbers)


def _summary(rows):
    return {column: spread(row[column] for row in rows) for column in _WORDS}


def _network(kind, depth, changes):
    model, survival = ("PlainNet", 1.0) if kind == "plain" else ("ResNet", 0.5 if kind == "stochastic" else 1.0)
    return Network(f"{kind} {depth}", model, {"depth": depth}, survival, changes)


def _training_error(lab, trained):
    """Return the error of the best weights on training images, without augmentation, in inference, in percent."""
    count = lab.options.pick("images", quick=300, digits=2000, other=5000)

    def compute():
        x, y = subject.examples("train", count)
        return 100 * analysis.error(subject.model.predict(x, batch_size=256, verbose=0), y)

    subject = trained.subject()
    return lab.cache.get("training-error", [subject.digest, subject.dataset.describe(), count], compute)


def _listed(numbers):
    return "; ".join(
        f"{label}: {found['training_error']} training, {found['test_error']} test" for label, found in numbers.items()
    )


def _holds(numbers, small, deep, deepest):
    """Return whether the criterion of `STUDIES` is met."""
    training, test = ({label: found[column].mean for label, found in numbers.items()} for column in _WORDS)
    degrades = training[f"plain {deep}"] > training[f"plain {small}"]
    cured = training[f"residual {deepest}"] <= training[f"residual {small}"]
    return bool(degrades and cured and test[f"stochastic {deepest}"] <= test[f"residual {deepest}"])


def _draw(rows, numbers, curves):
    figure, (by_depth, by_epoch) = panels(1, 2, "Error by depth", (5.4, 4.2))
    kinds = by(rows, "kind")
    color = colors(kinds)
    for kind, group in kinds.items():
        depths = {row["network"]: row["depth"] for row in group}
        for column, line in (("training_error", "o:"), ("test_error", "s-")):
            errors = [numbers[label][column] for label in depths]
            means, bars = [one.mean for one in errors], error_bars(errors)
            style = {"fillstyle": "full" if column == "test_error" else "none", "color": color[kind], "capsize": 3}
            name = f"{kind}, {_WORDS[column]}"
            by_depth.errorbar(list(depths.values()), means, bars, fmt=line, label=name, **style)
        # The deeper, the darker and wider.
        for number, label in enumerate(depths, 1):
            weight = number / len(depths)
            style = {"color": color[kind], "alpha": 0.25 + 0.75 * weight, "linewidth": 0.8 + 1.4 * weight}
            by_epoch.plot(*mean_curve(curves[label], _error), label=label, **style)
    by_depth.set(xlabel="layers", ylabel="error (%)", title="after training", ylim=(0, None))
    by_depth.legend(fontsize=8)
    by_epoch.xaxis.get_major_locator().set_params(integer=True)
    by_epoch.set(xlabel="epoch", ylabel="error while training (%)", title="augmented, blocks dropped", ylim=(0, None))
    by_epoch.legend(fontsize=8)
    return figure


def _error(epoch):
    return 100 * (1 - epoch["accuracy"])
