"""The style of all figures: sizes, grids, ticks, and one color for each kind of network."""

import io
import itertools
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from keras_sd.utils.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The palette of Okabe and Ito, whose colors can be told apart with any color vision, and further colors.
_BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
_OTHERS = ("#56B4E9", "#000000", "#8C564B", "#BCBD22", "#17BECF")
PALETTE = (_BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, *_OTHERS)
HIGHLIGHT = _VERMILION
MUTED = "#7F7F7F"
# Patterns of the labels of networks; the first match counts.
_KINDS = (
    ("plain", _VERMILION),
    ("dense", _PURPLE),
    (r"stochastic|, p 0?\.", _GREEN),
    ("res", _BLUE),
    ("mlp", _ORANGE),
    ("perceptron", MUTED),
)


def panels(rows: int, columns: int, title: str | None, size: tuple[float, float] = (4.6, 3.9)) -> tuple["Figure", list]:
    """Return a figure of panels and the list of its axes.

    Args:
        rows, columns: Integers.
        title: String; `None` for no title.
        size: Width and height of a panel in inches, of 120 pixels.
    """
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    figure = Figure(figsize=(size[0] * columns, size[1] * rows), dpi=120, layout="constrained")
    if title:
        figure.suptitle(title)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for one in axes:
        one.grid(alpha=0.3)
        one.set_axisbelow(True)
    return figure, axes


def colors(labels: Iterable[str]) -> dict[str, str]:
    """Return a color for each network, by the kind that its label names.

    A kind has the same color on all figures. Further networks of the same kind, and networks of other kinds, have the
    colors that are left.
    """
    others = itertools.cycle(_OTHERS)
    found: dict[str, str] = {}
    for label in labels:
        if label not in found:
            own = next((color for kind, color in _KINDS if re.search(kind, label, re.IGNORECASE)), None)
            found[label] = next(others) if own is None or own in found.values() else own
    return found


def set_log_scale(axes: "Axes", axis: str) -> None:
    """Make an axis logarithmic, with labels 1, 2, 5, 10 where its range is small. Call it after plotting.

    Matplotlib's own labels of small ranges, such as 2.8 x 10^0, are hard to read. Labels of a range of less than a
    factor of 5 are equidistant, since it may contain only one of 1, 2, 5.

    Args:
        axes: Axes with data.
        axis: "x" or "y".
    """
    from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    axes.set(**{f"{axis}scale": "log"})
    low, high = getattr(axes, f"get_{axis}lim")()
    if math.log10(high / low) > 4:
        return
    scale = getattr(axes, f"{axis}axis")
    engineering = EngFormatter(sep="")
    scale.set_major_locator(MaxNLocator(6) if high < 5 * low else LogLocator(subs=(1, 2, 5)))
    scale.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}" if x < 1000 else engineering(x)))
    scale.set_minor_locator(NullLocator())
    scale.set_minor_formatter(NullFormatter())


def save_figure(figure: "Figure", path: str | os.PathLike) -> None:
    """Write a figure as an image atomically, in the format of the path's suffix."""
    image = io.BytesIO()
    figure.savefig(image, format=Path(path).suffix[1:])
    write_atomically(path, image.getbuffer())
