"""Regularization by stochastic depth: test error at equal epochs of networks that overfit."""

import itertools
from collections.abc import Sequence
from typing import Any

from keras_sd.studies.lab import Laboratory, Network
from keras_sd.studies.outcome import Outcome, Spread, by, error_bars, mean_curve, over, spread
from keras_sd.utils.plotting import PALETTE, panels, set_log_scale

# As in He et al. 2016, section 4.2, on CIFAR-10, with the learning rate for batches of 64 images.
_TRAINING = {
    "learning_rate": 0.05,
    "learning_rate_schedule": "step",
    "milestones": (0.5, 0.75),
    "warmup_fraction": 0.0,
    "warmup_steps": 0,
    "l2": 1e-4,
    "ema_momentum": None,
    "recalibrate": False,
}
# Test errors in percent of ResNet-110 on all of CIFAR-10, not augmented: Huang et al. 2017, table 2.
PUBLISHED = {1.0: 13.63, 0.5: 11.66}


def run(lab: Laboratory) -> Outcome:
    """Train networks that differ only in survival probability, on few images, plain and augmented."""
    options = lab.options
    depth = 8 if options.quick else 32
    survival = (1.0, 0.5) if options.quick else (1.0, 0.8, 0.5, 0.3)
    augmentations = {"plain": ()} if options.quick else {"plain": (), "augmented": None}
    epochs = options.pick("epochs", quick=3, digits=60, other=100)
    images = options.pick("training_images", quick=200, digits=200, other=5000)
    rows, curves = [], {}
    for (kind, augmentation), p, seed in itertools.product(augmentations.items(), survival, lab.seeds):
        sizes = {"training_images": images, "batch_size": min(64, images)}
        changes = {**_TRAINING, **sizes, "augmentation": augmentation}
        trained = lab.train(Network(f"{kind} p {p:g}", "ResNet", {"depth": depth}, p, changes), epochs, seed=seed)
        history = trained.history()
        curves[kind, p, seed] = history
        rows.append(
            {
                "images": kind,
                "survival_probability": p,
                "seed": seed,
                "epochs": epochs,
                "training_images": images,
                "training_loss": history[-1]["loss"],
                "test_error": 100 * (1 - trained.folder.outcome().get("test_accuracy_final", float("nan"))),
            }
        )
    numbers = summary(rows)
    title = f"ResNet-{depth}, {images:,} training images of {options.data}, {epochs} epochs"
    return Outcome(rows, _draw(numbers, curves, title), _sentence(numbers, lab.seeds), _holds(numbers), numbers)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Spread]]:
    """Return the spread of the test error over seeds, in percent.

    Args:
        rows: Dictionaries with `images`, `survival_probability`, `test_error`.

    Returns:
        Dictionary from the kind of images, then from the survival probability as text, to a `Spread`.
    """
    return {
        kind: {
            f"{p:g}": spread(row["test_error"] for row in group)
            for p, group in by(of_kind, "survival_probability").items()
        }
        for kind, of_kind in by(rows, "images").items()
    }


def _sentence(numbers, seeds):
    def listed(of_kind):
        return ", ".join(f"p_L {p}: {errors}" for p, errors in of_kind.items())

    parts = [f"{kind} images: {listed(of_kind)}" for kind, of_kind in numbers.items()]
    return (
        f"Test errors ({over(seeds)}), {'; '.join(parts)}. Published for ResNet-110 on all of CIFAR-10, plain: "
        f"{PUBLISHED[1.0]} % at constant depth, {PUBLISHED[0.5]} % with p_L 0.5 (Huang et al. 2017, table 2)."
    )


def _holds(numbers):
    """Return whether the criterion of `STUDIES` is met; `None` if inconclusive."""
    constant, half = (numbers["plain"].get(p) for p in ("1", "0.5"))
    if not constant or not half or min(constant.seeds, half.seeds) < 3:
        return None
    return constant.mean - half.mean > max(constant.std, half.std)


def _draw(numbers, curves, title):
    figure, (by_survival, loss, error) = panels(1, 3, title)
    color = iter(PALETTE)
    for kind, of_kind in numbers.items():
        p = [float(name) for name in of_kind]
        means, bars = [errors.mean for errors in of_kind.values()], error_bars(of_kind.values())
        by_survival.errorbar(p, means, bars, fmt="o-", capsize=3, color=next(color), label=kind)
    by_survival.set(xlabel="survival probability of the last block", ylabel="test error (%)", title="After training")
    by_survival.legend()
    plain = {(p, seed): history for (kind, p, seed), history in curves.items() if kind == "plain"}
    for number, p in enumerate(dict.fromkeys(p for p, _ in plain)):
        histories = [history for (of, _), history in plain.items() if of == p]
        for axes, value in ((loss, _loss), (error, _validation_error)):
            axes.plot(*mean_curve(histories, value), color=PALETTE[number], label=f"p {p:g}")
    for axes in (loss, error):
        axes.xaxis.get_major_locator().set_params(integer=True)
    loss.set(xlabel="epoch", ylabel="training loss", title="Plain images")
    set_log_scale(loss, "y")
    error.set(xlabel="epoch", ylabel="validation error (%)", title="Plain images")
    error.legend()
    return figure


def _loss(row):
    return row["loss"]


def _validation_error(row):
    return 100 * (1 - row["val_accuracy"])
