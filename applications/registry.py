"""What all named models share: a row in a table, and the function that makes a Keras model of it."""

import difflib
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields

from keras_sd import builder
from keras_sd.specs import Spec, override


@dataclass(frozen=True)
class Model:
    """A named model.

    Attributes:
        name: Of the model and its factory.
        spec: What the network is.
        parameters: Number of trainable parameters, as papers count them, at the default input and classes.
        source: Where the architecture was published.
        input_shape: Default input, (height, width, channels).
        classes: Default number of classes.
        classifier_activation: Default activation of the classifier.
    """

    name: str
    spec: Spec
    parameters: int
    source: str
    input_shape: tuple[int, int, int] = (32, 32, 3)
    classes: int = 10
    classifier_activation: str | Callable = "softmax"


MODELS: dict[str, Model] = {}
_FACTORIES = {}

_ARGUMENTS = """
Args:
    include_top: Whether to end with global average pooling and a classifier.
    weights: `None`, or the path of a file with weights (`.keras`, `.weights.h5`).
    input_tensor: Keras tensor to build upon, in place of a new input.
    input_shape: (height, width, channels); with `channels_first`, channels before. Default: {input_shape}.
    pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
    classes: Number of classes.
    classifier_activation: Of the classifier; `None` for logits.
    name: Name of the model.
    rescale: Whether the model takes raw images with values from 0 to 255.
    {spec_arguments}

Returns:
    A `keras.Model`.

Raises:
    ValueError: An argument outside of what is allowed; nothing is built then.

Reference:
    {source}
"""


def register(*rows):
    """Enters rows in the table of models, and returns their factories."""
    for row in rows:
        MODELS[row.name] = row
        _FACTORIES[row.name] = _named(row)
    return [_FACTORIES[row.name] for row in rows]


def _named(row):
    names = [f.name for f in fields(row.spec)]
    kind = type(row.spec).__name__
    return factory(
        row.name,
        lambda **changes: override(row.spec, **changes),
        {name: getattr(row.spec, name) for name in names},
        f"{row.name} for {row.input_shape[0]}x{row.input_shape[1]} images, {row.parameters:,} parameters.",
        f"{', '.join(names)}: Fields of `keras_sd.specs.{kind}`, in place of this model's.",
        row.source,
        row.input_shape,
        row.classes,
        row.classifier_activation,
    )


def factory(
    name,
    make_spec,
    keywords,
    summary,
    spec_arguments,
    source,
    input_shape=(32, 32, 3),
    classes=10,
    classifier_activation="softmax",
):
    """A function that builds models, with the signature of keras.applications.

    Args:
        name: Of the function, and in lower case of the models.
        make_spec: Function from keyword arguments to a spec.
        keywords: Those arguments with their defaults, for the signature.
        summary, spec_arguments, source: For the docstring.
        input_shape, classes, classifier_activation: Defaults.
    """
    default_shape, model_name = input_shape, name.lower()

    def build(
        include_top=True,
        weights=None,
        input_tensor=None,
        input_shape=None,
        pooling=None,
        classes=classes,
        classifier_activation=classifier_activation,
        name=model_name,
        *,
        rescale=False,
        **spec_arguments,
    ):
        _check_weights(weights)
        model = builder.build(
            make_spec(**spec_arguments),
            include_top=include_top,
            input_tensor=input_tensor,
            input_shape=default_shape if input_shape is None else input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            rescale=rescale,
            name=name,
        )
        if weights is not None:
            model.load_weights(weights)
        return model

    build.__name__ = build.__qualname__ = name
    build.__module__ = "keras_sd.applications"
    details = _ARGUMENTS.format(input_shape=input_shape, spec_arguments=spec_arguments, source=source)
    build.__doc__ = f"{summary}\n{details}"
    own = [p for p in inspect.signature(build).parameters.values() if p.kind != p.VAR_KEYWORD]
    extra = [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=v) for k, v in keywords.items()]
    build.__signature__ = inspect.Signature(own + extra)
    return build


def _check_weights(weights):
    if weights is None:
        return
    if not isinstance(weights, str | os.PathLike) or not os.path.exists(weights):
        raise ValueError(f"`weights` must be None or the path of a file that exists. Received: weights={weights!r}")


def list_models() -> list[str]:
    """Names of all models, in the order of the story."""
    return list(MODELS)


def find(name: str) -> Model:
    """The row of a model.

    Raises:
        ValueError: No model has this name; the nearest names are given.
    """
    by_lower = {n.lower(): n for n in MODELS}
    found = by_lower.get(str(name).lower())
    if found is None:
        near = [by_lower[n] for n in difflib.get_close_matches(str(name).lower(), by_lower, n=3, cutoff=0.4)]
        hint = f"Did you mean {', '.join(near)}?" if near else f"Models: {', '.join(MODELS)}."
        raise ValueError(f"There is no model named {name!r}. {hint}")
    return MODELS[found]


def get_model(name: str, **arguments):
    """Builds a model by its name: `get_model("ResNet110", survival_probability=0.5)`.

    Args:
        name: A name of `list_models()`; case does not matter.
        **arguments: Those of the factory of that name.

    Raises:
        ValueError: No model has this name, or an argument is outside of what is allowed.
    """
    return _FACTORIES[find(name).name](**arguments)
