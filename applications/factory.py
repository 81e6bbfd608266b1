"""From a spec to a function that builds models, with the signature of keras.applications."""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass

from keras_sd import builder
from keras_sd.specs import Spec

_DOCUMENTATION = """{summary}

Args:
    include_top: Whether to end with global average pooling and a classifier.
    weights: `None`, or the path of a file with weights (`.keras`, `.weights.h5`).
    input_tensor: Keras tensor to build upon, in place of a new input.
    input_shape: (height, width, channels); with `channels_first`, channels before. Default: {input_shape}.
    pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
    classes: Number of classes.
    classifier_activation: Of the classifier; `None` for logits.
    name: Name of the model.
    rescale: Whether the model takes raw images with values from 0 to 255, and divides by 255 itself.
    {keywords}

Returns:
    A `keras.Model`.

Raises:
    ValueError: An argument outside of what is allowed; nothing is built then.

Reference:
    {source}
"""


@dataclass(frozen=True)
class Factory:
    """What the function that builds a kind of models is made of.

    Attributes:
        name: Of the function, and in lower case of the models.
        make_spec: Function from keyword arguments to a spec.
        keywords: Those arguments with their defaults, for the signature.
        summary: First line of the docstring.
        keyword_docs: What the docstring says about the keywords.
        source: Where the architecture was published.
        input_shape, classes, classifier_activation: Defaults.
    """

    name: str
    make_spec: Callable[..., Spec]
    keywords: dict
    summary: str
    keyword_docs: str
    source: str
    input_shape: tuple[int, int, int] = (32, 32, 3)
    classes: int = 10
    classifier_activation: str | Callable = "softmax"

    def function(self):
        """The function, named and documented."""

        def build(
            include_top=True,
            weights=None,
            input_tensor=None,
            input_shape=None,
            pooling=None,
            classes=self.classes,
            classifier_activation=self.classifier_activation,
            name=self.name.lower(),
            *,
            rescale=False,
            **keywords,
        ):
            _check_weights(weights)
            model = builder.build(
                self.make_spec(**keywords),
                include_top=include_top,
                input_tensor=input_tensor,
                input_shape=self.input_shape if input_shape is None else input_shape,
                pooling=pooling,
                classes=classes,
                classifier_activation=classifier_activation,
                rescale=rescale,
                name=name,
            )
            if weights is not None:
                model.load_weights(weights)
            return model

        build.__name__ = build.__qualname__ = self.name
        build.__module__ = "keras_sd.applications"
        build.__doc__ = _DOCUMENTATION.format(
            summary=self.summary, input_shape=self.input_shape, keywords=self.keyword_docs, source=self.source
        )
        own = [p for p in inspect.signature(build).parameters.values() if p.kind != p.VAR_KEYWORD]
        extra = [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=v) for k, v in self.keywords.items()]
        build.__signature__ = inspect.Signature(own + extra)
        return build


def _check_weights(weights):
    if weights is None:
        return
    if not isinstance(weights, str | os.PathLike) or not os.path.exists(weights):
        raise ValueError(f"`weights` must be None or the path of a file that exists. Received: weights={weights!r}")
