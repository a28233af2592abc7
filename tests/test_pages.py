"""A check's page is its test: what it says fires does, and what it says is quiet is. Each example is ftrace text."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

import lockscope
from lockscope.checks.check import all_checks
from lockscope.cli._run import run
from lockscope.tables.schema import all_schemas

HEADINGS = ("What it finds", "Why it is a bug", "What to do", "What it looks like", "What it cannot see")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

BESIDE = {"LS903": ("LS102",)}  # it speaks of the other checks that were selected


def examples(kind: str) -> list[tuple[str, int, str]]:
    return [
        (code, number, text)
        for code, check in all_checks().items()
        for number, text in enumerate(t for k, t in _BLOCK.findall(check.page) if k == kind)
    ]


def found(tmp_path: Path, code: str, text: str) -> list[str]:
    """The codes of what the check finds in an example; each finding says all that its screen has a place for."""
    path = tmp_path / "example.txt"
    path.write_text(text)
    select = (code, *BESIDE.get(code, ()))
    report = lockscope.analyze([str(path)], lockscope.AnalyzeOptions(select=select))
    assert report.traces[0].events > 0
    for finding in report.findings:
        if finding.code < "LS9":
            assert finding.reason
            assert finding.advice
            assert finding.story or finding.by_events
    return [f.code for f in report.findings]


def named(cases: list[tuple[str, int, str]]) -> list[str]:
    return [f"{code}-{number}" for code, number, _ in cases]


@pytest.mark.parametrize("code", all_checks())
def test_a_page_has_its_headings_in_order_and_text_under_each(code: str) -> None:
    parts = re.split(r"^(.+)\n-{3,}$", all_checks()[code].page, flags=re.MULTILINE)
    assert tuple(parts[1::2]) == HEADINGS
    assert all(text.strip() for text in parts[2::2])


@pytest.mark.parametrize("code", all_checks())
def test_a_finding_says_what_to_do_about_it(code: str) -> None:
    advice = all_checks()[code].advice
    assert advice.endswith(".")
    assert "\n" not in advice
    assert "---" not in advice
    assert " ".join(all_checks()[code].page.split()).count(advice) == 1


@pytest.mark.parametrize("code", all_checks())
def test_a_page_shows_both_sides(code: str) -> None:
    kinds = {kind for kind, _ in _BLOCK.findall(all_checks()[code].page)}
    assert kinds == {"firing", "quiet"}


@pytest.mark.parametrize(("code", "number", "text"), examples("firing"), ids=named(examples("firing")))
def test_what_fires(tmp_path: Path, code: str, number: int, text: str) -> None:
    assert code in found(tmp_path, code, text)


@pytest.mark.parametrize(("code", "number", "text"), examples("quiet"), ids=named(examples("quiet")))
def test_what_is_quiet(tmp_path: Path, code: str, number: int, text: str) -> None:
    assert code not in found(tmp_path, code, text)


@pytest.mark.parametrize(("code", "number", "text"), examples("firing"), ids=named(examples("firing")))
def test_an_example_is_in_time_order(code: str, number: int, text: str) -> None:
    times = [float(t) for t in re.findall(r" (\d+\.\d+): ", text)]
    assert all(a < b for a, b in pairwise(times))


@pytest.mark.parametrize("name", all_schemas())
def test_a_table_explains_its_columns(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", f"table:{name}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"table:{name}"
    shown = [line.split()[:2] for line in lines[lines.index(next(x for x in lines if x.startswith("  column"))) + 1 :]]
    assert shown == [[c.name, str(c.type)] for c in all_schemas()[name].columns]
    assert all(c.doc.strip() for c in all_schemas()[name].columns)


@pytest.mark.parametrize("code", all_checks())
def test_a_page_prints(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", code]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{code} {all_checks()[code].name}: ")
    assert f"severity: {all_checks()[code].severity}\n" in out
