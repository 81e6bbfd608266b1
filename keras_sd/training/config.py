"""The configuration of a run."""

import dataclasses
import math
from typing import Any, Self

from keras_sd.utils.checks import check_type, refusal
from keras_sd.utils.names import unknown

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16", "bfloat16", "float16", "float64")
SURVIVAL_SCHEDULES = ("linear", "uniform")
LEARNING_RATE_SCHEDULES = ("step", "cosine", "one_cycle")
OPTIMIZERS = ("sgd", "lamb")
WARMUPS = ("warmup_steps", "warmup_fraction", "warmup_epochs")
PREPROCESSINGS = ("data", "weights")
# Losses that accept labels with fractions of classes; only the first supports label smoothing.
_SOFT_LOSSES = ("sparse_categorical_crossentropy", "keras_sd>one_versus_rest")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """All settings needed to repeat a run on the same data.

    Args:
        model: Name of a model of `keras_sd.applications`.
        data: Name of a data set of `keras_sd.data`.
        epochs: Integer, passes over the training split.
        batch_size: Integer, images per step.
        steps_per_epoch: Integer, steps per epoch and batches per evaluation; `None` for all.
        learning_rate: Float, the learning rate at the start, or after the warm-up if there is one.
        survival_probability: Float in (0, 1], that of the last block; 1 is constant depth.
        survival_schedule: "linear", "uniform", or a tuple of floats, one for each block.
        survival_warmup: Float in [0, 1], the fraction of the training over which the survival probabilities fall
            linearly from 1 to their final values.
        model_arguments: Dictionary, additional arguments of the model's factory.
        optimizer: "sgd" or "lamb".
        momentum: Float in [0, 1]; for SGD.
        nesterov: Boolean, whether to use Nesterov momentum; for SGD.
        l2: Float, weight decay: the gradient of an L2 penalty for SGD, LAMB's own weight decay for LAMB.
        decay_norm_and_bias: Boolean, whether weight decay also applies to normalization parameters and biases.
        learning_rate_schedule: "step" (divided by 10 at each milestone), "cosine" (half a cosine down to 0 after the
            warm-up), or "one_cycle" (rises linearly from 1/25 during the warm-up, then falls linearly to 0).
        milestones: Tuple of increasing fractions of the training; for "step".
        warmup_steps: Integer, steps in which the learning rate rises to its full value.
        warmup_fraction: Float in [0, 1), the warm-up as a fraction of the training.
        warmup_epochs: Float of at least 0, the warm-up in epochs; at most one of the three may be given.
        loss: Name of a loss that Keras knows, a function of labels and the model's outputs.
        label_smoothing: Float in [0, 1), the fraction of a label that is spread over all classes.
        augmentation: Tuple of names of augmentations of `keras_sd.data`; `None` for the data set's, `()` for none.
        mixup, cutmix: Floats of at least 0, alphas of the Beta distributions of the mixing fractions; 0 for none.
        image_size: Integer, height and width of the training images; `None` for the data set's.
        test_image_size: Integer, height and width of the validation and test images; `None` for `image_size`.
        test_crop: Float in (0, 1], side of the center crop in evaluation, as a fraction; `None` for the data set's.
        repeats: Integer, copies of each image in a batch, each augmented differently; a divisor of `batch_size`.
        max_bad_files: Integer, the maximum number of unreadable files of a folder to skip.
        training_images: Integer, number of training images to use, equally many of each class; `None` for all.
        ema_momentum: Float in (0, 1), momentum of the exponential moving average of the weights; `None` for no average.
        recalibrate: Boolean, whether to recalibrate batch normalization after training (precise BN).
        new_head: Boolean, whether weights get a new classifier even if their number of classes is that of the data.
        head_epochs: Integer, epochs at the start that train only the classifier, at ten times the learning rate;
            schedule and warm-up begin after them. The last epoch always trains everything that is not frozen.
        freeze: `None`; "batch_norm", to keep the statistics, scales and offsets of the weights; "backbone", everything
            except the classifier; or the name of a layer: everything from the input to it, and all batch normalization.
        preprocessing: "data", to normalize images by the training images' mean and standard deviation; or "weights",
            to preprocess them as the weights require.
        policy: Name of a Keras dtype policy.
        seed: Integer in [0, 2**32), random seed of initial weights, order of images, augmentation and gates.
        deterministic: Boolean, whether to use only deterministic operations (slower).
        data_dir: Directory of TensorFlow Datasets, `None` for its default.
        recipe: Name of the recipe that the configuration is derived from.

    Raises:
        ValueError: If a value is outside its range.
    """

    model: str
    data: str
    epochs: int
    batch_size: int
    learning_rate: float
    survival_probability: float = 0.5
    survival_schedule: tuple[float, ...] | str = "linear"
    survival_warmup: float = 0.0
    model_arguments: dict = dataclasses.field(default_factory=dict)
    optimizer: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = True
    l2: float = 1e-4
    decay_norm_and_bias: bool = True
    learning_rate_schedule: str = "step"
    milestones: tuple[float, ...] = (0.5, 0.75)
    warmup_steps: int = 0
    warmup_fraction: float = 0.0
    warmup_epochs: float = 0.0
    loss: str = "sparse_categorical_crossentropy"
    label_smoothing: float = 0.0
    augmentation: tuple[str, ...] | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    image_size: int | None = None
    test_image_size: int | None = None
    test_crop: float | None = None
    repeats: int = 1
    training_images: int | None = None
    max_bad_files: int = 0
    ema_momentum: float | None = None
    recalibrate: bool = False
    new_head: bool = False
    head_epochs: int = 0
    freeze: str | None = None
    preprocessing: str = "data"
    policy: str = "float32"
    seed: int = 0
    deterministic: bool = False
    data_dir: str | None = None
    recipe: str | None = None
    steps_per_epoch: int | None = None

    def __post_init__(self):
        for names, holds, allowed in _RULES:
            for name in names.split():
                if not holds(getattr(self, name)):
                    raise refusal(name, f"{allowed}", getattr(self, name))
        for name in ("label_smoothing", "mixup", "cutmix"):
            if getattr(self, name) and self.loss not in _SOFT_LOSSES[: 1 if name == "label_smoothing" else None]:
                raise refusal(name, f"0 with the loss {self.loss!r}", getattr(self, name))
        warmups = [name for name in WARMUPS if getattr(self, name)]
        if len(warmups) > 1:
            raise refusal(warmups[1], f"0 with `{warmups[0]}`", getattr(self, warmups[1]))
        if self.model_arguments.get("weights") is None:
            for name, plain in (("new_head", False), ("preprocessing", "data")):
                if getattr(self, name) != plain:
                    raise refusal(name, f"{plain!r} without weights (`--weights`)", getattr(self, name))
        if self.batch_size % self.repeats:
            raise refusal("repeats", f"a divisor of the batch size {self.batch_size}", self.repeats)

    @property
    def augmentations(self) -> dict[str, Any]:
        """The augmentation arguments of a data set's `training_batches`; only those that differ from the defaults."""
        values = {name: getattr(self, name) for name in ("augmentation", "mixup", "cutmix")}
        values = {name: value for name, value in values.items() if value not in (None, 0.0)}
        return values | ({"repeats": self.repeats} if self.repeats > 1 else {})

    @property
    def head_only_epochs(self) -> int:
        """The number of epochs that train only the classifier."""
        return min(self.head_epochs, self.epochs - 1)

    def factory_arguments(self, can_drop: bool = True) -> dict[str, Any]:
        """Return the arguments of the model's factory: those of stochastic depth, and `model_arguments`.

        Args:
            can_drop: Whether the model can drop blocks; factories of other models have no arguments for it.
        """
        survival = {name: getattr(self, name) for name in ("survival_probability", "survival_schedule", "seed")}
        return {"weights": None, **(survival if can_drop else {}), **self.model_arguments}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the configuration for a dictionary read from JSON, in which tuples are lists.

        Raises:
            TypeError: If `values` is not a dictionary.
            ValueError: If a field is unknown or missing, or a value is outside its range.
        """
        check_type("values", values, dict, "a dictionary of the fields of a TrainConfig")
        fields = dataclasses.fields(cls)
        for name in values:
            if name not in {field.name for field in fields}:
                raise unknown("setting", name, [field.name for field in fields])
        required = [f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING]
        if missing := [name for name in required if name not in values]:
            raise refusal("values", f"a dictionary with {', '.join(missing)}", values)
        arguments: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**arguments)


def _whole(value, least):
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_in(names, value):
    return isinstance(value, str) and value in names


def _in(names):
    return (lambda value: _is_in(names, value)), f"one of {', '.join(names)}"


def _is(kind, allowed):
    return (lambda value: isinstance(value, kind)), allowed


def _named(value):
    return isinstance(value, str) and bool(value)


def _probabilities(values):
    return isinstance(values, tuple) and bool(values) and all(_number(v) and 0 < v <= 1 for v in values)


def _rising(values):
    return isinstance(values, tuple) and all(map(_number, values)) and list(values) == sorted(set(values))


# Names of fields, the condition on their values, and its wording in messages.
_RULES = (
    ("model data loss", _named, "a name"),
    ("epochs batch_size repeats", lambda v: _whole(v, 1), "a whole number of at least 1"),
    ("warmup_steps head_epochs max_bad_files", lambda v: _whole(v, 0), "a whole number of at least 0"),
    ("seed", lambda v: _whole(v, 0) and v < 2**32, "a whole number in [0, 2**32)"),
    (
        "image_size test_image_size training_images steps_per_epoch",
        lambda v: v is None or _whole(v, 1),
        "None or a whole number of at least 1",
    ),
    ("learning_rate", lambda v: _number(v) and v > 0, "above 0"),
    ("survival_probability", lambda v: _number(v) and 0 < v <= 1, "in (0, 1]"),
    (
        "survival_schedule",
        lambda v: _is_in(SURVIVAL_SCHEDULES, v) or _probabilities(v),
        "linear, uniform, or numbers in (0, 1]",
    ),
    ("momentum survival_warmup", lambda v: _number(v) and 0 <= v <= 1, "in [0, 1]"),
    ("warmup_fraction label_smoothing", lambda v: _number(v) and 0 <= v < 1, "in [0, 1)"),
    ("test_crop", lambda v: v is None or (_number(v) and 0 < v <= 1), "None or in (0, 1]"),
    ("ema_momentum", lambda v: v is None or (_number(v) and 0 < v < 1), "None or in (0, 1)"),
    ("l2 mixup cutmix warmup_epochs", lambda v: _number(v) and v >= 0, "a number of at least 0"),
    ("milestones", lambda v: _rising(v) and all(0 < m < 1 for m in v), "increasing, in (0, 1)"),
    (
        "augmentation",
        lambda v: v is None or (isinstance(v, tuple) and all(isinstance(name, str) for name in v)),
        "None or names of augmentations",
    ),
    ("nesterov decay_norm_and_bias recalibrate new_head deterministic", *_is(bool, "True or False")),
    ("model_arguments", *_is(dict, "a dictionary of arguments")),
    ("data_dir recipe freeze", lambda v: v is None or _named(v), "None or a non-empty string"),
    ("optimizer", *_in(OPTIMIZERS)),
    ("learning_rate_schedule", *_in(LEARNING_RATE_SCHEDULES)),
    ("policy", *_in(POLICIES)),
    ("preprocessing", *_in(PREPROCESSINGS)),
)
