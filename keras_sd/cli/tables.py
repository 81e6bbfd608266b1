"""Tables that commands print: aligned columns, JSON or CSV."""

import csv
import io
import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, NamedTuple

import typer
from rich.cells import cell_len

from keras_sd.cli.console import printable
from keras_sd.utils.checks import refusal

Json = Annotated[bool, typer.Option("--json", help="Print JSON: a list of objects, with all columns.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV, with all columns.")]
_GAP = "  "


class Column(NamedTuple):
    """A column of a table.

    Args:
        name: Its heading, and its key in JSON.
        show: Function from a value that is not `None` to the text of its cell.
        is_number: Whether cells are aligned on the right.
        rank: Order of omission: in a narrow terminal, columns of the highest rank are omitted first. Columns of rank 0
            are always shown in full.
        wraps: Whether the cells of the column, which is the last one, continue on further lines in a narrow terminal,
            as long as no word is cut.
    """

    name: str
    show: Callable[[Any], str] = str
    is_number: bool = False
    rank: int = 0
    wraps: bool = False


def print_table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Any]],
    as_json: bool = False,
    as_csv: bool = False,
    title: str | None = None,
) -> None:
    """Print a table to standard output; only a terminal limits its width.

    Args:
        columns: The columns, the most important first.
        rows: Values for each column, `None` for an empty cell.
        as_json, as_csv: Print JSON or CSV instead, not both; values are then not shortened.
        title: Line above the table.

    Raises:
        ValueError: Both forms are requested.
    """
    if as_json and as_csv:
        raise refusal("json", "left out with --csv", True)
    rows = [tuple(row) for row in rows]
    names = [column.name for column in columns]
    if as_json:
        typer.echo(json.dumps([dict(zip(names, row)) for row in rows], indent=2))
    elif as_csv:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([names, *rows])
        typer.echo(text.getvalue(), nl=False)
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        typer.echo("\n".join(lines(columns, rows, width, title)))


def lines(
    columns: Sequence[Column], rows: Sequence[Sequence[Any]], width: int | None = None, title: str | None = None
) -> list[str]:
    """Return the lines of a table.

    Args:
        columns, rows, title: As in `print_table`.
        width: Columns of the terminal; `None` for no limit.
    """
    cells = [["" if v is None else printable(c.show(v)) for c, v in zip(columns, row)] for row in rows]
    widths = [max(map(cell_len, [c.name, *(row[i] for row in cells)])) for i, c in enumerate(columns)]
    if width is not None and columns[-1].wraps:
        widths[-1] = _wrapped_width([row[-1] for row in cells], widths, width)
        cells = [part for row in cells for part in _wrapped(row, widths[-1])]
    shown = _fitting(columns, widths, width)
    table = [[column.name for column in columns], ["-" * size for size in widths], *cells]
    drawn = [_GAP.join(_padded(row[i], widths[i], columns[i]) for i in shown).rstrip() for row in table]
    hidden = [column.name for i, column in enumerate(columns) if i not in shown]
    note = f"(also in a wider terminal, a pipe, --csv or --json: {', '.join(hidden)})"
    return [*([printable(title)] if title else []), *drawn, *(_words(note, width) if hidden else [])]


def _wrapped_width(cells, widths, width):
    """Return the width of the last column such that the table fits, or at least its longest word does."""
    left = width - sum(widths[:-1]) - len(_GAP) * (len(widths) - 1)
    longest = max((cell_len(word) for cell in cells for word in cell.split()), default=0)
    return min(widths[-1], max(left, longest))


def _wrapped(row, width):
    """Return a row as several ones if the text of its last cell is wider than the column."""
    first, *rest = _words(row[-1], width) or [""]
    return [[*row[:-1], first], *([*[""] * (len(row) - 1), more] for more in rest)]


def _words(text, width):
    return textwrap.wrap(text, width or sys.maxsize, break_long_words=False, break_on_hyphens=False)


def _padded(text, size, column):
    space = " " * (size - cell_len(text))
    return space + text if column.is_number else text + space


def _fitting(columns, widths, width):
    """Return the indices of the columns that fit a width."""
    shown = list(range(len(columns)))
    while width is not None and sum(widths[i] for i in shown) + len(_GAP) * (len(shown) - 1) > width:
        worst = max(shown, key=lambda i: (columns[i].rank, i))
        if columns[worst].rank == 0:
            break
        shown.remove(worst)
    return shown
