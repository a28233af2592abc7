"""Rings over locks that an address alone names, on kernels without lockdep: what lies there later may be another."""

from __future__ import annotations

import pytest

from lockscope.checks.check import all_checks
from lockscope.evidence.gather import GatherOptions, gather
from lockscope.results.findings import Finding, Verdict
from lockscope.rules.load import choose
from lockscope.tables.symbols import Symbols
from tests.builders.script import Script, Task

A, B = 0xFFFF888100000100, 0xFFFF888100000200
MS = 1_000_000


def nested(t: Task, outer: int, inner: int, sites: tuple[int, int]) -> None:
    for lock, ip in zip((outer, inner), sites, strict=True):
        t.event("lockscope:mutex_lock_entry", lock=lock, caller=ip).event("lockscope:mutex_lock", __probe_ret_ip=ip)
    for lock in (inner, outer):
        t.event("lockscope:mutex_unlock", lock=lock)


D_WALK = {A: 0xFFFFFFFF81000010, B: 0xFFFFFFFF81000050}  # one function takes both
APART = {A: 0xFFFFFFFF81001010, B: 0xFFFFFFFF81002010}
KALLSYMS = b"ffffffff81000000 T d_walk\nffffffff81001000 T of_a\nffffffff81002000 T of_b\nffffffff81003000 T end\n"


def judged(*sides: tuple[int, int, int, int], sites: dict[int, int] = D_WALK) -> tuple[Verdict, Finding]:
    """``sides``: a pid takes the first lock and under it the second, at so many ms."""
    s = Script("7.3.4+deb13-amd64")
    for pid in (100, 101):
        s.task(f"task{pid}", pid, pid - 100).sys_exit()
    for pid, outer, inner, at_ms in sides:
        s.at(s.now if at_ms == 0 else 100 * MS + at_ms * MS)
        nested(s.task(f"task{pid}", pid, pid - 100), outer, inner, (sites[outer], sites[inner]))
    reader = s.reader()
    reader.info.symbols = lambda: Symbols.parse(KALLSYMS)
    found = gather(reader, choose("7.3.4", "auto")[0], GatherOptions())
    run, (finding,) = all_checks()["LS101"].run(found.evidence)
    return run.verdict, finding


def test_sides_that_are_far_apart_may_be_of_other_locks() -> None:
    verdict, finding = judged((100, A, B, 1), (101, B, A, 800))
    assert (str(verdict), str(finding.severity), str(finding.confidence)) == ("unknown", "info", "possible")
    assert "nothing tells whether these are the same locks at both" in finding.message


@pytest.mark.parametrize(
    "sides",
    [
        ((100, A, B, 1), (101, B, A, 800), (100, A, B, 900)),
        ((100, A, B, 1), (101, B, A, 500), (100, A, B, 900), (101, B, A, 950)),
    ],
)
def test_sides_in_turns_may_be_of_others_each_time(sides: tuple[tuple[int, int, int, int], ...]) -> None:
    """As the locks of page tables, which fork() and exit() hand round (sync_regs_test on PREEMPT_RT 7.3.4)."""
    verdict, finding = judged(*sides)
    assert (str(verdict), str(finding.severity)) == ("unknown", "info")


@pytest.mark.parametrize(
    "sides",
    [
        ((100, A, B, 1), (101, B, A, 0)),
        ((100, A, B, 1), (101, B, A, 500), (100, A, B, 0)),
    ],
)
def test_sides_that_are_close_are_of_the_same(sides: tuple[tuple[int, int, int, int], ...]) -> None:
    verdict, finding = judged(*sides)
    assert (str(verdict), str(finding.severity)) == ("violation", "error")


def test_locks_that_no_function_takes_both_of_are_not_of_one_kind() -> None:
    verdict, finding = judged((100, A, B, 1), (101, B, A, 800), sites=APART)
    assert (str(verdict), str(finding.severity)) == ("violation", "error")
