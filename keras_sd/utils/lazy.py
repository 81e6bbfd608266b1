"""Lazy imports of the names of packages, on first use: `keras-sd models` prints a table without loading an engine."""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable
from typing import Any


def lazy_exports(package: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package, which imports the names in its `if TYPE_CHECKING:` block on first use.

    Type checkers and readers see ordinary imports. Modules in the package are also attributes.

    Args:
        package: The package's `__name__`.
    """
    module = sys.modules[package]
    loader = module.__spec__.loader  # type: ignore[union-attr]  # a module that is being imported has one
    homes = _homes(loader.get_source(package))  # type: ignore[union-attr]

    def get(name: str) -> Any:
        home = homes.get(name)
        if home not in (None, package):
            value = getattr(importlib.import_module(home), name)
        elif home or _is_module(module, name):
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(module, name, value)
        return value

    return get


def _is_module(package, name):
    is_package = "__path__" in vars(package)  # `hasattr` would trigger the lazy exports
    return is_package and name[0] != "_" and importlib.util.find_spec(f"{package.__name__}.{name}")


def _homes(source):
    """Return the module that each name is imported from in the conditional blocks of a source text."""
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module for node in imports for alias in node.names}


def load(package: Any) -> None:
    """Import all names of a package with lazy exports, because their registration with Keras is needed."""
    for name in package.__all__:
        getattr(package, name)
