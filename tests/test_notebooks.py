"""The notebooks run, and show what is stored in them."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from tests.builders.notebooks import NOTEBOOKS, run

ALL = sorted(NOTEBOOKS.glob("*.ipynb"))
QUICK = ("03-unflushed-write-protect",)
CASES = [pytest.param(p, id=p.stem, marks=[] if p.stem in QUICK else [pytest.mark.all]) for p in ALL]


def texts(notebook: NotebookNode) -> list[str]:
    """What each code cell prints or shows as text; figures as the word, and what shows itself as HTML as another."""

    def told(output: NotebookNode) -> str:
        data = output.get("data", {})
        if "text/html" in data and "<table" not in data["text/html"].partition("lockscope")[0]:
            return "<HTML>"  # of ours: it changes with every check that is added
        return output.get("text") or re.sub(r"<Figure size [^>]*>", "<Figure>", data.get("text/plain", ""))

    return ["".join(told(o) for o in cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]


def figures(notebook: NotebookNode) -> int:
    return sum("image/png" in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", []))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", CASES)
def test_a_notebook_shows_what_is_stored(path: Path) -> None:
    stored, now = nbformat.read(path, as_version=4), run(path)
    assert texts(now) == texts(stored)
    assert figures(now) == figures(stored)


def test_each_of_them_says_something() -> None:
    assert [p.name[:2] for p in ALL] == ["01", "02", "03", "04", "05", "06"]
    for path in ALL:
        stored = nbformat.read(path, as_version=4)
        assert all(text for text in texts(stored)), path.name
        assert "Traceback" not in path.read_text()
        assert path.stat().st_size < 1_000_000
    assert sum(figures(nbformat.read(p, as_version=4)) for p in ALL) >= 12


def test_a_load_in_a_notebook_shows_a_bar() -> None:
    from lockscope.trace.progress import Bar, showing

    bar = Bar("holds of <trace>", total=4_000_000)
    half = bar.html_of(2_000_000, bar.total, 1.0)
    assert '<progress value="0.500"' in half
    assert "holds of &lt;trace&gt;: 2,000,000 events, 2.0 million/s" in half
    assert "<progress style" in Bar("x").html_of(5, None, 0.0)
    with showing("outside of a notebook") as nothing:
        assert nothing is None
