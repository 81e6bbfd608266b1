"""Names for types that hints use throughout the package."""

from typing import Any

Tensor = Any  # of the engine in use
Shape = tuple[int | None, ...]
