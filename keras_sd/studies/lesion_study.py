"""Importance of blocks: the error when they are deleted or exchanged."""

import numpy as np

from keras_sd import analysis
from keras_sd.studies.lab import Laboratory, examined, four
from keras_sd.studies.outcome import Outcome, by, errors_of, summed_up
from keras_sd.utils.plotting import colors, panels


def run(lab: Laboratory) -> Outcome:
    """Delete each block, delete k random blocks, and exchange pairs of blocks of each network."""
    draws = lab.options.pick("draws", quick=3, digits=20, other=5)

    def examine(subject, count):
        key = [subject.digest, subject.dataset.describe(), count, draws, lab.options.seed]
        return lab.cache.get("lesion", key, lambda: _measure(lab, subject, count, draws))

    rows = examined(lab, four(20, 22) if lab.options.quick else four(32, 40), examine)
    numbers = summed_up(rows, _summary)
    return Outcome(rows, _draw(rows), errors_of(numbers, _sentence), _holds(numbers), numbers)


def _measure(lab, subject, count, draws):
    x, y = subject.examples("test", count)
    networks = analysis.SubNetworks(subject.model)

    def row(kind, what, number, gates=None):
        error = 100 * networks.error(x, y, gates)
        return {"kind": kind, "what": what, "number": number, "error": error}

    rows = [row("whole", "", 0)]
    for block, gates in lab.track(analysis.deletions(networks), f"{subject.label}: deleting each block"):
        position = networks.blocks.index(block) + 1
        rows.append(
            {**row("delete", block.name, position, gates), "block": block.kind, "keeps_shape": block.keeps_shape}
        )
    pool = sum(b.keeps_shape and b.removable for b in networks.blocks)
    sizes = sorted({round(fraction * pool) for fraction in np.linspace(0.1, 1, 8)} - {0})
    for size in lab.track(sizes, f"{subject.label}: deleting random blocks"):
        drawn = analysis.random_deletions(networks, size, draws, lab.options.seed)
        rows += [row("random", f"draw {i + 1}", size, gates) for i, gates in enumerate(drawn)]
    pairs = analysis.exchangeable(networks.blocks)
    for number, chosen in lab.track(_exchanges(pairs, draws, lab.options.seed), f"{subject.label}: exchanging"):
        with analysis.swapped(*chosen):
            rows.append(row("exchange", f"{chosen[0].name} {chosen[1].name}", number))
    return rows


def _exchanges(pairs, draws, seed):
    """Return pairs to exchange, each with its distance in blocks: at most `draws` of each distance."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    chosen = {}
    for i in order:
        distance = abs(_number(pairs[i][1]) - _number(pairs[i][0]))
        if len(chosen.setdefault(distance, [])) < draws:
            chosen[distance].append((distance, pairs[i]))
    return [pair for distance in sorted(chosen) for pair in chosen[distance]]


def _number(block):
    """Return a block's number in its stage."""
    return int("".join(c for c in block.name.rsplit("_block", 1)[1].split("_")[0] if c.isdigit()))


def _summary(rows):
    whole = rows[0]["error"]
    single = [row["error"] - whole for row in rows if row["kind"] == "delete"]
    kept = [row["error"] - whole for row in rows if row["kind"] == "delete" and row["keeps_shape"]]
    swaps = [row["error"] - whole for row in rows if row["kind"] == "exchange"]
    return {
        "blocks": next(row["block"] for row in rows if row["kind"] == "delete"),
        "error": whole,
        "median_after_one_deletion": whole + float(np.median(single)),
        "worst_after_one_deletion": whole + max(single),
        "median_rise_keeping_shape": float(np.median(kept)) if kept else float("inf"),
        "median_rise_after_exchange": float(np.median(swaps)) if swaps else None,
    }


def _sentence(found):
    sentence = (
        f"{found['error']:.1f} % whole, {found['median_after_one_deletion']:.1f} % (median) and "
        f"{found['worst_after_one_deletion']:.1f} % (worst) without one block"
    )
    if found["median_rise_after_exchange"] is not None:
        sentence += f", {found['error'] + found['median_rise_after_exchange']:.1f} % (median) with two exchanged"
    return sentence


def _holds(numbers):
    """Return whether the criterion of `STUDIES` is met; `None` if inconclusive."""
    rises = {"plain": [], "residual": [], "dense": []}
    for found in numbers.values():
        rises[found["blocks"]].append(found["median_rise_keeping_shape"])
    if not rises["residual"]:
        return None
    most = max(rises["residual"])
    return most < 5 and all(rise > most for rise in rises["plain"])


def _draw(rows):
    figure, (single, several, exchanged) = panels(1, 3, "Lesions: the error without some blocks")
    networks = by(rows, "network")
    color_of = colors(networks)
    for label, group in networks.items():
        color = color_of[label]
        whole = group[0]["error"]
        deleted = [row for row in group if row["kind"] == "delete"]
        most = max(row["number"] for row in deleted)
        single.plot(
            [r["number"] / most for r in deleted], [r["error"] for r in deleted], ".-", color=color, label=label
        )
        single.axhline(whole, color=color, linestyle=":", linewidth=1)
        for axes, kind in ((several, "random"), (exchanged, "exchange")):
            points = by([row for row in group if row["kind"] == kind], "number")
            if points:
                means = [np.mean([row["error"] for row in found]) for found in points.values()]
                x = list(points)
                places = [k / max(x) for k in x] if kind == "random" else x
                start = [0.0, *places], [whole, *means]
                axes.plot(*start, ".-", color=color)
    single.set(xlabel="deleted block (fraction of the depth)", ylabel="error (%)", title="one block deleted")
    several.set(xlabel="fraction of the blocks that keep the shape", title="random blocks deleted (mean)")
    exchanged.set(xlabel="distance of the exchanged blocks", title="two blocks exchanged (mean)")
    exchanged.xaxis.get_major_locator().set_params(integer=True)
    for axes in (single, several, exchanged):
        axes.set_ylim(0, 100)
    # The curves leave this corner free.
    lines = single.get_legend_handles_labels()
    several.legend(*lines, loc="lower right", fontsize=8, title="dotted: whole network", title_fontsize=8)
    return figure
