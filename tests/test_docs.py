"""The documentation holds: its Python runs, and its commands have the options that they are given."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer

from keras_sd import cli
from keras_sd.weights import WEIGHTS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# A block, with the comment in front of it that says why it is not run, or what it needs.
BLOCK = re.compile(r"(?:<!-- (not run|needs): (.+?) -->\n)?```python\n(.*?)```", re.DOTALL)
SHELL = re.compile(r"```shell\n(.*?)```", re.DOTALL)
# Numbers that make an example worth while, and a test slow.
FEWER = [(r"epochs=\d+", "epochs=1"), (r"max_trials=\d+", "max_trials=2"), (r"depth=16", "depth=10")]
# What marks a page by a sign in its text.
MARKS = {"<!-- needs: weights -->": pytest.mark.weights, "epochs=": pytest.mark.slow}


def pages_with_python():
    """Parameters for a test: the text of each page with Python in it."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if BLOCK.search(text):
            yield pytest.param(text, id=page.name, marks=[mark for sign, mark in MARKS.items() if sign in text])


def run(code, name, names):
    for number, fewer in FEWER:
        code = re.sub(number, fewer, code)
    exec(compile(code, name, "exec"), names)


@pytest.fixture
def cache(request, tmp_path, monkeypatch):
    """A cache of published weights that holds those of ResNet-20, and no way to fetch others."""
    monkeypatch.setenv("KERAS_SD_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_SD_OFFLINE", "1")
    if request.node.get_closest_marker("weights"):
        source = request.getfixturevalue("resnet20_file")
        target = tmp_path / "weights" / WEIGHTS["ResNet20.cifar10"].filename
        target.parent.mkdir()
        target.symlink_to(source)


@pytest.mark.parametrize("text", list(pages_with_python()))
@pytest.mark.usefixtures("cache")
def test_python_runs(text, tmp_path, monkeypatch):
    """Blocks of a page run in their order, in one namespace; of those that do not, the imports."""
    monkeypatch.chdir(tmp_path)
    names = {}
    for kind, _, code in BLOCK.findall(text):
        if kind == "not run":
            imports = [n for n in ast.parse(code).body if isinstance(n, ast.Import | ast.ImportFrom)]
            code = "\n".join(map(ast.unparse, imports))
        run(code, "documentation", names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_these_options(page):
    for line in "\n".join(SHELL.findall(page.read_text(encoding="utf-8"))).splitlines():
        program, *words = shlex.split(line, comments=True) or [""]
        if program == "keras-sd":
            parse(typer.main.get_command(cli.app), words)


def parse(command, words):
    """Reads a command line as the program does, and stops before it acts."""
    while words and hasattr(command, "commands"):
        command, *words = command.commands[words[0]], *words[1:]
    command.make_context(command.name, words)
