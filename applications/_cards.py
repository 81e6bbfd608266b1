"""Descriptions of models: a card for one model, and a table of all models.

`python -m keras_sd.applications._cards docs/models.md` writes the table.
"""

import dataclasses
import sys
from pathlib import Path

import keras

from keras_sd.analysis.cost import flops
from keras_sd.applications._registry import MODELS, Model, find, get_model
from keras_sd.models.specs import DenseNetSpec, MLPSpec, ResNetSpec
from keras_sd.weights import WEIGHTS

_FAMILIES = {
    "perceptron": "Perceptrons",
    "plainnet": "Plain networks",
    "resnet": "Residual networks",
    "resnet_v2": "Residual networks with pre-activation",
    "wide_resnet": "Wide residual networks",
    "densenet": "Densely connected networks",
}
_PAGE = """# Models

Every model is a function of `keras_sd.applications` with the arguments of keras.applications and further keyword-only
arguments. `ResNet(depth=...)`, `PlainNet(depth=...)` and `DenseNet(depth=...)` build any other size.

- *Depth*: layers with weights, as the papers count them (without projections); by this count DenseNet264 has 265.
- *Blocks*: the residual blocks or dense layers that stochastic depth can drop. In parentheses: how many of them a
  training step runs on average with `survival_probability=0.5` and the linear schedule of the paper.
- *Parameters*: trainable parameters, for the default input and classes.
- *FLOPs*: of the forward pass of one image, counted from the graph; a multiply-add is two operations.
- *Published*: a published top-1 test error of the architecture, which was not measured here, and its source. On
  CIFAR-10 with the standard augmentation of the papers.
- *Weights*: names for `weights=`, which also accepts files and `hf://owner/name`. `keras-sd weights list` shows all.

This page is generated: `python -m keras_sd.applications._cards docs/models.md`.
"""
_COLUMNS = ("Model", "Depth", "Blocks", "Parameters", "FLOPs", "Published", "Weights")


def model_card(name: str) -> str:
    """Return a description of a model, as Markdown.

    Args:
        name: A name in `list_models()`; case does not matter.

    Returns:
        Architecture, parameters, FLOPs, depth, input, published error and its source, and the published weights with
        their licenses, accuracies and preprocessing.

    Raises:
        ValueError: No model has this name.
    """
    row = find(name)
    height, width, channels = row.input_shape
    facts = {
        "Architecture": f"{_architecture(row.spec)} ({row.source})",
        "Input": f"{height}x{width}x{channels}, {row.classes:,} classes",
        "Depth": f"{row.depth} layers with weights, {row.spec.num_blocks} blocks",
        "Parameters": f"{row.parameters:,}",
        "FLOPs": f"{flops_of(row):,} for one image (a multiply-add counts as two)",
    }
    if row.spec.survival_probabilities and row.family != "plainnet":
        facts["Expected depth"] = f"{_expected_depth(row)} blocks with `survival_probability=0.5`"
    if row.error is not None:
        facts["Published error"] = f"{row.error.percent:.2f} % ({row.error.data}; {row.error.source})"
    lines = [f"# {row.name}", "", *(f"- {what}: {fact}" for what, fact in facts.items()), "", "## Weights", ""]
    published = [weights for weights in WEIGHTS.values() if weights.architecture == row.name]
    lines += [_describe(weights) for weights in published] or ["None are published for this model."]
    return "\n".join(lines) + "\n"


def _architecture(spec):
    """Return the architecture in one phrase."""
    stages = " + ".join(map(str, getattr(spec, "blocks", ())))
    if isinstance(spec, MLPSpec):
        return f"hidden layers of {', '.join(map(str, spec.widths))} units" if spec.widths else "one layer of units"
    if isinstance(spec, DenseNetSpec):
        layer = "bottleneck layers" if spec.bottleneck_width else "layers"
        return f"dense blocks of {stages} {layer}, growth rate {spec.growth_rate}, compression {spec.compression:g}"
    assert isinstance(spec, ResNetSpec)
    if spec.shortcut == "none":
        return f"stages of {stages} pairs of 3x3 convolutions with {spec.filters} channels, no shortcuts"
    stride = f", stride in the {spec.stride_in} convolution" if len(spec.kind.convolutions) == 3 else ""
    return f"stages of {stages} {spec.kind.title} blocks with {spec.widths} channels, {spec.shortcut} shortcuts{stride}"


def _describe(weights):
    """Return a line about published weights."""
    how = weights.preprocessing
    resize = f"{how.size}x{how.size}"
    if how.interpolation:
        resize += f" ({how.interpolation}, {how.crop:g} of the image{'' if how.keep_aspect else ', stretched'})"
    scale = {1 / 255: "1/255", 1 / 127.5: "1/127.5"}.get(how.scale, f"{how.scale:g}")
    top = "" if weights.include_top else ", without the classifier"
    accuracy = "" if weights.accuracy is None else f"; top-1 accuracy {weights.accuracy:.4g}"
    return (
        f"- `{weights.tag}`{top}: [source]({weights.source}), license {weights.license}{accuracy}; "
        f"{resize}, {how.channels}, (image * {scale} - {_numbers(how.mean)}) / {_numbers(how.std)}"
    )


def _numbers(values):
    return f"{values[0]:g}" if len(set(values)) == 1 else f"({', '.join(f'{v:g}' for v in values)})"


def models_table() -> str:
    """Return the page of all models, `docs/models.md`, as Markdown; building each model takes about half a minute."""
    lines = [_PAGE]
    for family, title in _FAMILIES.items():
        for shape in dict.fromkeys(row.input_shape for row in MODELS.values() if row.family == family):
            lines += [f"## {title}, {shape[0]}x{shape[1]} images", "", _cells(_COLUMNS)]
            lines += [_cells(["---", *["---:"] * 4, "---", "---"])]
            rows = (row for row in MODELS.values() if (row.family, row.input_shape) == (family, shape))
            lines += [*(_cells(_figures(row)) for row in rows), ""]
    return "\n".join(lines)


def _cells(values):
    return f"| {' | '.join(values)} |"


def _figures(row):
    stochastic = row.spec.survival_probabilities and row.family != "plainnet"
    tags = row.weights if len(row.weights) < 4 else (*row.weights[:2], f"{len(row.weights) - 2} more")
    return (
        f"`{row.name}`",
        f"{row.depth}",
        f"{row.spec.num_blocks} ({_expected_depth(row)})" if stochastic else f"{row.spec.num_blocks}",
        f"{row.parameters:,}",
        _short(flops_of(row)),
        row.source if row.error is None else f"{row.error.percent:.2f} % ({row.error.data}): {row.error.source}",
        ", ".join(f"`{tag}`" if " " not in tag else tag for tag in tags),
    )


def _short(number):
    """Return a number with four digits and G, M or k."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.4g} {letter}"
    return str(number)


def flops_of(row: Model) -> float:
    """Return the operations of a model of the table for one image, counted from its shapes."""
    with keras.StatelessScope(initialize_variables=False):  # only shapes matter
        return flops(get_model(row.name, weights=None))


def _expected_depth(row):
    spec = dataclasses.replace(row.spec, survival_probability=0.5)
    return f"{spec.expected_depth:.2f}".rstrip("0").rstrip(".")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m keras_sd.applications._cards FILE")
    Path(sys.argv[1]).write_text(models_table(), encoding="utf-8")
