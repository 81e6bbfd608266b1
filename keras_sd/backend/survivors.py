"""Which blocks a loop runs over: what engines and draws of gates tell a stack."""

from typing import Any, NamedTuple


class Survivors(NamedTuple):
    """The blocks that a loop over blocks runs.

    Attributes:
        length: Number of iterations: an integer, or a scalar tensor where it is known only at run time.
        rows: Indices of the blocks in ascending order, a tensor; `None` for all blocks.
        live: Booleans, one for each iteration; an iteration where it is false changes nothing. `None`: all true.
    """

    length: Any
    rows: Any = None
    live: Any = None
