"""Error against parameters and operations: residual against dense networks, here and on ImageNet."""

import math
from collections.abc import Sequence
from typing import Any

from keras_sd import analysis, applications
from keras_sd.applications._cards import flops_of
from keras_sd.studies.lab import Laboratory, Network
from keras_sd.studies.outcome import Outcome, by, error_bars, over, spread
from keras_sd.tuning.budget import measure
from keras_sd.utils.checks import refusal
from keras_sd.utils.plotting import colors, panels, set_log_scale

# Depths of ResNets and DenseNet-BCs. On other data than digits, each DenseNet has a ResNet with as many parameters
# (52 and 20 layers: 0.27M; 100 and 56: 0.8M) and one with as many operations (52 and 44 layers, 100 and 110).
_QUICK = (8, 14), (10, 16)
_DIGITS = (8, 14, 20, 32), (10, 16, 22, 40)
_OTHER = (20, 44, 56, 110), (52, 100)


def run(lab: Laboratory) -> Outcome:
    """Train networks of both families on the same images for the same epochs, and compare published ones."""
    options = lab.options
    resnets, densenets = _QUICK if options.quick else _DIGITS if options.data == "digits" else _OTHER
    changes = {"training_images": options.training_images} if options.training_images else {}
    networks = [Network(f"ResNet-{d}", "ResNet", {"depth": d}, changes=changes) for d in resnets]
    networks += [Network(f"DenseNet-BC-{d}", "DenseNet", {"depth": d}, changes=changes) for d in densenets]
    epochs = options.pick("epochs", quick=4, digits=40, other=8)
    rows = []
    for network in _affordable(networks, lab):
        trained = [lab.train(network, epochs, seed=seed) for seed in lab.seeds]
        costs = dict(zip(("parameters", "flops"), _costs(network, lab)))
        for seed, one in zip(lab.seeds, trained):
            seconds = sum(epoch["seconds"] for epoch in one.history())
            found = {"seed": seed, **costs, "seconds": seconds, "error": one.test_error}
            rows.append({"family": network.model, "model": network.label, **found})
    measured = averages(rows)
    published = _published(lab)
    numbers = {"imagenet": comparisons(published), options.data: equally_large(measured)}
    images = f"{options.training_images:,} training images, " if options.training_images else ""
    title = f"Measured on {options.data}, {images}{epochs} epochs"
    more = {"efficiency-imagenet": (published, _draw(published, "Published on ImageNet, 1 crop"))}
    sentence = _sentence(numbers["imagenet"], measured, numbers[options.data], lab)
    return Outcome(rows, _draw(measured, title), sentence, _holds(numbers["imagenet"]), numbers, more)


def _affordable(networks, lab):
    """Return the networks within the options' `budget_params`; raise unless some of each family are."""
    budget = lab.options.budget_params
    if budget is None:
        return networks
    sizes = [_costs(network, lab)[0] for network in networks]
    least = max(min(size for size, n in zip(sizes, networks) if n.model == family) for family in ("ResNet", "DenseNet"))
    if budget < least:
        raise refusal("budget_params", f"at least {least:,}, for a network of each family", budget)
    return [network for network, size in zip(networks, sizes) if size <= budget]


def _costs(network, lab):
    """Return the number of parameters of a network, and of operations for one image."""
    dataset = lab.dataset
    return measure(lab.config(network, 1), dataset.input_shape, dataset.num_classes)


def averages(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for each model, with the mean `error` of its seeds and its `Spread` as `errors`."""
    found = []
    for group in by(rows, "model").values():
        errors = spread(row["error"] for row in group)
        found.append({**group[0], "error": errors.mean, "errors": errors})
    return found


def equally_large(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return, for each DenseNet, the ResNets that are nearest to it in parameters and in operations.

    Args:
        rows: Dictionaries with `family`, `model`, `parameters`, `flops`, `errors`.

    Returns:
        Dictionary from a DenseNet's name, then from "parameters" and "flops", to the name of the ResNet, its cost as a
        fraction of the DenseNet's (`ratio`), and its `errors`.
    """
    resnets = [row for row in rows if row["family"] == "ResNet"]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        if row["family"] == "DenseNet":
            for cost in ("parameters", "flops"):
                near = min(resnets, key=lambda other: abs(math.log(other[cost] / row[cost])))
                one = {"resnet": near["model"], "ratio": near[cost] / row[cost], "errors": near["errors"]}
                found.setdefault(row["model"], {})[cost] = one
    return found


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


def _sentence(published, measured, pairs, lab):
    reached = [
        f"{f['densenet']} matches {name} with {100 * f['parameters']:.0f} % of the parameters and "
        f"{100 * f['flops']:.0f} % of the operations"
        for name, f in published.items()
    ]
    errors = {row["model"]: row["errors"] for row in measured}
    compared = [f"{dense} {errors[dense]}, {_nearest(found)}" for dense, found in pairs.items()]
    return (
        f"Published, on ImageNet: {'; '.join(reached) or 'no DenseNet reaches the error of a ResNet'}. Test errors on "
        f"{lab.options.data} ({over(lab.seeds)}): {'; '.join(compared)}."
    )


def _nearest(found):
    words = {"parameters": "parameters", "flops": "operations"}
    return ", ".join(
        f"{one['resnet']} with {one['ratio']:.2f} of its {words[cost]} {one['errors']}" for cost, one in found.items()
    )


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
            x, y = ([p[name] for p in points] for name in (column, "error"))
            bars = error_bars(p["errors"] for p in points if "errors" in p)  # published errors have no seeds
            one.errorbar(x, y, bars, fmt="o-", capsize=3, color=color[family], label=family)
            for p in points:
                label = p["model"].removeprefix(family).lstrip("-")
                one.annotate(label, (p[column], p["error"]), textcoords="offset points", fontsize=8, **place)
    axes[0].set(xlabel="parameters", ylabel="test error (%)")
    axes[1].set(xlabel="operations of one image (FLOP)")
    for one in axes:
        one.margins(x=0.15, y=0.08)
        set_log_scale(one, "x")
    axes[0].legend()
    return figure
