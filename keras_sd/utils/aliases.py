"""Type aliases for the hints of the package."""

from typing import Any

Tensor = Any  # a tensor of the current engine
Shape = tuple[int | None, ...]
