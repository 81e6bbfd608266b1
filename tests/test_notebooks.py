"""The notebooks are those that the pages make, and their code runs."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
from test_docs import FEWER, cache  # noqa: F401, a fixture

from keras_sd.studies import STUDIES

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("make", FOLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code_of(name):
    """The code cells of a notebook, in order."""
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_notebooks_are_up_to_date(make):
    written = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.ipynb")}
    assert written == {name: make.notebook(name) for name in make.PAGES}, "run `python docs/notebooks/make.py`"


def test_a_page_becomes_cells(make):
    page = "# Title\n\n```python\nx = 1\n```\n\n<!-- not run: slow -->\n```python\ny = 2\n```\n[more](other.md)\n"
    text, code, shown = make.page_cells(page, make.python_cell)
    assert "".join(text["source"]) == "# Title"
    assert "".join(code["source"]) == "x = 1"
    assert "".join(shown["source"]) == "```python\ny = 2\n```\n[more](../other.md)"


def test_the_story_runs_each_study_once():
    studies = re.findall(r'^study\("(\w+)"\)', "\n".join(code_of("the-story-in-ten-pictures")), re.MULTILINE)
    assert sorted(studies) == sorted(STUDIES)


@pytest.mark.large
@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("quickstart"),
        pytest.param("fine-tuning", marks=pytest.mark.weights),
        pytest.param("the-story-in-ten-pictures"),
    ],
)
def test_notebooks_run(name, tmp_path, monkeypatch):
    """By plain `exec`, without Jupyter: all but the cell that installs."""
    monkeypatch.chdir(tmp_path)
    install, *cells = code_of(name)
    assert install.startswith("%pip install")
    names = {}
    for code in cells:
        for number, fewer in FEWER:
            code = re.sub(number, fewer, code)
        exec(compile(code, name, "exec"), names)
    if name == "the-story-in-ten-pictures":
        assert {path.stem for path in (tmp_path / "studies").glob("*.png")} >= set(STUDIES)
