"""Learning rate schedules."""

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from keras_sd.training.config import TrainConfig

HEAD_FACTOR = 10  # multiplies the learning rate while only the classifier is trained


@keras.saving.register_keras_serializable(package="keras_sd")
class StepSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises in a warm-up and falls in steps.

    In step number `s`, counted from 0, it is `learning_rate * factor**k` after `k` of the milestones
    (`s >= milestone * total_steps`), and `(s + 1) / warmup_steps` of it while `s < warmup_steps`.

    Args:
        learning_rate: Float, the rate after the warm-up.
        total_steps: Integer, number of steps of the whole training.
        milestones: Increasing fractions in (0, 1).
        factor: Float.
        warmup_steps: Integer.

    Reference:
        He et al. 2016, section 4.2: very deep networks do not start to converge without a smaller initial rate.
    """

    def __init__(
        self,
        learning_rate: float,
        total_steps: int,
        milestones: Iterable[float] = (0.5, 0.75),
        factor: float = 0.1,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.total_steps = total_steps
        self.milestones = tuple(milestones)
        self.factor = factor
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rate = self.learning_rate * ops.minimum(1.0, (step + 1) / max(1, self.warmup_steps))
        for milestone in self.milestones:
            rate = ops.where(step < round(milestone * self.total_steps), rate, rate * self.factor)
        return rate

    def get_config(self) -> dict[str, Any]:
        names = ("learning_rate", "total_steps", "milestones", "factor", "warmup_steps")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="keras_sd")
class OneCycleSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly to its peak, and falls linearly to 0.

    In step number `s`, counted from 0, it is `learning_rate` times the smaller of two lines: one from `start` at
    step 0 to 1 at `warmup_steps`, the other from 1 there to 0 at `total_steps`, which is one step after the last.

    Args:
        learning_rate: Float, the peak.
        total_steps: Integer, number of steps of the whole training.
        warmup_steps: Integer, at least 0 and below `total_steps`.
        start: Float, initial rate as a fraction of the peak.

    Reference:
        [Smith and Topin, 2018](https://arxiv.org/abs/1708.07120)
    """

    def __init__(self, learning_rate: float, total_steps: int, warmup_steps: int, start: float = 0.04) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.start = start

    def __call__(self, step):
        step = ops.cast(step, "float32")
        up = self.start + (1 - self.start) * step / max(1, self.warmup_steps) if self.warmup_steps else 1.0
        down = (self.total_steps - step) / (self.total_steps - self.warmup_steps)
        return self.learning_rate * ops.maximum(0.0, ops.minimum(up, down))

    def get_config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("learning_rate", "total_steps", "warmup_steps", "start")}


@keras.saving.register_keras_serializable(package="keras_sd")
class HeadFirstSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A constant learning rate while only a new classifier is trained, followed by another schedule.

    Args:
        rate: Float, the constant rate.
        steps: Integer, number of steps with this rate.
        then: A `keras.optimizers.schedules.LearningRateSchedule`, which starts at its step 0 afterwards.
    """

    def __init__(self, rate: float, steps: int, then: keras.optimizers.schedules.LearningRateSchedule) -> None:
        super().__init__()
        self.rate = rate
        self.steps = steps
        self.then = then

    def __call__(self, step):
        step = ops.cast(step, "float32")
        return ops.where(step < self.steps, self.rate, self.then(ops.maximum(step - self.steps, 0.0)))

    def get_config(self) -> dict[str, Any]:
        then = keras.optimizers.schedules.serialize(self.then)
        return {"rate": self.rate, "steps": self.steps, "then": then}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "HeadFirstSchedule":
        return cls(**config | {"then": keras.optimizers.schedules.deserialize(config["then"])})


def learning_rates(config: TrainConfig, total_steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return the schedule of a configuration.

    Args:
        config: A `TrainConfig`.
        total_steps: Integer, number of steps of the whole training.

    Returns:
        A `keras.optimizers.schedules.LearningRateSchedule`.
    """
    steps_per_epoch = total_steps // config.epochs
    head_steps = config.head_only_epochs * steps_per_epoch
    then = _after_head(config, total_steps - head_steps, steps_per_epoch)
    return HeadFirstSchedule(HEAD_FACTOR * config.learning_rate, head_steps, then) if head_steps else then


def _after_head(config, total_steps, steps_per_epoch):
    """Return the schedule of the steps that train all unfrozen layers."""
    rate = config.learning_rate
    fraction = config.warmup_fraction * total_steps
    warmup = config.warmup_steps or round(fraction or config.warmup_epochs * steps_per_epoch)
    warmup = min(warmup, total_steps - 1)
    if config.learning_rate_schedule == "step":
        return StepSchedule(rate, total_steps, config.milestones, warmup_steps=warmup)
    if config.learning_rate_schedule == "one_cycle":
        return OneCycleSchedule(rate, total_steps, warmup)
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(rate, total_steps)
    # The warm-up starts at a hundredth of the rate: with 0 the first step would have no effect.
    return keras.optimizers.schedules.CosineDecay(
        rate / 100, total_steps - warmup, warmup_target=rate, warmup_steps=warmup
    )
