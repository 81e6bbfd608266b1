"""Write the stub of the package: signatures of the factories for editors, type checkers and the documentation.

The factories are created when the package is imported, so its source contains neither signatures nor docstrings.
`python -m keras_sd.applications._stubs applications/__init__.pyi` writes the stub.
"""

import inspect
import sys
import types
from pathlib import Path

from keras_sd.applications import _registry
from keras_sd.applications._factory import ARGUMENT_TYPES

_HEAD = """# Generated: python -m keras_sd.applications._stubs applications/__init__.pyi

import os
from collections.abc import Callable, Sequence

import keras

from keras_sd.applications import densenet as densenet
from keras_sd.applications import perceptron as perceptron
from keras_sd.applications import plainnet as plainnet
from keras_sd.applications import resnet as resnet
from keras_sd.applications import resnet_v2 as resnet_v2
from keras_sd.applications import wide_resnet as wide_resnet
from keras_sd.applications._cards import model_card as model_card
from keras_sd.applications._cards import models_table as models_table
from keras_sd.applications._registry import MODELS as MODELS
from keras_sd.applications._registry import Model as Model
from keras_sd.applications._registry import find as find
from keras_sd.applications._registry import get_model as get_model
from keras_sd.applications._registry import list_models as list_models
from keras_sd.weights import WeightsFile
"""


def stub() -> str:
    """Return the stub, which has a function with types and docstring for each factory."""
    return "\n\n".join([_HEAD.rstrip(), *map(_function, _registry.FACTORIES.values())]) + "\n"


def _function(factory):
    lines = [f"def {factory.name}("]
    for parameter in inspect.signature(factory.function()).parameters.values():
        if parameter.name == "rescale":  # the first keyword-only argument
            lines.append("    *,")
        kind = factory.keywords[parameter.name].type if parameter.name in factory.keywords else None
        lines.append(f"    {parameter.name}: {(kind and _type(kind)) or ARGUMENT_TYPES[parameter.name]}")
        lines[-1] += f" = {_default(parameter.default)},"
    documentation = factory.function().__doc__.replace("\n", "\n    ").rstrip()
    documentation = "\n".join(line.rstrip() for line in documentation.splitlines())
    return "\n".join([*lines, ") -> keras.Model:", f'    """{documentation}', '    """'])


def _type(kind):
    if isinstance(kind, types.UnionType):
        return " | ".join(map(_type, kind.__args__))
    if isinstance(kind, types.GenericAlias):
        return str(kind).replace("collections.abc.", "")
    return "None" if kind is type(None) else kind.__name__


def _default(value):
    """Return a default as source code; an ellipsis for functions."""
    return "..." if callable(value) else repr(value).replace("'", '"')


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m keras_sd.applications._stubs FILE")
    Path(sys.argv[1]).write_text(stub(), encoding="utf-8")
