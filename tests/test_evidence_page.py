"""docs/evidence.md is what the checks say of themselves."""

from __future__ import annotations

from lockscope.checks.check import all_checks
from tests.builders.evidence_page import PAGE, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.builders.evidence_page"


def test_every_check_has_a_line_that_says_something() -> None:
    lines = {line[2:7]: line.split(" | ") for line in page().splitlines() if line.startswith("| LS")}
    assert set(lines) == set(all_checks())
    assert all(len(cells) == 4 and all(cell.strip(" |") for cell in cells) for cells in lines.values())
    assert "`raw_syscalls:sys_exit`" in page()
    assert "sys_exit" in lines["LS106"][1]
