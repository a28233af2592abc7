"""The kernel's 394 locking self-tests, played as events: each gets lockdep's verdict (``builders.selftest_cases``)."""

from __future__ import annotations

from functools import cache

import pytest

from lockscope.pipeline import AnalyzeOptions, gathered, judged, selected_checks
from lockscope.results.findings import Finding, Severity
from tests.builders.records import MemoryReader
from tests.builders.script import Script
from tests.builders.selftest_cases import UNDECIDABLE, all_cases
from tests.builders.selftests import END, START, Player

CASES = {case.name: case for case in all_cases()}
DEADLOCKS = {name for name, case in CASES.items() if case.deadlock}


@cache
def recording() -> MemoryReader:
    script = Script()
    player = Player(script)
    for case in CASES.values():
        player.play(case.name, case.words, case.kind, case.soft)
    return script.reader()


@cache
def reported(*excluded: str, assume: tuple[str, ...] = ("selftest-softirq",)) -> dict[str, list[Finding]]:
    """What is found at warning or error, by case."""
    checks = selected_checks(("LS1",))
    options = AnalyzeOptions(
        window_start=START + r" (?P<name>\S+)", window_end=END, assume=assume, exclude_events=excluded
    )
    _, findings = judged(gathered(recording(), checks, options)[0].evidence, checks)
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.severity is not Severity.INFO:
            found.setdefault(str(finding.window), []).append(finding)
    return found


def test_there_are_as_many_as_the_kernel_counts() -> None:
    assert len(CASES) == 394
    assert len(DEADLOCKS) == 250
    assert set(UNDECIDABLE) <= DEADLOCKS


def test_every_case_gets_lockdeps_verdict() -> None:
    found = set(reported())
    assert found - DEADLOCKS == set()
    assert DEADLOCKS - found == set(UNDECIDABLE)


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("AA_spin", {"LS104"}),
        ("ABCDBCDA_rsem", {"LS101"}),
        ("double_unlock_mutex", {"LS105"}),
        ("init_held_rlock", {"LS111"}),
        ("irqsafe1_hard_spin_12", {"LS108"}),
        ("irqsafe2A_wlock_21", {"LS108"}),
        ("irqsafe4_soft_wlock_321", {"LS107"}),
        ("irq_inversion_hard_rlock_213", set()),
        ("irq_inversion_hard_spin_213", {"LS107"}),
        ("W1W2_R2R3_W3R1_312", {"LS101"}),
        ("ww_test_spin_nest_unlocked", {"LS104"}),
        ("mutex_in_RCU_BH", {"LS109"}),
        ("local_lock_3B", {"LS107"}),
    ],
)
def test_by_the_check_that_lockdep_has_for_it(name: str, codes: set[str]) -> None:
    assert {finding.code for finding in reported().get(name, [])} == codes


# What lockdep reports and the standard events alone do not show, by the reason.
READERS = {"queued_read_lock_hardirq_RE_Er", "queued_read_lock_hardirq_inversion"}  # the other tests' are recursive
SUBCLASS = {f"AA_{kind}" for kind in ("spin", "wlock", "mutex", "wsem", "rsem", "rtmutex")}
SUBCLASS |= {"rsem_AA1B", "rlock_AA2", "rsem_AA2", "rlock_AA3", "rsem_AA3"}
SUBCLASS |= {f"ww_test_{name}" for name in ("two_contexts", "context_block", "try_block", "block_block")}
NEST_LOCK = {f"ww_test_{name}" for name in ("context_fini_early", "spin_nest_unlocked", "try_context", "block_context")}
NEST_LOCK |= {name for name in DEADLOCKS if name.startswith("ww_test_edeadlk_")}
INITIALISATION = {name for name in DEADLOCKS if name.startswith("init_held_")}
WAIT_TYPE = {name for name in DEADLOCKS if "_in_" in name} - set(UNDECIDABLE)
IN_NO_EVENT = set(UNDECIDABLE)


@pytest.mark.parametrize(
    ("excluded", "missed"),
    [
        ("lockscope:*", READERS | SUBCLASS | NEST_LOCK | INITIALISATION | WAIT_TYPE | IN_NO_EVENT),
        ("lockscope:lockdep_acquire", READERS | SUBCLASS | NEST_LOCK | IN_NO_EVENT),
    ],
)
@pytest.mark.parametrize("assume", [("selftest-softirq",), ("selftest-softirq", "recursive-read-locks")])
def test_the_standard_events_alone(excluded: str, missed: set[str], assume: tuple[str, ...]) -> None:
    found = set(reported(excluded, assume=assume))
    assert found - DEADLOCKS == set()
    assert DEADLOCKS - found == missed


def test_softirqs_that_the_tests_fake_need_the_assumption() -> None:
    found = set(reported(assume=()))
    assert found - DEADLOCKS == set()
    faked = {n for n, case in CASES.items() if case.soft or "z(" in case.words}
    assert DEADLOCKS - found - set(UNDECIDABLE) <= faked
