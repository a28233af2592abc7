"""Rings over locks that an address alone names, on kernels without lockdep: what lies there later may be another."""

from __future__ import annotations

import pytest

from lockscope.checks._base import all_checks
from lockscope.findings import Finding, Verdict
from tests.builders.found import walked
from tests.builders.script import Script, Task

A, B = 0xFFFF888100000100, 0xFFFF888100000200
MS = 1_000_000


def nested(t: Task, outer: int, inner: int) -> None:
    for lock, ip in ((outer, 0x99), (inner, 0xAA)):
        t.event("lockscope:mutex_lock_entry", lock=lock, caller=ip).event("lockscope:mutex_lock", __probe_ret_ip=ip)
    for lock in (inner, outer):
        t.event("lockscope:mutex_unlock", lock=lock)


def judged(*sides: tuple[int, int, int, int]) -> tuple[Verdict, Finding]:
    """``sides``: a pid takes the first lock and under it the second, at so many ms."""
    s = Script("7.3.4+deb13-amd64")
    for pid in (100, 101):
        s.task(f"task{pid}", pid, pid - 100).sys_exit()
    for pid, outer, inner, at_ms in sides:
        s.at(s.now if at_ms == 0 else 100 * MS + at_ms * MS)
        nested(s.task(f"task{pid}", pid, pid - 100), outer, inner)
    run, (finding,) = all_checks()["LS101"].run(walked(s).evidence)
    return run.verdict, finding


def test_sides_that_are_far_apart_may_be_of_other_locks() -> None:
    verdict, finding = judged((100, A, B, 1), (101, B, A, 800))
    assert (str(verdict), str(finding.severity), str(finding.confidence)) == ("unknown", "info", "possible")
    assert "nothing tells whether these are the same locks at both" in finding.message


@pytest.mark.parametrize(
    "sides",
    [
        ((100, A, B, 1), (101, B, A, 0)),
        ((100, A, B, 1), (101, B, A, 800), (100, A, B, 900)),  # in turns
        ((100, A, B, 1), (101, B, A, 500), (100, A, B, 900), (101, B, A, 950)),
    ],
)
def test_sides_that_are_close_or_come_in_turns_are_of_the_same(sides: tuple[tuple[int, int, int, int], ...]) -> None:
    verdict, finding = judged(*sides)
    assert (str(verdict), str(finding.severity)) == ("violation", "error")
