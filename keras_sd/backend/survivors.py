"""Description of the blocks that a loop over a stack runs."""

from typing import Any, NamedTuple


class Survivors(NamedTuple):
    """The blocks that a loop over blocks runs.

    Attributes:
        length: Number of iterations: an integer, or a scalar tensor if it is known only at run time.
        rows: Indices of the blocks in ascending order, a tensor; `None` for all blocks.
        live: Booleans, one for each iteration; if it is false, the iteration changes nothing. `None`: all true.
    """

    length: Any
    rows: Any = None
    live: Any = None
