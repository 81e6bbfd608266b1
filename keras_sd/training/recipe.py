"""What a recipe is."""

import dataclasses

from keras_sd.training.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Published:
    """A published test error of a recipe.

    Args:
        model, data, survival_probability: What it is of, as in `TrainConfig`.
        percent: Float, share of the test images that are classified wrongly.
        source: Where it is published.
    """

    model: str
    data: str
    survival_probability: float
    percent: float
    source: str


@dataclasses.dataclass(frozen=True)
class Variant:
    """What a recipe changes for some models or data.

    Args:
        where: Dictionary, for fields of `TrainConfig` the values for which it applies; all must hold.
        changes: Dictionary, fields and their new values.
        reason: Where the source says so.
    """

    where: dict
    changes: dict
    reason: str


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A named way of training.

    Args:
        config: `TrainConfig` for the model and data that the source has first.
        source: Paper and section, or address.
        variants: `Variant`s, for other models and data.
        published: `Published` errors; those of architectures stand with the models of `keras_sd.applications`.
        notes: What differs from the source, and why.
    """

    config: TrainConfig
    source: str
    variants: tuple[Variant, ...] = ()
    published: tuple[Published, ...] = ()
    notes: str = ""

    @property
    def name(self):
        return self.config.recipe

    @property
    def command(self):
        """The command that trains by this recipe."""
        return f"keras-sd train --recipe {self.name}"

    def adapted(self, given):
        """The configuration for the model, data and so on of a dictionary, the rest of which is not taken over."""
        seen = dataclasses.asdict(self.config) | given
        config = self.config
        for variant in self.variants:
            if all(seen[name] in values for name, values in variant.where.items()):
                config = dataclasses.replace(config, **variant.changes)
        return config

    def published_for(self, config):
        """The `Published` error that a configuration can be compared with; `None` where there is none."""
        if config.model_arguments != self.adapted(dataclasses.asdict(config)).model_arguments:
            return None
        names = ("model", "data", "survival_probability")
        fitting = (r for r in self.published if all(getattr(r, name) == getattr(config, name) for name in names))
        return next(fitting, None)


def smoke(config):
    """The smoke form of a configuration: the same in everything, but two epochs of two small steps."""
    return dataclasses.replace(config, epochs=2, steps_per_epoch=2, batch_size=min(8, config.batch_size))
