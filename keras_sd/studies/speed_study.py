"""Time saved by stochastic depth: epoch time against the survival probability of the last block."""

import gc
import time

import numpy as np

from keras_sd import analysis
from keras_sd.runs.networks import build
from keras_sd.schedules import expected_depth
from keras_sd.studies.lab import Laboratory, Network
from keras_sd.studies.outcome import Outcome
from keras_sd.training import compile_model
from keras_sd.training.run_folder import environment
from keras_sd.utils.plotting import colors, panels
from keras_sd.utils.tensors import of_engine

_STEPS = 5  # per turn


def run(lab: Laboratory) -> Outcome:
    """Measure training steps at several survival probabilities, in alternating turns."""
    depth = 20 if lab.options.quick else 110
    rounds = lab.options.pick("draws", quick=4, digits=12, other=8)
    survival = (1.0, 0.5) if lab.options.quick else (1.0, 0.8, 0.5, 0.2)
    networks = [Network(f"p {p:g}", "ResNet", {"depth": depth}, p) for p in survival]
    key = [depth, survival, rounds, lab.options.policy, lab.dataset.describe(), environment()]
    times = lab.cache.get("step-seconds", key, lambda: _measure(lab, networks, rounds))
    rows = []
    for network, turns in zip(networks, times):
        model = build(lab.config(network, 1), lab.dataset)
        probabilities = [block.survival_probability for block in analysis.blocks(model)]
        fraction = analysis.flops(model, expected=True) / analysis.flops(model)
        seconds = float(np.median(turns))
        rows.append(
            {
                "survival_probability": network.survival_probability,
                "expected_blocks": expected_depth(probabilities),
                "blocks": len(probabilities),
                "expected_saving": 100 * (1 - fraction),
                "measured_saving": 100 * (1 - seconds / float(np.median(times[0]))),
                "step_seconds": seconds,
                "epoch_seconds": seconds * lab.dataset.steps_per_epoch(lab.config(network, 1).batch_size),
            }
        )
    half = next(row for row in rows if row["survival_probability"] == 0.5)
    finding = (
        f"With p_L = 0.5, {half['expected_blocks']:.1f} of {half['blocks']} blocks survive on average, which saves "
        f"{half['expected_saving']:.1f} % of the operations; the measured epoch is {half['measured_saving']:.1f} % "
        f"shorter ({rows[0]['epoch_seconds']:.1f} s at constant depth, {half['epoch_seconds']:.1f} s)."
    )
    return Outcome(rows, _draw(rows, times, depth), finding, bool(half["measured_saving"] >= 20), half)


def _measure(lab, networks, rounds):
    """Return the seconds of a step: for each network, a list of means over the steps of a turn."""
    contestants = []
    for network in networks:
        config = lab.config(network, 1)
        model = build(config, lab.dataset)
        compile_model(model, config, 1000)
        batches = map(of_engine, lab.dataset.training_batches(config.batch_size, config.seed))
        for _ in range(_STEPS):  # trace, compile, and fill caches
            model.train_on_batch(*next(batches))
        contestants.append((model, batches))
    times = [[] for _ in networks]
    for _ in lab.track(range(rounds), f"measuring {rounds} turns of {_STEPS} steps for each of {len(networks)}"):
        for (model, batches), found in zip(contestants, times):
            drawn = [next(batches) for _ in range(_STEPS)]
            gc.collect()
            start = time.perf_counter()
            for batch in drawn:
                model.train_on_batch(*batch)
            found.append((time.perf_counter() - start) / _STEPS)
    return times


def _draw(rows, times, depth):
    figure, (axes,) = panels(1, 1, f"Time of training, ResNet-{depth}", (6.4, 4.4))
    p = [row["survival_probability"] for row in rows]
    base = rows[0]["step_seconds"]
    axes.plot(p, [100 - row["expected_saving"] for row in rows], "k--", label="expected from the schedule")
    measured, color = [100 - row["measured_saving"] for row in rows], colors(["stochastic"])["stochastic"]
    axes.plot(p, measured, "o-", color=color, label="measured, median of turns (marks)")
    for survival, turns in zip(p, times):
        axes.plot([survival] * len(turns), [100 * t / base for t in turns], "_", color=color, alpha=0.4)
    axes.set(xlabel="survival probability of the last block", ylabel="time, constant depth = 100 (%)")
    axes.set_ylim(0, 1.3 * max(measured))  # single slow turns would flatten the curve
    axes.legend()
    return figure
