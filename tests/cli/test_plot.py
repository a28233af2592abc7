"""``lockscope plot``."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockscope.cli._run import run
from lockscope.cli.plot import FIGURES
from lockscope.plots.figure import figures

DIRTY = str(Path(__file__).parents[2] / "sample_traces" / "dirty_log.dat")


def test_the_help_names_every_figure() -> None:
    assert tuple(n.replace("_", "-") for n in figures()) == FIGURES


def test_a_figure_of_a_stretch_and_some_locks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "a.svg"
    words = ["plot", DIRTY, "hold-times", "-o", str(place), "--from", "+10ms", "--lock", "kvm->mmu_lock,&kvm->srcu"]
    assert run(words) == 0
    assert capsys.readouterr().out == f"{place}\n"
    svg = place.read_text()
    assert ">&amp;(kvm)-&gt;mmu_lock<" in svg
    assert ">&amp;rq-&gt;__lock<" not in svg
    assert "How long locks are held" in svg


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pie"], "FIGURE pie: unknown figure; choose from contention"),
        (["gant"], "did you mean gantt?"),
        (["gantt", "-o", "a.gif"], "-o a.gif: a figure is written as .png, .svg, .pdf"),
        (["gantt", "--from", "soon"], "--from: 'soon' is no time; wanted one like 2.1s"),
        (["gantt", "--task", "qemu"], "--task qemu: no task of "),
        (["sptes", "--gfn", "9..3"], "--gfn 9..3: the first frame is not below the last"),
        (["sptes", "--gfn", "abc"], "--gfn abc: wanted frame numbers"),
        (["sptes", "--gfn", "1..2"], "no SPTE of a known guest frame changes here"),
        (["gantt", "-o", "/nowhere/a.png"], "there is no directory /nowhere"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["plot", DIRTY, *words]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
