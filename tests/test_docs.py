"""The documentation holds: its Python runs, and its commands have the options that they are given."""

import ast
import json
import re
import shlex
from pathlib import Path

import keras
import keras_tuner
import pytest
import typer

from keras_sd import cli
from keras_sd.weights import WEIGHTS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# A block, with the comment in front of it that says why it is not run, or what it needs.
BLOCK = re.compile(r"(?:<!-- (not run|needs): (.+?) -->\n)?```python\n(.*?)```", re.DOTALL)
# What the site replaces with a file. (Ruff formats the form of one line as if it were Python.)
SNIPPET = re.compile(r"^--8<--\n(.+)\n--8<--$", re.MULTILINE)
SHELL = re.compile(r"```shell\n(.*?)```", re.DOTALL)
# Numbers that make an example worth while, and a test slow.
FEWER = [(r"epochs=\d+", "epochs=1"), (r"max_trials=\d+", "max_trials=2"), (r"depth=16", "depth=10")]
# What marks a page by a sign in its text.
MARKS = {
    "<!-- needs: weights -->": pytest.mark.weights,
    "epochs=": pytest.mark.large,
    "# Coming from ": pytest.mark.slow,  # networks for ImageNet
}


TUNING = ROOT / "docs" / "tuning.md"  # has a test of its own


def pages_with_python():
    """Parameters for a test: the text of each other page with Python in it."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if page != TUNING and BLOCK.search(text):
            yield pytest.param(text, id=page.name, marks=[mark for sign, mark in MARKS.items() if sign in text])


def run(text):
    """Runs the blocks of a page in their order, of those not to run the imports; returns their common namespace.

    Of scripts that a page shows, this runs the definitions; `test_examples.py` runs the rest.
    """
    names = {}
    for kind, _, code in BLOCK.findall(text):
        code = SNIPPET.sub(lambda line: (ROOT / line[1]).read_text(encoding="utf-8"), code)
        if kind == "not run":
            imports = [n for n in ast.parse(code).body if isinstance(n, ast.Import | ast.ImportFrom)]
            code = "\n".join(map(ast.unparse, imports))
        for number, fewer in FEWER:
            code = re.sub(number, fewer, code)
        exec(compile(code, "documentation", "exec"), names)
    return names


@pytest.fixture
def cache(request, tmp_path, monkeypatch):
    """A cache of published weights that holds those of ResNet-20, and no way to fetch others."""
    monkeypatch.setenv("KERAS_SD_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_SD_OFFLINE", "1")
    if request.node.get_closest_marker("weights"):
        source = request.getfixturevalue("resnet20_file")
        target = tmp_path / "weights" / WEIGHTS["ResNet20.cifar10"].file.filename
        target.parent.mkdir()
        target.symlink_to(source)


@pytest.mark.parametrize("text", list(pages_with_python()))
@pytest.mark.usefixtures("cache")
def test_python_runs(text, tmp_path, monkeypatch, recwarn, capfd):
    """And nothing warns of what its reader cannot change."""
    monkeypatch.chdir(tmp_path)
    run(text)
    # Python shows deprecations to the authors of a library only.
    seen = [str(w.message) for w in recwarn if not issubclass(w.category, DeprecationWarning)]
    assert seen == []
    assert [line for line in capfd.readouterr().err.splitlines() if "WARNING" in line or "retracing" in line] == []


@pytest.mark.large
def test_the_example_of_tuning_searches(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = TUNING.read_text(encoding="utf-8")
    assert len(BLOCK.search(text)[3].splitlines()) <= 15
    names = run(text)
    assert isinstance(names["tuner"], keras_tuner.BayesianOptimization)
    assert isinstance(names["model"], keras.Model)
    assert len(json.loads(next(tmp_path.rglob("oracle.json")).read_text())["end_order"]) == 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_line_of_code_begins_a_list(page):
    """A line in the middle of `code` that begins with "- " would end the paragraph."""
    code = ""
    for line in re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL).splitlines():
        assert not (code.count("`") % 2 and re.match(r"\s*([-+*]|\d+\.) ", line)), line
        code = code + line if line.strip() else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_these_options(page):
    commands = "\n".join(SHELL.findall(page.read_text(encoding="utf-8"))).replace("\\\n", " ")  # continued lines
    for line in commands.splitlines():
        program, *words = shlex.split(line, comments=True) or [""]
        if program == "keras-sd":
            parse(typer.main.get_command(cli.app), words)


def parse(command, words):
    """Reads a command line as the program does, and stops before it acts."""
    while words and hasattr(command, "commands"):
        command, *words = command.commands[words[0]], *words[1:]
    command.make_context(command.name, words)
