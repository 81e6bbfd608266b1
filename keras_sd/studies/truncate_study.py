"""Truncated networks: error against the number of blocks kept."""

import dataclasses
import gc

import numpy as np

from keras_sd import analysis
from keras_sd.models.fold import fold
from keras_sd.studies.lab import Laboratory, examined, four
from keras_sd.studies.outcome import Outcome, by, errors_of, is_stochastic, summed_up
from keras_sd.utils.checks import refusal
from keras_sd.utils.plotting import colors, panels

_POINTS = 10


def run(lab: Laboratory) -> Outcome:
    """Remove blocks, evenly over the stages and from each stage's end."""

    def examine(subject, count):
        key = [subject.digest, subject.dataset.describe(), count]
        # Not "truncate": what is cached under that name is of networks whose branches were not scaled up.
        return lab.cache.get("truncated", key, lambda: _measure(lab, subject, count))

    constant, linear = four(20, 22)[1:3] if lab.options.quick else four(32, 40)[1:3]
    # Half of the blocks in each step on average, as many as are then removed (LayerDrop, Fan et al. 2020).
    changes = {"survival_schedule": "uniform"}
    uniform = dataclasses.replace(linear, label=f"{linear.label} uniform", changes=changes)
    networks = [constant, linear, uniform]
    rows = examined(lab, networks, examine)
    numbers = summed_up(rows, _summary)
    return Outcome(rows, _draw(rows), errors_of(numbers, _sentence), _holds(numbers), numbers)


def _measure(lab, subject, count):
    blocks = analysis.blocks(subject.model)
    if {block.kind for block in blocks} != {"residual"}:
        raise refusal("model", "a residual network, whose blocks can be removed", subject.label)
    x, y = subject.examples("test", count)
    least = sum(not block.keeps_shape for block in blocks)
    depths = sorted({round(d) for d in np.linspace(least, len(blocks), _POINTS)})
    rows = []
    for depth in lab.track(depths, f"{subject.label}: removing blocks"):
        model = fold(subject.model, depth=depth)
        error = 100 * analysis.error(model.predict(x, batch_size=256, verbose=0), y)
        rows.append({"blocks": depth, "flops": analysis.flops(model), "error": error})
        del model
        gc.collect()
    return rows


def _summary(rows):
    whole = rows[-1]
    enough = next(row for row in rows if row["error"] <= whole["error"] + 2)
    half = min(rows, key=lambda row: abs(row["blocks"] - whole["blocks"] / 2))
    return {
        "blocks": whole["blocks"],
        "error": whole["error"],
        "half_blocks": half["blocks"],
        "error_with_half": half["error"],
        "enough_blocks": enough["blocks"],
        "flops_saved": 100 * (1 - enough["flops"] / whole["flops"]),
    }


def _sentence(found):
    return (
        f"{found['error']:.1f} % with all {found['blocks']} blocks, {found['error_with_half']:.1f} % with "
        f"{found['half_blocks']}, and {found['enough_blocks']} blocks are enough to stay within 2 points, which saves "
        f"{found['flops_saved']:.0f} % of the operations"
    )


def _holds(numbers):
    """Return whether the criterion of `STUDIES` is met; `None` if inconclusive."""

    def loss(found):
        return found["error_with_half"] - found["error"]

    constant = [found for label, found in numbers.items() if not is_stochastic(label)]
    stochastic = [found for label, found in numbers.items() if is_stochastic(label)]
    if not constant or not stochastic:
        return None
    least = min(map(loss, constant))
    return any(found["error_with_half"] < 50 and loss(found) < least for found in stochastic)


def _draw(rows):
    figure, (by_blocks, by_flops) = panels(1, 2, "Truncated networks")
    networks = by(rows, "network")
    color = colors(networks)
    for label, group in networks.items():
        error = [row["error"] for row in group]
        by_blocks.plot([row["blocks"] for row in group], error, "o-", color=color[label], label=label)
        by_flops.plot([row["flops"] / 1e6 for row in group], error, "o-", color=color[label], label=label)
    by_blocks.set(xlabel="residual blocks kept", ylabel="error (%)", ylim=(0, None))
    by_flops.set(xlabel="operations of an image (MFLOP)", ylim=(0, None))
    by_blocks.legend()
    return figure
