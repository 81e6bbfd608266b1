"""The table of models, a row for each, and functions to find them by name."""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_sd.applications._factory import Factory, Keyword
from keras_sd.models.specs import Spec, override
from keras_sd.utils.checks import refusal
from keras_sd.utils.names import unknown
from keras_sd.weights.registry import WEIGHTS

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class PublishedError:
    """A published test error.

    Attributes:
        percent: Top-1 error, the percentage of images whose most likely class is wrong.
        data: The data set, and how the error was measured.
        source: The publication.
    """

    percent: float
    data: str
    source: str


@dataclass(frozen=True)
class Model:
    """A named model.

    Attributes:
        name: Name of the model and its factory.
        family: The module of `keras_sd.applications` that contains it.
        spec: Specification of the network.
        parameters: Number of trainable parameters, as papers count them, for the default input and classes.
        source: Publication of the architecture.
        error: A published test error of this architecture; `None` if its source states none.
        input_shape: Default input, (height, width, channels).
        classes: Default number of classes.
        classifier_activation: Default activation of the classifier.
    """

    name: str
    family: str
    spec: Spec
    parameters: int
    source: str
    error: PublishedError | None = None
    input_shape: tuple[int, int, int] = (32, 32, 3)
    classes: int = 10
    classifier_activation: str | Callable = "softmax"

    @property
    def depth(self) -> int:
        """Number of layers with weights, as the papers count them."""
        return self.spec.depth

    @property
    def weights(self) -> tuple[str, ...]:
        """Tags of the published weights, which `weights=` accepts."""
        return tuple(dict.fromkeys(row.tag for row in WEIGHTS.values() if row.architecture == self.name))


MODELS: dict[str, Model] = {}
FACTORIES: dict[str, Factory] = {}
_FUNCTIONS: dict[str, Callable] = {}


def register(row: Model) -> Callable[..., "keras.Model"]:
    """Add a row to the table of models, and return its factory.

    Raises:
        ValueError: The name is registered already.
    """
    fields = {field.name: field for field in dataclasses.fields(row.spec)}
    kind = f"`keras_sd.models.specs.{type(row.spec).__name__}`"
    height, width, _ = row.input_shape
    function = _enter(
        Factory(
            row.name,
            lambda **changes: override(row.spec, **changes),
            {name: Keyword(getattr(row.spec, name), field.type) for name, field in fields.items()},
            f"{row.name} for {height}x{width} images, {row.parameters:,} parameters.",
            f"{', '.join(fields)}: Fields of {kind} to change in this model.",
            row.source,
            row.input_shape,
            row.classes,
            row.classifier_activation,
            weights="imagenet" if "imagenet" in row.weights else None,  # as in keras.applications
            tags=row.weights,
        )
    )
    MODELS[row.name] = row
    return function


def register_constructor(
    name: str, make_spec: Callable[..., Spec], example: dict[str, object], summary: str, keyword_docs: str, source: str
) -> Callable[..., "keras.Model"]:
    """Register a constructor of models of any size, which has no row in the table, and return its factory.

    Args:
        name: Name of the constructor.
        make_spec: Function from keyword arguments to a spec; it also accepts fields of the spec.
        example: Arguments of `make_spec` for an example spec, which provides the defaults of the other fields.
        summary, keyword_docs, source: As in `Factory`.

    Raises:
        ValueError: The name is registered already.
    """
    own = inspect.signature(make_spec).parameters.values()
    keywords = {p.name: Keyword(p.default, p.annotation) for p in own if p.kind != p.VAR_KEYWORD}
    spec, sizes = make_spec(**example), ("blocks", "filters")
    others = {
        field.name: Keyword(getattr(spec, field.name), field.type)
        for field in dataclasses.fields(spec)
        if field.name not in (*keywords, *sizes)
    }
    documentation = f"{keyword_docs}\n    {', '.join(others)}: Fields of `keras_sd.models.specs.{type(spec).__name__}`."
    return _enter(Factory(name, make_spec, keywords | others, summary, documentation, source))


def _enter(factory):
    if factory.name in FACTORIES:
        raise refusal("name", "new: a model with this name is already registered", factory.name)
    FACTORIES[factory.name] = factory
    _FUNCTIONS[factory.name] = factory.function()
    return _FUNCTIONS[factory.name]


def list_models(family: str | None = None, weights: str | bool | None = None) -> list[str]:
    """Return the names of the models, in historical order.

    Args:
        family: Only models of this family: `"perceptron"`, `"plainnet"`, `"resnet"`, `"resnet_v2"`, `"densenet"`.
        weights: Only models with published weights of this tag (`"imagenet"`, `"cifar10"`, `"a1_in1k"`, ...), or
            with any (`True`), or without (`False`).

    Raises:
        ValueError: No model has this family, or weights with this tag; the message suggests the nearest names.
    """
    families = dict.fromkeys(row.family for row in MODELS.values())
    if family is not None and family not in families:
        raise unknown("family", family, families)
    tags = dict.fromkeys(tag for row in MODELS.values() for tag in row.weights)
    if weights is not None and not isinstance(weights, bool) and weights not in tags:
        raise unknown("weights", weights, tags)

    def fits(row):
        published = bool(row.weights) if isinstance(weights, bool) else weights in row.weights
        return family in (None, row.family) and (weights is None or published == (weights is not False))

    return [name for name, row in MODELS.items() if fits(row)]


def find(name: str) -> Model:
    """Return the row of a model.

    Args:
        name: A name of `list_models()`; case does not matter.

    Raises:
        ValueError: No model has this name; the message suggests the nearest names.
    """
    return MODELS[_look_up(name, MODELS)]


def factory(name: str) -> Factory:
    """Return the `Factory` of a name that `get_model` accepts."""
    return FACTORIES[_look_up(name, FACTORIES)]


def get_model(name: str, /, **arguments: Any) -> "keras.Model":
    """Build a model by its name: `get_model("ResNet110", survival_probability=0.5)`.

    Args:
        name: A name in `list_models()`, or of a constructor (`"ResNet"`, `"PlainNet"`, `"DenseNet"`); case does
            not matter.
        **arguments: Arguments of the factory, including `name`, the name of the new model.

    Raises:
        ValueError: No model has this name, or an argument is invalid.
    """
    return _FUNCTIONS[_look_up(name, _FUNCTIONS)](**arguments)


def _look_up(name, table):
    by_lower = {known.lower(): known for known in table}
    found = by_lower.get(name.lower()) if isinstance(name, str) else None
    if found is None:
        raise unknown("name", name, table)
    return found
