"""The optimiser of the papers, and its learning rate."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_sd")
class SGD(keras.optimizers.SGD):
    """Nesterov momentum with weight decay as an L2 penalty's gradient.

    The gradient that enters the momentum is `g + l2 * w`, for every trainable variable, biases and
    normalisation included, and also for blocks that a step dropped: the papers make no exceptions. Keras's
    `weight_decay` is another thing: it shrinks weights apart from the gradient, and passes the momentum by.
    The penalty does not appear in the reported loss. Clipping and loss scaling apply to `g` alone.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`.
        momentum: Float in [0, 1].
        nesterov: Boolean.
        l2: Float, at least 0: weight decay.
        **kwargs: As in `keras.optimizers.SGD`.

    Raises:
        ValueError: where `l2` is not a number of at least 0.

    Reference:
        He et al. 2016, section 4.2; Huang et al. 2016, section 4; Huang et al. 2017, section 4.2.
    """

    def __init__(self, learning_rate=0.1, momentum=0.9, nesterov=True, l2=1e-4, **kwargs):
        if not isinstance(l2, int | float) or not 0 <= l2 < float("inf"):
            raise ValueError(f"l2 is {l2!r}; it must be a number of at least 0")
        super().__init__(learning_rate=learning_rate, momentum=momentum, nesterov=nesterov, **kwargs)
        self.l2 = float(l2)

    def update_step(self, gradient, variable, learning_rate):
        if self.l2:
            # A stack's gradient covers its survivors (IndexedSlices); the sum is dense, so that all decay.
            decay = ops.multiply(variable, ops.cast(self.l2, variable.dtype))
            gradient = ops.add(ops.cast(gradient, variable.dtype), decay)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        return {**super().get_config(), "l2": self.l2}


@keras.saving.register_keras_serializable(package="keras_sd")
class StepSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises in a warm-up and falls in steps.

    In step number `s`, counted from 0, it is `learning_rate * factor**k` after `k` of the milestones
    (`s >= milestone * total_steps`), and `(s + 1) / warmup_steps` of it while `s < warmup_steps`.

    Args:
        learning_rate: Float, the rate after the warm-up.
        total_steps: Integer, number of steps of the whole training.
        milestones: Rising fractions in (0, 1).
        factor: Float.
        warmup_steps: Integer.

    Reference:
        He et al. 2016, section 4.2: without a smaller rate at the start, very deep networks do not start converging.
    """

    def __init__(self, learning_rate, total_steps, milestones=(0.5, 0.75), factor=0.1, warmup_steps=0):
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

    def get_config(self):
        names = ("learning_rate", "total_steps", "milestones", "factor", "warmup_steps")
        return {name: getattr(self, name) for name in names}
