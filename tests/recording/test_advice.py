"""The command lines that would add what a trace cannot decide."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockscope import analyze, load
from lockscope.checks.check import all_checks
from lockscope.cli.info import answered
from lockscope.recording.advice import Recorded, commands
from lockscope.results.findings import Verdict

SAMPLES = Path(__file__).parents[2] / "sample_traces"
LOCK_CHECKS = tuple(f"LS1{n:02}" for n in range(1, 12))


def test_nothing_to_add() -> None:
    assert list(commands(Recorded((), lockdep=True))) == []


def test_on_the_same_host() -> None:
    assert list(commands(Recorded(("LS203", "LS301"), lockdep=False))) == [
        "LS203 LS301: lockscope record --for LS203,LS301 -- COMMAND"
    ]
    assert list(commands(Recorded(("LS109",), lockdep=True))) == ["LS109: lockscope record --for LS109 -- COMMAND"]


def test_a_stock_kernel_never_tells_it_all() -> None:
    found = list(commands(Recorded((*LOCK_CHECKS, "LS204", "LS401"), lockdep=False)))
    assert found == [
        "LS401, on a test host: lockscope record --for LS401 --locks spinlock -- COMMAND",
        f"{' '.join(LOCK_CHECKS)} LS204, on a kernel with CONFIG_PROVE_LOCKING: "
        "lockscope record --for LS1,LS204 -- COMMAND",
    ]


def test_losses_and_filters_come_first() -> None:
    lossy = Recorded(("LS101",), lockdep=True, lost=True)
    assert list(commands(lossy)) == [
        "without losses, LS101: lockscope record --buffer KB (four times what it was) -- COMMAND"
    ]
    filtered = Recorded(("LS105",), lockdep=True, filtered=True)
    assert list(commands(filtered)) == ["without a filter for tasks, LS105: lockscope record --all -- COMMAND"]


def test_every_check_gets_an_answer() -> None:
    for code in (c for c, check in all_checks().items() if not check.notice):
        assert len(list(commands(Recorded((code,), lockdep=False)))) == 1
        assert len(list(commands(Recorded((code,), lockdep=True)))) == 1


# info reads no events to the end: that lockdep switched itself off, as the self-tests make it do, only analyze knows.
KNOWN_BEFORE = [p for p in sorted(SAMPLES.glob("*.dat")) if p.stem != "selftest_train"]


@pytest.mark.parametrize("path", KNOWN_BEFORE, ids=lambda p: p.stem)
def test_what_can_be_decided_is_what_analyze_decides(path: Path) -> None:
    """Information LS9xx apart: those are about the recording itself."""
    answers = answered(load(path).info())["answers"]
    found = analyze([str(path)])
    by_status: dict[str, list[str]] = {"ran": [], "partial": [], "skipped": []}
    for check in found.checks:
        by_status[check.status.value].append(check.code)
    told = {
        word: " ".join(c for c in codes if c < "LS9") or "none"
        for word, codes in zip(("decided", "in part", "not"), by_status.values(), strict=True)
    }
    assert {word: answers[word] for word in told} == told
    decided = {c.code for c in found.checks if c.verdict in (Verdict.CLEAN, Verdict.VIOLATION) and c.code < "LS9"}
    assert decided - {f.code for f in found.findings} <= set(told["decided"].split())
