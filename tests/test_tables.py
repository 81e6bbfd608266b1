"""Tables of the command: names are whole at any width, and a program reads what a terminal shows."""

import csv
import io
import json

import pytest
from helpers import keras_sd

from keras_sd.cli.tables import Column, lines

COLUMNS = (
    Column("name"),
    Column("error", "{:.2f}".format, is_number=True, rank=1),
    Column("note", rank=2),
)
ROWS = [("a_name_that_must_be_typed", 5.25, "long " * 10), ("b", None, "数字")]


def test_without_a_limit_all_is_shown():
    assert lines(COLUMNS, ROWS, title="Things") == [
        "Things",
        "name                       error  note",
        "-------------------------  -----  -------------------------------------------------",
        "a_name_that_must_be_typed   5.25  long long long long long long long long long long",
        "b                                 数字",
    ]


@pytest.mark.parametrize(
    ("width", "headings"), [(85, ["name", "error", "note"]), (80, ["name", "error"]), (30, ["name"]), (5, ["name"])]
)
def test_a_narrow_terminal_loses_whole_columns_the_least_important_first(width, headings):
    head, _, first, *rest = lines(COLUMNS, ROWS, width)
    assert head.split() == headings
    assert first.split()[0] == "a_name_that_must_be_typed"
    assert ("note" in rest[-1]) is (len(headings) < 3)


def test_the_last_column_continues_on_further_lines_in_a_narrow_terminal():
    columns = (*COLUMNS[:2], Column("note", wraps=True))
    assert lines(columns, ROWS[:1], 55) == [
        "name                       error  note",
        "-------------------------  -----  ---------------------",
        "a_name_that_must_be_typed   5.25  long long long long",
        " " * 34 + "long long long long",
        " " * 34 + "long long",
    ]
    assert lines(columns, ROWS[:1], 10)[2] == "a_name_that_must_be_typed  long"
    assert lines(columns, ROWS[:1]) == lines(COLUMNS, ROWS[:1])


@pytest.mark.parametrize("command", [("recipes",), ("models",), ("weights", "list"), ("study",)])
def test_each_list_is_also_json_and_csv(command):
    rows = json.loads(keras_sd(*command, "--json").output)
    table = list(csv.DictReader(io.StringIO(keras_sd(*command, "--csv").output)))
    assert [list(row) for row in table] == [list(row) for row in rows]
    names = [next(iter(row.values())) for row in rows]
    assert [next(iter(row.values())) for row in table] == names
    printed = keras_sd(*command).output.splitlines()
    assert all(any(line.startswith(name) for line in printed) for name in names)
