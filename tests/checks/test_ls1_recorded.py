"""The lock checks on real recordings: the kernel's own locking self-tests, and kernels with and without a defect."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import lockscope
from lockscope.formats.open import open_trace
from lockscope.results.findings import Report, Severity

SAMPLES = Path(__file__).parents[2] / "sample_traces"
CORRECT = ("dirty_log", "instances", "legacy_mmu", "lossy", "memslot_stress", "stock61_dirty_log_auto", "stock61_smm")


def judged(name: str, **options: object) -> Report:
    return lockscope.analyze([str(SAMPLES / name)], lockscope.AnalyzeOptions(select=("LS1",), **options))


def loud(report: Report) -> set[tuple[str | None, str]]:
    return {(f.window, f.code) for f in report.findings if f.severity is not Severity.INFO}


def selftests(**options: object) -> tuple[dict[str, str], set[str]]:
    """(lockdep's verdict, the windows we report), both by case."""
    expected = dict(line.split() for line in (SAMPLES / "selftest_train.expected").read_text().splitlines())
    report = judged(
        "selftest_train.dat",
        window_start=r"selftest begin (?P<name>\S+)",
        window_end="selftest end",
        assume=("selftest-softirq",),
        **options,
    )
    assert {w.name for w in report.windows} == set(expected)
    return expected, {str(window) for window, _ in loud(report)}


def test_every_selftest_has_lockdeps_verdict() -> None:
    expected, reported = selftests()
    decidable = {name for name, verdict in expected.items() if verdict != "undecidable"}
    assert len(decidable) == 131
    assert {n for n in decidable if n in reported} == {n for n, verdict in expected.items() if verdict == "report"}


def test_the_standard_events_alone_raise_no_false_alarm() -> None:
    expected, reported = selftests(exclude_events=("lockscope:*",))
    assert {n for n in reported if expected[n] == "clean"} == set()
    # What is missed: classes of one name (AA, W1R2...), re-initialisation, ww contexts, wait types of unknown names.
    assert len(reported) >= 76


@pytest.mark.parametrize("name", CORRECT)
@pytest.mark.parametrize("excluded", [(), ("lockscope:lockdep_*",)])
def test_correct_kernels_are_quiet(name: str, excluded: tuple[str, ...]) -> None:
    events = [f.full_name for f in open_trace(str(SAMPLES / f"{name}.dat")).formats]
    here = tuple(p for p in excluded if any(fnmatchcase(e, p) for e in events))  # what matches nothing is refused
    assert loud(judged(f"{name}.dat", exclude_events=here)) == set()


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("bug_slots_lock_then_kvm_lock", {"LS102"}),
        ("bug_mutex_under_mmu_lock", {"LS103", "LS109"}),
        ("bug_srcu_then_slots_lock", set()),  # LS204
    ],
)
def test_planted_defects(name: str, codes: set[str]) -> None:
    found = {code for _, code in loud(judged(f"{name}.dat"))}
    assert codes <= found <= codes | {"LS101"}
