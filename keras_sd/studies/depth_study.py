"""Degradation and its cure: error against depth in plain, residual and stochastic-depth networks."""

from keras_sd import analysis
from keras_sd.studies.lab import Laboratory, Network
from keras_sd.studies.outcome import Outcome, by
from keras_sd.utils.plotting import colors, panels


def run(lab: Laboratory) -> Outcome:
    """Measure training and test errors of networks of several depths, after equal training."""
    small, deep, deepest = (8, 20, 20) if lab.options.quick else (20, 56, 110)
    sizes = [("plain", small), ("plain", deep)]
    sizes += [("residual", depth) for depth in dict.fromkeys((small, deep, deepest))]
    sizes.append(("stochastic", deepest))
    networks = [_network(kind, depth, lab.slow_start) for kind, depth in sizes]
    epochs = lab.options.pick("epochs", quick=3, digits=30, other=5)
    rows, curves = [], {}
    for network in networks:
        trained = lab.train(network, epochs)
        kind, depth = network.label.split()
        found = {"training_error": _training_error(lab, trained), "test_error": trained.test_error}
        rows.append({"network": network.label, "kind": kind, "depth": int(depth), "epochs": epochs, **found})
        curves[network.label] = trained.history()
    numbers = {row["network"]: {k: row[k] for k in ("training_error", "test_error")} for row in rows}
    return Outcome(rows, _draw(rows, curves), _sentence(rows), _holds(rows, small, deep, deepest), numbers)


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


def _sentence(rows):
    parts = [
        f"{row['network']}: {row['training_error']:.1f} % training, {row['test_error']:.1f} % test" for row in rows
    ]
    return f"Errors after {rows[0]['epochs']} epochs: {'; '.join(parts)}."


def _holds(rows, small, deep, deepest):
    """Return whether the criterion of `STUDIES` is met."""
    training = {row["network"]: row["training_error"] for row in rows}
    test = {row["network"]: row["test_error"] for row in rows}
    degrades = training[f"plain {deep}"] > training[f"plain {small}"]
    cured = training[f"residual {deepest}"] <= training[f"residual {small}"]
    return bool(degrades and cured and test[f"stochastic {deepest}"] <= test[f"residual {deepest}"])


_WORDS = {"training_error": "training", "test_error": "test"}


def _draw(rows, curves):
    figure, (by_depth, by_epoch) = panels(1, 2, "Error by depth", (5.4, 4.2))
    kinds = by(rows, "kind")
    color = colors(kinds)
    for kind, group in kinds.items():
        depths = [row["depth"] for row in group]
        for column, line in (("training_error", "o:"), ("test_error", "s-")):
            errors = [row[column] for row in group]
            fill = "full" if column == "test_error" else "none"
            by_depth.plot(depths, errors, line, fillstyle=fill, color=color[kind], label=f"{kind}, {_WORDS[column]}")
        # The deeper, the darker and wider.
        for number, row in enumerate(group, 1):
            history, weight = curves[row["network"]], number / len(group)
            error = [100 * (1 - epoch["accuracy"]) for epoch in history]
            style = {"color": color[kind], "alpha": 0.25 + 0.75 * weight, "linewidth": 0.8 + 1.4 * weight}
            by_epoch.plot([e["epoch"] for e in history], error, label=row["network"], **style)
    by_depth.set(xlabel="layers", ylabel="error (%)", title="after training", ylim=(0, None))
    by_depth.legend(fontsize=8)
    by_epoch.xaxis.get_major_locator().set_params(integer=True)
    by_epoch.set(xlabel="epoch", ylabel="error while training (%)", title="augmented, blocks dropped", ylim=(0, None))
    by_epoch.legend(fontsize=8)
    return figure
