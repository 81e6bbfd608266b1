"""Recipes: named training configurations with their source and published results."""

import dataclasses
from typing import Any

from keras_sd.training.config import WARMUPS, TrainConfig
from keras_sd.training.overrides import merged
from keras_sd.utils import names
from keras_sd.utils.checks import refusal
from keras_sd.utils.names import unknown


@dataclasses.dataclass(frozen=True)
class Published:
    """A published test error of a recipe.

    Args:
        model, data, survival_probability: What was trained, as in `TrainConfig`.
        percent: Float, percentage of misclassified test images.
        source: Where it is published.
    """

    model: str
    data: str
    survival_probability: float
    percent: float
    source: str


@dataclasses.dataclass(frozen=True)
class Variant:
    """Changes of a recipe for some models or data.

    Args:
        where: Dictionary from fields of `TrainConfig` to the values for which the variant applies; all must match.
        changes: Dictionary from fields to their new values.
        reason: Where the source says so, and what.
    """

    where: dict
    changes: dict
    reason: str


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A named training configuration.

    Args:
        config: `TrainConfig` for the main model and data of the source.
        source: Paper and section, or URL.
        variants: `Variant`s, for other models and data.
        published: `Published` errors; those of architectures are with the models of `keras_sd.applications`.
        notes: Differences from the source and their reasons, or advice.
    """

    config: TrainConfig
    source: str
    variants: tuple[Variant, ...] = ()
    published: tuple[Published, ...] = ()
    notes: str = ""

    @property
    def name(self) -> str | None:
        return self.config.recipe

    @property
    def command(self) -> str:
        """The command that trains by this recipe."""
        return f"keras-sd train --recipe {self.name}"

    def adapted(self, given: dict[str, Any]) -> TrainConfig:
        """Return the configuration with the variants that match `given`, whose values are not applied themselves."""
        seen = dataclasses.asdict(self.config) | given
        config = self.config
        for variant in self.variants:
            if all(seen[name] in values for name, values in variant.where.items()):
                config = dataclasses.replace(config, **variant.changes)
        return config

    def published_for(self, config: TrainConfig) -> Published | None:
        """Return the `Published` error to compare a configuration with, or `None`."""
        if config.model_arguments != self.adapted(dataclasses.asdict(config)).model_arguments:
            return None
        names = ("model", "data", "survival_probability")
        fitting = (r for r in self.published if all(getattr(r, name) == getattr(config, name) for name in names))
        return next(fitting, None)


def smoke(config: TrainConfig) -> TrainConfig:
    """Return the smoke form of a configuration: unchanged except for two epochs of two small steps each."""
    batch_size = max(min(8, config.batch_size) // config.repeats, 1) * config.repeats
    return dataclasses.replace(config, epochs=2, steps_per_epoch=2, batch_size=batch_size)


OURS = "this package"
_HE = "[He et al., 2016](https://arxiv.org/abs/1512.03385)"
_HUANG_2016 = "[Huang et al., 2016](https://arxiv.org/abs/1603.09382)"
_HUANG_2017 = "[Huang et al., 2017](https://arxiv.org/abs/1608.06993)"
_RSB = "[Wightman et al., 2021](https://arxiv.org/abs/2110.00476)"
_AUTHORS_CODE = "[Huang et al., 2016, the authors' code](https://github.com/yueatsprograms/Stochastic_Depth)"
_TORCHVISION = "[Vryniotis, 2021](https://pytorch.org/blog/how-to-train-state-of-the-art-models-using-torchvision-latest-primitives/)"
_NOT_AUGMENTED = Variant(
    {"augmentation": ((),)},
    {"model_arguments": {"dropout_rate": 0.2}},
    "section 4.2: dropout 0.2 after each convolution except the first, on data without augmentation",
)
# ResNet-50 of torchvision and timm: stride in the 3x3 convolution, no biases in convolutions.
_V1_5 = {"stride_in": "middle", "use_bias": False, "epsilon": 1e-5, "momentum": 0.9}

ANY_FOLDER = "folder:PATH"  # stands for the folder that a user names
_KERAS_GUIDE = "[Chollet, 2020](https://keras.io/guides/transfer_learning/)"

_ROWS = (
    Recipe(
        TrainConfig(model="ResNet20", data="digits", epochs=40, batch_size=64, learning_rate=0.1, recipe="digits"),
        OURS,
    ),
    Recipe(
        TrainConfig(
            recipe="small_images",
            model="ResNet20",
            data=ANY_FOLDER,
            epochs=60,
            batch_size=32,
            learning_rate=0.05,
            learning_rate_schedule="cosine",
            warmup_fraction=0.1,
            label_smoothing=0.1,
            survival_probability=0.8,
            image_size=32,
        ),
        OURS,
        notes="For a folder of a few hundred images or more, without weights. `--image-size 64` for finer detail.",
    ),
    Recipe(
        TrainConfig(
            recipe="finetune",
            model="ResNet50",
            model_arguments={"weights": "a1_in1k"},
            data=ANY_FOLDER,
            epochs=10,
            batch_size=32,
            learning_rate=0.01,
            learning_rate_schedule="cosine",
            survival_probability=1.0,
            new_head=True,
            head_epochs=2,
            preprocessing="weights",
        ),
        _KERAS_GUIDE,
        variants=(
            Variant(
                {"batch_size": tuple(range(1, 17))},
                {"freeze": "batch_norm", "learning_rate": 0.001},
                "the guide always freezes the statistics of batch normalization; this recipe only for small batches",
            ),
        ),
        notes="First a new classifier only, then all layers at a tenth of its learning rate. SGD with momentum and a "
        "cosine schedule, instead of Adam as in the guide. Images have the size that the weights were trained with.",
    ),
    Recipe(
        TrainConfig(
            recipe="fast_cifar",
            model="ResNet56",
            data="cifar10",
            epochs=40,
            batch_size=128,
            learning_rate=0.4,
            learning_rate_schedule="one_cycle",
            warmup_fraction=0.25,
            label_smoothing=0.1,
            survival_probability=0.8,
            survival_warmup=0.5,
        ),
        OURS,
        notes="For a CPU and little time: choose `--epochs` to fit (schedules scale with it), and `--policy "
        "mixed_bfloat16` if it is faster. Test accuracy of ResNet-20 after five epochs: 0.8152; with a learning rate "
        "of 0.2: 0.8046; with that and batches of 64: 0.8114; with an `l2` of 5e-4: 0.8109 (one seed).",
    ),
    Recipe(
        TrainConfig(
            recipe="he2016_cifar",
            model="ResNet110",
            data="cifar10",
            epochs=182,
            batch_size=128,
            learning_rate=0.1,
            nesterov=False,
            survival_probability=1.0,
        ),
        f"{_HE}, section 4.2",
        variants=(
            Variant(
                {"model": ("ResNet110", "ResNet1202", "PlainNet110")},
                {"warmup_steps": 400},
                "section 4.2: about 400 iterations at a smaller rate",
            ),
        ),
        notes="64,000 iterations are 182 epochs of 45,000 images. The warm-up rises linearly; theirs was 0.01 until "
        "the training error fell below 80 %.",
    ),
    Recipe(
        TrainConfig(
            recipe="huang2016_cifar",
            model="ResNet110",
            data="cifar10",
            epochs=500,
            batch_size=128,
            learning_rate=0.1,
            warmup_steps=400,
        ),
        f"{_HUANG_2016}, section 4",
        published=(
            Published("ResNet110", "cifar10", 0.5, 5.25, _AUTHORS_CODE),
            Published("ResNet110", "cifar10", 1.0, 6.41, _AUTHORS_CODE),
            Published("ResNet110", "cifar100", 0.5, 24.58, f"{_HUANG_2016}, table 1"),
            Published("ResNet1202", "cifar10", 0.5, 4.91, f"{_HUANG_2016}, abstract"),
        ),
        # The validation accuracy of ResNet-56 after one epoch was 0.13 without a warm-up, 0.44 with it.
        notes="The warm-up is that of He et al. 2016, section 4.2; without it, the first epoch is wasted.",
    ),
    Recipe(
        TrainConfig(
            recipe="huang2016_svhn",
            model="ResNet",
            model_arguments={"depth": 152},
            data="svhn_cropped",
            epochs=50,
            batch_size=128,
            learning_rate=0.1,
            milestones=(0.6, 0.7),
        ),
        f"{_HUANG_2016}, section 4",
        published=(Published("ResNet", "svhn_cropped", 0.5, 1.75, _AUTHORS_CODE),),
    ),
    Recipe(
        TrainConfig(
            recipe="huang2017_densenet_cifar",
            model="DenseNetBC100",
            data="cifar10",
            epochs=300,
            batch_size=64,
            learning_rate=0.1,
            survival_probability=1.0,
        ),
        f"{_HUANG_2017}, section 4.2",
        variants=(
            _NOT_AUGMENTED,
            Variant(
                {"data": ("svhn_cropped",)},
                {"epochs": 40, "augmentation": (), "model_arguments": {"dropout_rate": 0.2}},
                "section 4.2: 40 epochs, no augmentation, dropout 0.2",
            ),
        ),
    ),
    Recipe(
        TrainConfig(
            recipe="huang2017_imagenet",
            model="DenseNet121",
            data="imagenet2012",
            epochs=90,
            batch_size=256,
            learning_rate=0.1,
            milestones=(30 / 90, 60 / 90),
            survival_probability=1.0,
        ),
        f"{_HUANG_2017}, section 4.2",
    ),
    Recipe(
        TrainConfig(
            recipe="resnet_imagenet_modern",
            model="ResNet50",
            model_arguments=_V1_5,
            data="imagenet2012",
            epochs=600,
            batch_size=1024,
            learning_rate=0.5,
            learning_rate_schedule="cosine",
            warmup_fraction=5 / 600,
            nesterov=False,
            l2=2e-5,
            decay_norm_and_bias=False,
            survival_probability=1.0,
            label_smoothing=0.1,
            mixup=0.2,
            cutmix=1.0,
            augmentation=("inception_crop", "trivial_augment", "random_erasing"),
            image_size=176,
            test_image_size=224,
            test_crop=224 / 232,
            repeats=4,
            ema_momentum=0.99997,
        ),
        _TORCHVISION,
        published=(Published("ResNet50", "imagenet2012", 1.0, 19.14, _TORCHVISION),),
        notes="The momentum of the average is per step; the source updates every 32 steps with 0.99891 (0.99998, "
        "adjusted to 600 epochs) and also averages moving statistics. The source puts copies of an image into the "
        "batches of different devices, this recipe into one batch, apart. The source decays the classifier's bias.",
    ),
    Recipe(
        TrainConfig(
            recipe="rsb_a3",
            model="ResNet50",
            model_arguments={**_V1_5, "classifier_activation": "sigmoid"},
            data="imagenet2012",
            epochs=100,
            batch_size=2048,
            optimizer="lamb",
            learning_rate=8e-3,
            learning_rate_schedule="cosine",
            warmup_fraction=5 / 100,
            l2=0.02,
            decay_norm_and_bias=False,
            survival_probability=1.0,
            loss="keras_sd>one_versus_rest",
            mixup=0.1,
            cutmix=1.0,
            augmentation=("inception_crop", "rand_augment"),
            image_size=160,
            test_image_size=224,
            test_crop=0.95,
        ),
        f"{_RSB}, section 2",
        published=(Published("ResNet50", "imagenet2012", 1.0, 21.9, _RSB),),
        notes="RandAugment is that of its paper (two of 14 operations, magnitude 9 of 30). The source uses timm's "
        "rand-m6-mstd0.5-inc1: two of 15 operations, each applied to half of the images, magnitude 6 of 10 with a "
        "standard deviation of 0.5. The source resizes with bicubic interpolation.",
    ),
)
RECIPES = {str(row.name): row for row in _ROWS}

# Default recipes: with weights, otherwise by data set, where "folder:" is any folder.
WITH_WEIGHTS = "finetune"
BY_DATA = {
    "digits": "digits",
    "folder:": "small_images",
    "cifar10": "huang2016_cifar",
    "cifar100": "huang2016_cifar",
    "svhn_cropped": "huang2016_svhn",
    "imagenet2012": "huang2017_imagenet",
}


def find(name: str | None = None, data: str | None = None, has_weights: bool = False) -> Recipe:
    """Return a recipe by name; without a name, the default for pretrained weights, otherwise for the data set.

    Raises:
        ValueError: If there is none; the message suggests the closest names.
    """
    if name is None:
        name = WITH_WEIGHTS if has_weights else default_name(data)
        if name is None and data is not None and ":" in data:
            raise refusal("recipe", f"named for the data {data!r}: one of {', '.join(RECIPES)}", None)
        if name is None:
            raise unknown("data", data, [*BY_DATA, *names.SHORT_DATA])
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def default_name(data: str | None) -> str | None:
    """Return the name of the default recipe of a data set, or `None`."""
    return BY_DATA.get("folder:" if data is not None and data.startswith("folder:") else str(data))


def resolve(
    data: str | None = None,
    recipe: str | None = None,
    *,
    is_smoke: bool = False,
    values: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    **overrides: Any,
) -> TrainConfig:
    """Return the configuration of a run: a recipe with overrides.

    Precedence, from the lowest: the recipe (with its variants for the model and data), `values`, the smoke form,
    `settings`, `overrides`.

    Args:
        data: Name of a data set; `None` for the recipe's.
        recipe: Name of a recipe; `None` for that of `values`, or of the data set, by default "digits".
        is_smoke: Boolean, whether to take the smoke form.
        values: Dictionary of fields of `TrainConfig`, as returned by `keras_sd.training.overrides.read`; a key
            `"model_arguments.NAME"` adds one argument to those of the recipe.
        settings: Dictionary like `values`, which the smoke form does not change.
        **overrides: Fields of `TrainConfig`; `None` overrides nothing.

    Returns:
        A `TrainConfig`.

    Raises:
        ValueError: If a name is unknown, a value is outside its range, or `values` has every field and names another
            recipe, so that nothing of the recipe would be used.
    """
    asked = {"data": data, "recipe": recipe, **overrides}
    asked = merged(settings or {}, {name: value for name, value in asked.items() if value is not None})
    given = merged(values or {}, asked)
    if "data" in given:
        given["data"] = names.data_name(given["data"])
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    for name in given:
        if name not in fields and not name.startswith("model_arguments."):
            raise unknown("setting", name, fields)
    row = find(given.pop("recipe", None), given.get("data", "digits"), _names_weights(given))
    if values and fields <= set(values) and values["recipe"] is not None and values["recipe"] != row.name:
        raise refusal("recipe", f"{values['recipe']!r} with settings that have every field", row.name)
    config = _replaced(row.adapted(given), given)
    return _replaced(smoke(config), asked) if is_smoke else config


def _replaced(config, given):
    """Return a configuration with other values; keys `"model_arguments.NAME"` add to its arguments."""
    added = {name: value for name, value in given.items() if name.startswith("model_arguments.")}
    fields = {name: value for name, value in given.items() if name not in added and name != "recipe"}
    if fields.keys() & set(WARMUPS):  # one warm-up replaces another
        fields = dict.fromkeys(WARMUPS, 0) | fields
    arguments = {name.removeprefix("model_arguments."): value for name, value in added.items()}
    if arguments and isinstance(named := fields.get("model_arguments", config.model_arguments), dict):
        fields["model_arguments"] = {**named, **arguments}
    return dataclasses.replace(config, **fields)


def _names_weights(given):
    """Return whether settings name initial weights, in `model_arguments` or as one of them."""
    nested = given.get("model_arguments")
    nested = nested.get("weights") if isinstance(nested, dict) else None  # anything but a dictionary is refused later
    return given.get("model_arguments.weights", nested) is not None
