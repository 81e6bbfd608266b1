"""What determines a run: recipes by data set, and the configuration that they resolve to."""

import dataclasses
import math

from keras_sd.suggest import unknown

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16", "bfloat16", "float16", "float64")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything that a run needs to be repeated on the same data.

    Args:
        model: Name of a model of `keras_sd.applications`.
        data: Name of a data set of `keras_sd.data`.
        epochs: Integer, passes over the training part.
        batch_size: Integer, images in a step.
        learning_rate: Float, at the start.
        survival_probability: Float in (0, 1], of the last block; 1 is constant depth.
        survival_schedule: "linear", "uniform", or a tuple of floats, one for each block.
        momentum: Float in [0, 1], Nesterov's.
        l2: Float, weight decay as an L2 penalty's gradient.
        milestones: Tuple of rising fractions of the training after which the learning rate is divided by 10.
        warmup_steps: Integer, steps in which the learning rate rises to its full value.
        loss: Name of a loss that Keras knows, of labels and the model's outputs.
        policy: Name of a Keras dtype policy.
        seed: Integer in [0, 2**32): weights, order, augmentation and gates follow from it.
        data_dir: Directory of TensorFlow Datasets, `None` for its own.

    Raises:
        ValueError: for a value outside its range.
    """

    model: str
    data: str
    epochs: int
    batch_size: int
    learning_rate: float
    survival_probability: float = 0.5
    survival_schedule: str | tuple[float, ...] = "linear"
    momentum: float = 0.9
    l2: float = 1e-4
    milestones: tuple[float, ...] = (0.5, 0.75)
    warmup_steps: int = 0
    loss: str = "sparse_categorical_crossentropy"
    policy: str = "float32"
    seed: int = 0
    data_dir: str | None = None

    def __post_init__(self):
        _require(self, "epochs", _whole(self.epochs, 1), "a whole number of at least 1")
        _require(self, "batch_size", _whole(self.batch_size, 1), "a whole number of at least 1")
        _require(self, "learning_rate", _number(self.learning_rate) and self.learning_rate > 0, "above 0")
        survival = self.survival_probability
        _require(self, "survival_probability", _number(survival) and 0 < survival <= 1, "in (0, 1]")
        _require(self, "momentum", _number(self.momentum) and 0 <= self.momentum <= 1, "in [0, 1]")
        _require(self, "l2", _number(self.l2) and self.l2 >= 0, "a number of at least 0")
        rising = list(self.milestones) == sorted(set(self.milestones))
        _require(self, "milestones", rising and all(0 < m < 1 for m in self.milestones), "rising, in (0, 1)")
        _require(self, "warmup_steps", _whole(self.warmup_steps, 0), "a whole number of at least 0")
        _require(self, "policy", self.policy in POLICIES, f"one of {', '.join(POLICIES)}")
        _require(self, "seed", _whole(self.seed, 0) and self.seed < 2**32, "a whole number in [0, 2**32)")

    @classmethod
    def from_dict(cls, values):
        """The configuration of a dictionary that came from JSON, where tuples are lists."""
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def _whole(value, least):
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require(config, name, holds, allowed):
    if not holds:
        raise ValueError(f"{name} is {getattr(config, name)!r}; it must be {allowed}")


# What a run takes where nothing else is said, by data set.
RECIPES = {
    "digits": TrainConfig(model="ResNet20", data="digits", epochs=40, batch_size=64, learning_rate=0.1),
    # Huang et al. 2016, section 4: 500 epochs of 128 images, learning rate 0.1, linear decay to 0.5. The warm-up has
    # the length of that of He et al. 2016, section 4.2: without one the first epoch is lost (ResNet-56: 0.13 against
    # 0.44 on validation images after one epoch).
    "cifar10": TrainConfig(
        model="ResNet110", data="cifar10", epochs=500, batch_size=128, learning_rate=0.1, warmup_steps=400
    ),
}


def resolve(data="digits", **overrides):
    """The configuration of a run: the data set's recipe, with what was asked for in place of it.

    Args:
        data: Name of a data set that has a recipe.
        **overrides: Fields of `TrainConfig`; `None` leaves the recipe's value.

    Returns:
        A `TrainConfig`.

    Raises:
        ValueError: where the data set has no recipe, or a value is outside its range.
    """
    if data not in RECIPES:
        raise unknown("data", data, RECIPES)
    given = {name: value for name, value in overrides.items() if value is not None}
    return dataclasses.replace(RECIPES[data], **given)
