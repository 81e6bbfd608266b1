"""Error against parameters and operations: residual against dense networks, here and on ImageNet."""

import math
from collections.abc import Sequence
from typing import Any

from keras_sd import analysis, applications
from keras_sd.applications._cards import flops_of
from keras_sd.studies.lab import Laboratory, Network
from keras_sd.studies.outcome import Outcome, by
from keras_sd.utils.plotting import colors, panels, set_log_scale


def run(lab: Laboratory) -> Outcome:
    """Train networks of both families for the same epochs, and compare published ones."""
    options = lab.options
    depths: tuple[tuple[int, ...], tuple[int, ...]]
    if options.quick:
        depths = (8, 14), (10, 16)
    else:
        depths = ((8, 14, 20, 32), (10, 16, 22, 40)) if options.data == "digits" else ((20, 32, 56), (22, 40, 76))
    networks = [Network(f"ResNet-{d}", "ResNet", {"depth": d}) for d in depths[0]]
    networks += [Network(f"DenseNet-BC-{d}", "DenseNet", {"depth": d}) for d in depths[1]]
    epochs = options.pick("epochs", quick=4, digits=40, other=8)
    rows = []
    for network in networks:
        trained = lab.train(network, epochs)
        model = trained.subject().model
        costs = {"parameters": sum(math.prod(w.shape) for w in model.trainable_weights), "flops": analysis.flops(model)}
        rows.append({"family": network.model, "model": network.label, **costs, "error": trained.test_error})
    published = _published(lab)
    found = comparisons(published)
    measured = comparisons(rows)
    title = f"Measured on {options.data}, {epochs} epochs"
    more = {"efficiency-imagenet": (published, _draw(published, "Published on ImageNet, 1 crop"))}
    return Outcome(rows, _draw(rows, title), _sentence(measured, found, options), _holds(found), found, more)


def _published(lab):
    """Return the published points, with parameters and operations counted from our models."""
    points = analysis.IMAGENET
    if lab.options.quick:  # the deepest take longest to build
        points = [p for p in points if p.model in ("ResNet18", "ResNet34", "DenseNet121")]
    rows = []
    for point in lab.track(points, "counting the operations of published models"):
        row = applications.find(point.model)
        flops = lab.cache.get("flops", [point.model], lambda: flops_of(row))  # noqa: B023
        rows.append(
            {
                "family": "DenseNet" if point.model.startswith("DenseNet") else "ResNet",
                "model": point.model,
                "parameters": row.parameters,
                "flops": flops,
                "error": point.percent,
                "source": point.source,
            }
        )
    return rows


def comparisons(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the fraction of each ResNet's costs that the smallest DenseNet with at most its error needs.

    Args:
        rows: Dictionaries with `family`, `model`, `parameters`, `flops`, `error`.

    Returns:
        Dictionary from a ResNet's name to a dictionary with the name of that DenseNet and its fractions of parameters
        and operations; ResNets that no DenseNet reaches are omitted.
    """
    dense = [row for row in rows if row["family"] == "DenseNet"]
    found = {}
    for row in rows:
        better = [d for d in dense if d["error"] <= row["error"]]
        if row["family"] == "ResNet" and better:
            least = min(better, key=lambda d: d["parameters"])
            found[row["model"]] = {
                "densenet": least["model"],
                "parameters": least["parameters"] / row["parameters"],
                "flops": least["flops"] / row["flops"],
            }
    return found


def _sentence(measured, published, options):
    def listed(found):
        parts = [
            f"{f['densenet']} matches {name} with {100 * f['parameters']:.0f} % of the parameters and "
            f"{100 * f['flops']:.0f} % of the operations"
            for name, f in found.items()
        ]
        return "; ".join(parts) or "no DenseNet reaches a ResNet's error"

    return f"Published, on ImageNet: {listed(published)}. Measured, on {options.data}: {listed(measured)}."


def _holds(published):
    """Return whether the criterion of `STUDIES` is met; `None` if inconclusive."""
    large = [f for name, f in published.items() if name in ("ResNet50", "ResNet101", "ResNet152")]
    if not large:
        return None
    return all(f["parameters"] <= 0.7 and f["flops"] <= 0.7 for f in large)


def _draw(rows, title):
    figure, axes = panels(1, 2, title, (5.2, 4.2))
    families = by(rows, "family")
    color = colors(families)
    # Labels of one family above its curve, of the other below it, so that they do not meet.
    places = ({"xytext": (4, 5)}, {"xytext": (-4, -11), "horizontalalignment": "right"})
    for (family, group), place in zip(families.items(), places):
        for one, column in zip(axes, ("parameters", "flops")):
            points = sorted(group, key=lambda row: row[column])
            one.plot([p[column] for p in points], [p["error"] for p in points], "o-", color=color[family], label=family)
            for p in points:
                label = p["model"].removeprefix(family).lstrip("-")
                one.annotate(label, (p[column], p["error"]), textcoords="offset points", fontsize=8, **place)
    axes[0].set(xlabel="parameters", ylabel="test error (%)")
    axes[1].set(xlabel="operations of one image (FLOP)")
    for one in axes:
        one.margins(x=0.08, y=0.08)
        set_log_scale(one, "x")
    axes[0].legend()
    return figure
