"""Write the notebooks, which are made of the pages.

    python docs/notebooks/make.py

Prose becomes text cells, Python code cells. Shell commands and Python that is marked `<!-- not run: ... -->` are shown
as text. In the notebook of the story, each command of a study becomes a code cell that runs it in its quick form.
"""

import json
import re
from pathlib import Path

from keras_sd.studies import STUDIES

FOLDER = Path(__file__).parent
PAGES = {"quickstart": "quickstart.md", "fine-tuning": "finetune.md", "the-story-in-ten-pictures": "story.md"}
INSTALL = '%pip install --quiet "keras-sd[train]"'
BLOCK = re.compile(r"(?:<!-- (not run|needs): .+? -->\n)?^```(python|shell)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
STUDY = re.compile(r"^keras-sd study (\w+)", re.MULTILINE)
PICTURE = re.compile(r"^!\[.*\]\(figures/.*\)\n", re.MULTILINE)  # a study's cell shows its own
HERE = re.compile(r"^.*\(notebooks/.*\n", re.MULTILINE)  # the page's link to its notebook
NOTE = """Each cell below runs a study in its quick form and shows its picture: small networks, trained for a few epochs
on scanned digits. The numbers in the text are those of the full studies, which quick ones do not reproduce."""
SETUP = '''from pathlib import Path

from PIL import Image

from keras_sd import studies


def study(name):
    """Run a study in its quick form, print what it found, and return its picture."""
    outcome, _ = studies.run(name, studies.Options(Path("studies"), quick=True))
    print(outcome.finding)
    return Image.open(f"studies/{name}.png")
'''


def text_cell(text):
    """Return a cell of Markdown, whose links lead from this folder to the pages."""
    linked = re.sub(r"\]\((?!https?:|#)", "](../", text.strip("\n"))
    return {"cell_type": "markdown", "metadata": {}, "source": linked.splitlines(keepends=True)}


def code_cell(code):
    """Return a cell of Python that has not been run."""
    source = code.strip("\n").splitlines(keepends=True)
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}


def page_cells(page, block_cell):
    """Return the cells of a page.

    Args:
        page: The page's text.
        block_cell: Function of a match of `BLOCK` that returns a code cell, or `None` for one that is shown as text.
    """
    cells, text, end = [], "", 0
    for match in BLOCK.finditer(page):
        text += page[end : match.start()]
        cell, end = block_cell(match), match.end()
        if cell is None:
            text += f"```{match[2]}\n{match[3]}```\n"
            continue
        cells += [text_cell(text)] * bool(text.strip()) + [cell]
        text = ""
    text += page[end:]
    return cells + [text_cell(text)] * bool(text.strip())


def python_cell(match):
    """Return the cell of a block of Python that is to be run, `None` for other blocks."""
    return code_cell(match[3]) if match[2] == "python" and match[1] != "not run" else None


def story_cells(page):
    """Return the cells of the story: one for each study, those that the page does not run at the end."""
    missing = dict(STUDIES)

    def study_cell(match):
        found = STUDY.search(match[3])
        return code_cell(f'study("{found[1]}")') if found and missing.pop(found[1], None) else None

    cells = page_cells(PICTURE.sub("", page), study_cell)
    title = [text_cell(NOTE), code_cell(SETUP)]
    rest = [
        c for s in missing.values() for c in (text_cell(f"## {s.name}\n\n{s.claim}"), code_cell(f'study("{s.name}")'))
    ]
    return title + cells + rest


def notebook(name):
    """Return the text of a notebook."""
    page = (FOLDER.parent / PAGES[name]).read_text(encoding="utf-8")
    page = HERE.sub("", page)
    cells = story_cells(page) if PAGES[name] == "story.md" else page_cells(page, python_cell)
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    document = {
        "cells": [code_cell(INSTALL), *cells],
        "metadata": {"kernelspec": python, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 4,
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def main():
    """Write all notebooks."""
    for name in PAGES:
        (FOLDER / f"{name}.ipynb").write_text(notebook(name), encoding="utf-8")


if __name__ == "__main__":
    main()
