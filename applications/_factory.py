"""Model-building functions with the signature of keras.applications, made from specs."""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_sd.models.specs import ConvolutionalSpec, Spec
from keras_sd.utils.checks import refusal
from keras_sd.weights import WEIGHTS

if TYPE_CHECKING:
    import keras

    from keras_sd.weights.sources import Source

# Modules that need Keras are imported in the functions that build models: the table of models does not need Keras.

_DEFAULT = object()  # `classes` was not passed by the caller

# Arguments that determine the names and shapes of a network's weights.
_ARCHITECTURE = {"blocks", "filters", "block", "stem", "stem_filters", "growth_rate", "bottleneck_width", "compression"}

# Types of the arguments that all factories share.
ARGUMENT_TYPES = {
    "include_top": "bool",
    "weights": "str | os.PathLike | WeightsFile | None",
    "input_tensor": "keras.KerasTensor | None",
    "input_shape": "tuple[int | None, int | None, int] | None",
    "pooling": "str | None",
    "classes": "int",
    "classifier_activation": "str | Callable | None",
    "name": "str | None",
    "rescale": "bool",
}

_DOCUMENTATION = """{summary}

Args:
    include_top: Whether to end with global average pooling and a classifier.
    weights: `None` (random), a tag of published weights ({tags}), `"hf://owner/name"`, or the path of a
        file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
        `keras-sd export`, which then also sets the default input and classes; or the result of
        `keras_sd.weights.read`. Default: {weights!r}.
    input_tensor: Keras tensor to use as input instead of a new one.
    input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
        `None` in convolutional networks. Default: {input_shape}; without a top any height and width.
    pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
    classes: Number of classes. With weights, a number other than {classes} adds a new classifier, and a number of
        input channels other than 3 adapts the first convolution; both are logged.
    classifier_activation: Activation of the classifier; `None` for logits.
    name: Name of the model.
    rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
        weights require, or else divides them by 255.
    {keywords}

Returns:
    A `keras.Model`.

Raises:
    ValueError: An argument is invalid; nothing is built then.

Reference:
    {source}
"""


class Keyword(NamedTuple):
    """A keyword argument of a factory: its default, and its type for signatures."""

    default: Any
    type: Any


@dataclass(frozen=True)
class Factory:
    """Definition of a function that builds one kind of models.

    Attributes:
        name: Name of the function and, in lower case, of the models.
        make_spec: Function from keyword arguments to a spec.
        keywords: These arguments, for the signature.
        summary: First line of the docstring.
        keyword_docs: Description of the keywords in the docstring.
        source: Publication of the architecture.
        input_shape, classes, classifier_activation, weights: Defaults.
        tags: Tags of its published weights.
    """

    name: str
    make_spec: Callable[..., Spec]
    keywords: dict[str, Keyword]
    summary: str
    keyword_docs: str
    source: str
    input_shape: tuple[int, int, int] = (32, 32, 3)
    classes: int = 10
    classifier_activation: str | Callable = "softmax"
    weights: str | None = None
    tags: tuple[str, ...] = ()

    def function(self) -> Callable[..., "keras.Model"]:
        """Return the function, with name, signature and docstring."""
        default_name = self.name.lower()

        def build(
            include_top=True,
            weights=self.weights,
            input_tensor=None,
            input_shape=None,
            pooling=None,
            classes=_DEFAULT,
            classifier_activation=self.classifier_activation,
            name=default_name,
            *,
            rescale=False,
            **keywords,
        ):
            from keras_sd.models import builder

            arguments = {
                "include_top": include_top,
                "input_tensor": input_tensor,
                "input_shape": input_shape,
                "pooling": pooling,
                "classes": classes,
                "classifier_activation": classifier_activation,
                "rescale": rescale,
                "name": name,
            }
            if weights is not None:
                return self._with_weights(weights, arguments, keywords)
            spec = self.make_spec(**keywords)
            return builder.build(spec, **self._filled(spec, arguments))

        build.__name__ = build.__qualname__ = self.name
        build.__module__ = "keras_sd.applications"
        build.__doc__ = self._documentation()
        own = [p for p in inspect.signature(build).parameters.values() if p.kind != p.VAR_KEYWORD]
        own = [p.replace(default=self.classes) if p.name == "classes" else p for p in own]
        extra = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=keyword.default)
            for name, keyword in self.keywords.items()
        ]
        vars(build)["__signature__"] = inspect.Signature(own + extra)
        return build

    def _filled(self, spec, arguments, row=None):
        """Return arguments with default input and classes, those of a trained model or else of this factory."""
        from keras_sd.models import builder

        height, width, channels = row.input_shape if row and row.input_shape else self.input_shape
        if not arguments["include_top"] and isinstance(spec, ConvolutionalSpec):
            height = width = None  # as in keras.applications
        shape = (height, width, channels) if builder.channels_last() else (channels, height, width)
        classes = row.classes if row and row.input_shape else self.classes
        defaults = {"input_shape": (None, shape), "classes": (_DEFAULT, classes)}
        return arguments | {name: d for name, (unset, d) in defaults.items() if arguments[name] is unset}

    def _documentation(self):
        return _DOCUMENTATION.format(
            summary=self.summary,
            tags=", ".join(f'`"{tag}"`' for tag in self.tags) or "none for this model",
            weights=self.weights,
            input_shape=self.input_shape,
            classes=self.classes,
            keywords=self.keyword_docs,
            source=self.source,
        )

    def _with_weights(self, weights, arguments, keywords):
        """Build a model and load weights into it; all arguments are checked before a file is downloaded."""
        from keras_sd.models import builder
        from keras_sd.weights.loading import build_and_load

        source, keywords = self.fitted(weights, arguments["include_top"], keywords)
        row = source.row
        spec = self.make_spec(**keywords)
        base = self._filled(spec, arguments | {"input_shape": None, "classes": _DEFAULT}, row)
        arguments = self._filled(spec, arguments, row)
        if row is not None:
            if arguments["classifier_activation"] == self.classifier_activation:  # default: as trained
                arguments["classifier_activation"] = row.classifier_activation
            _check_activation(row, arguments)
            if arguments["rescale"] is True and row.preprocessing is not None:
                arguments["rescale"] = row.preprocessing
        shape = builder.check(spec, **arguments)
        # Weights are adapted only if the caller asked for other classes or channels.
        channels = -1 if builder.channels_last() else 0
        asked = (arguments["classes"], shape[channels])
        adapt = asked != (base["classes"], base["input_shape"][channels])
        content = source.read()
        return build_and_load(lambda: builder.build(spec, **arguments), content, adapt)

    def fitted(self, weights: Any, include_top: bool, keywords: dict[str, Any]) -> "tuple[Source, dict[str, Any]]":
        """Return the source of weights, and the keyword arguments completed by those that the weights need.

        Args:
            weights, include_top: Arguments of the function; `weights` is not `None`.
            keywords: Keyword arguments of the caller.

        Raises:
            ValueError: The arguments contradict the weights.
        """
        from keras_sd.weights import exported_folder
        from keras_sd.weights.sources import Source, implied_arguments, resolve

        source = resolve(self.name, weights, include_top)
        if source.row is None:
            content = source.read()
            source = Source(None, source.file, content)
            accepted = [field.name for field in dataclasses.fields(self.make_spec(**keywords))]
            return source, {**keywords, **implied_arguments(content, keywords, accepted)}
        if source.row.layout == exported_folder.FORMAT:
            self._check_exported(source.row)
        return source, {**keywords, **self._required(source.row, keywords)}

    def _check_exported(self, row):
        """Check the arguments in an exported folder, whose file may be damaged."""
        from keras_sd.weights import WeightsError, exported_folder

        try:
            self.make_spec(**row.arguments)
        except (TypeError, ValueError) as error:
            raise WeightsError(f"Cannot read '{row.source}/{exported_folder.CONFIG}': {error}") from error

    def _required(self, row, keywords):
        """Return the arguments that published weights need; those of the caller must not contradict them."""
        from keras_sd.weights import required_arguments

        own = _ARCHITECTURE & set(self.keywords) if row.name in WEIGHTS else ()
        try:
            return required_arguments(row, keywords, {name: self.keywords[name].default for name in own})
        except ValueError as error:
            hint = f" (The default of `weights` is {self.weights!r}; weights=None is random.)" if self.weights else ""
            raise ValueError(f"{error}{hint}") from None


def _check_activation(row, arguments):
    """Check the activation of a trained classifier, which was trained for one activation."""
    activation, trained = arguments["classifier_activation"], row.classifier_activation
    if not arguments["include_top"] or arguments["classes"] != row.classes or activation in (None, trained):
        return
    allowed = f"None or {trained!r} with the classifier of the weights {row.name}"
    raise refusal("classifier_activation", allowed, activation)
