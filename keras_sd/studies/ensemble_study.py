"""The implicit ensemble: single sub-networks, averages of M of them, the scaled pass, and their paths."""

import numpy as np

from keras_sd import analysis, schedules
from keras_sd.studies.lab import Laboratory, examined, four
from keras_sd.studies.outcome import Outcome, by, errors_of, is_stochastic, summed_up
from keras_sd.utils.plotting import colors, panels

_PATH_EXAMPLES = 32


def run(lab: Laboratory) -> Outcome:
    """Measure error and calibration of averages over sampled sub-networks, and gradients by path length."""
    draws = lab.options.pick("draws", quick=16, digits=128, other=32)

    def examine(subject, count):
        key = [subject.digest, subject.dataset.describe(), count, draws, lab.options.seed]
        found = lab.cache.get("ensemble", key, lambda: _sample(lab, subject, count, draws))
        return found + lab.cache.get("path_lengths", key, lambda: _paths(lab, subject, min(draws, 16)))

    networks = four(20, 22)[1:3] if lab.options.quick else four(32, 40)[1:3]
    rows = examined(lab, networks, examine)
    numbers = summed_up(rows, _summary)
    return Outcome(rows, _draw(rows), errors_of(numbers, _sentence), _holds(numbers), numbers)


def _survival(networks):
    """Return the probabilities to draw sub-networks with: as in training, or linear to 0.5 for constant depth."""
    p = [block.survival_probability for block in networks.blocks]
    p = p if min(p) < 1 else schedules.linear(len(p), 0.5)
    return [q if block.removable else 1.0 for q, block in zip(p, networks.blocks)]


def _sample(lab, subject, count, draws):
    x, y = subject.examples("test", count)
    networks = analysis.SubNetworks(subject.model)
    survival = _survival(networks)
    rows = [_row("scaled", 0, networks.predict(x), y)]
    gates = analysis.draw_gates(survival, draws, lab.options.seed)
    gates = gates * np.array([block.survivor_gate for block in networks.blocks], "float32")
    singles = []

    def predictions():
        for number, pattern in enumerate(lab.track(gates, f"{subject.label}: {draws} sub-networks"), 1):
            probabilities = networks.predict(x, pattern)
            singles.append({**_row("single", number, probabilities, y), "blocks": int((pattern != 0).sum())})
            yield probabilities

    sizes = [m for m in (1, 2, 4, 8, 16, 32, 64, 128, 256) if m <= draws]
    rows += [_row("average", size, mean, y) for size, mean in analysis.running_means(predictions(), sizes)]
    return rows + singles


def _row(kind, number, probabilities, y):
    error = 100 * analysis.error(probabilities, y)
    return {
        "kind": kind,
        "number": number,
        "error": error,
        "calibration_error": 100 * analysis.calibration_error(probabilities, y),
    }


def _paths(lab, subject, draws):
    """Return the fraction of paths of each length and gradient norms along some, for residual networks only."""
    blocks = analysis.blocks(subject.model)
    if {block.kind for block in blocks} != {"residual"}:
        return []
    depth = len(blocks)
    x, y = subject.examples("train", _PATH_EXAMPLES)
    gradients = analysis.PathGradients(subject.model)
    fractions = analysis.path_lengths(depth)
    lengths = sorted({round(k) for k in np.linspace(0, depth, 16)})
    rows = []
    for k in lab.track(lengths, f"{subject.label}: gradients along paths"):
        norms = gradients.by_length(x, y, [k], draws, lab.options.seed)[0]
        rows.append({"kind": "path", "number": k, "fraction": float(fractions[k]), "gradient": float(norms.mean())})
    return rows


def _summary(rows):
    kinds = by(rows, "kind")
    scaled, average = kinds["scaled"][0], kinds["average"][-1]
    found = {
        "members": average["number"],
        "single_error": float(np.mean([row["error"] for row in kinds["single"]])),
        "average_error": average["error"],
        "scaled_error": scaled["error"],
        "average_calibration_error": average["calibration_error"],
        "scaled_calibration_error": scaled["calibration_error"],
    }
    if "path" in kinds:
        k, weight = (np.array([row[c] for row in kinds["path"]]) for c in ("number", "gradient"))
        # Lengths in between are interpolated in the logarithm; each path is weighted by its gradient.
        every = np.arange(k[-1] + 1)
        weight = np.exp(np.interp(every, k, np.log(np.maximum(weight, 1e-30))))
        weight = weight * analysis.path_lengths(int(k[-1]))
        found |= {"blocks": int(k[-1]), "mean_length_by_gradient": float(every @ weight / weight.sum())}
    return found


def _sentence(found):
    sentence = (
        f"single sub-networks {found['single_error']:.1f} %, average of {found['members']} "
        f"{found['average_error']:.1f} %, scaled pass {found['scaled_error']:.1f} % (calibration errors of the "
        f"last two {found['average_calibration_error']:.1f} and {found['scaled_calibration_error']:.1f} %)"
    )
    if "blocks" in found:
        sentence += (
            f", and the gradient flows along paths of {found['mean_length_by_gradient']:.1f} of {found['blocks']} "
            f"blocks on average, while the mean path has {found['blocks'] / 2:g}"
        )
    return sentence


def _holds(numbers):
    """Return whether the criterion of `STUDIES` is met; `None` if inconclusive."""
    trained = [found for label, found in numbers.items() if is_stochastic(label)]
    if not trained:
        return None
    return all(
        found["average_error"] < found["single_error"] and abs(found["scaled_error"] - found["average_error"]) <= 1
        for found in trained
    )


def _draw(rows):
    figure, (error, calibration, singles, paths) = panels(2, 2, "The implicit ensemble")
    twin = paths.twinx()
    networks = by(rows, "network")
    color_of = colors(networks)
    for label, group in networks.items():
        color, kinds = color_of[label], by(group, "kind")
        for axes, column in ((error, "error"), (calibration, "calibration_error")):
            axes.semilogx(
                [row["number"] for row in kinds["average"]],
                [row[column] for row in kinds["average"]],
                "o-",
                base=2,
                color=color,
                label=label,
            )
            axes.axhline(kinds["scaled"][0][column], color=color, linestyle="--", linewidth=1)
        single = kinds["single"]
        singles.plot([r["blocks"] for r in single], [r["error"] for r in single], ".", color=color, alpha=0.6)
        if "path" in kinds:
            k = [row["number"] for row in kinds["path"]]
            paths.semilogy(k, [max(row["gradient"], 1e-12) for row in kinds["path"]], ".-", color=color)
            fractions = analysis.path_lengths(max(k))
            twin.fill_between(range(len(fractions)), fractions, color="gray", alpha=0.15, linewidth=0)
    for axes, label in ((error, "error (%)"), (calibration, "calibration error (%)")):
        axes.set(xlabel="sub-networks averaged", ylabel=label, ylim=(0, None))
    error.legend(fontsize=8, title="dashed: scaled single pass", title_fontsize=8)
    singles.set(xlabel="blocks of a single sub-network", ylabel="error (%)", ylim=(0, None))
    paths.set(xlabel="blocks on a path", ylabel="gradient along a path (norm)")
    twin.set_ylabel("fraction of the paths (gray)")
    twin.set_ylim(0, None)
    return figure
