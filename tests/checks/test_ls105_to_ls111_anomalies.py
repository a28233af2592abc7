"""LS105, LS106, LS110 and LS111: what the walk met at one event."""

from __future__ import annotations

import pytest

from lockscope.results.findings import Confidence, Status
from tests.builders.chains import findings, run_check


@pytest.mark.parametrize(
    ("code", "firing", "quiet"),
    [
        ("LS105", "t: mutex:A -A -A", "t: mutex:A -A"),
        ("LS105", "t: mutex:A\nu: -A", "t: mutex:A\nt: -A"),
        ("LS106", "t: mutex:A user", "t: mutex:A -A user"),
        ("LS106", "t: spin:A exit", "t: spin:A -A exit"),
        ("LS106", "t: mutex:A srcu:S user", "t: srcu:S user"),  # an SRCU section is LS206
        ("LS110", "t: spin:A switch", "t: mutex:A switch"),
        ("LS110", "t: raw:A switch", "t: rcu:A switch"),
        ("LS111", "t: mutex:A init:A", "t: mutex:A -A init:A"),
        ("LS111", "t: spin:A init:A", "t: spin:A init=A"),  # its own key: lock_set_subclass()
    ],
)
def test_firing_and_quiet(code: str, firing: str, quiet: str) -> None:
    found = findings(code, firing)
    assert [(f.code, f.classes) for f in found] == [(code, ("A",))]
    assert findings(code, quiet) == []


@pytest.mark.parametrize(
    ("code", "script", "title"),
    [
        ("LS105", "t: mutex:A -A -A", "bad unlock balance detected!"),
        ("LS106", "t: mutex:A user", "lock held when returning to user space!"),
        ("LS106", "t: mutex:A exit", "t still has locks held!"),
        ("LS110", "t: spin:A switch", "BUG: scheduling while atomic"),
        ("LS111", "t: mutex:A init:A", "held lock freed!"),
    ],
)
def test_titles_are_the_kernels(code: str, script: str, title: str) -> None:
    assert findings(code, script)[0].title == title


def test_the_witnesses_of_a_leak() -> None:
    finding = findings("LS106", "t: mutex:A spin:B user")[0]
    assert finding.classes == ("A", "B")
    assert [(w.event, w.ts_ns) for w in finding.witnesses] == [
        ("lock_acquire", 1_000_001_000), ("lock_acquire", 1_000_002_000), ("sys_exit", 1_000_003_000),
    ]  # fmt: skip
    assert "2 locks held by t/100:" in finding.story


def test_an_interrupts_locks_are_not_the_tasks() -> None:
    assert findings("LS106", "t: hardirq( spin:A ) user") == []


def test_the_same_again_is_counted() -> None:
    assert [f.count for f in findings("LS105", "t: mutex:A -A -A -A")] == [2]


@pytest.mark.parametrize("code", ["LS105", "LS106", "LS110"])
def test_filters_and_losses_weaken(code: str) -> None:
    script = {"LS105": "t: spin:A -A -A", "LS106": "t: spin:A user", "LS110": "t: spin:A switch"}[code]
    assert [f.confidence for f in findings(code, script)] == [Confidence.CERTAIN]
    if code != "LS110":  # no preempt count says so: a release, or an acquisition, may have been dropped unseen
        assert [f.confidence for f in findings(code, script.replace("spin", "mutex"))] == [Confidence.LIKELY]
    for how in ({"filtered": True}, {"lost": 5}):
        run, found = run_check(code, script, **how)
        assert run.status is Status.PARTIAL
        assert [f.confidence for f in found] == [Confidence.LIKELY]


@pytest.mark.parametrize(
    ("code", "word"), [("LS106", "raw_syscalls"), ("LS110", "sched_switch"), ("LS111", "lockdep_init")]
)
def test_skipped_without_its_events(code: str, word: str) -> None:
    run, found = run_check(code, "t: mutex:A", recorded=())
    assert (run.status, found) == (Status.SKIPPED, [])
    assert run.reason is not None
    assert word in run.reason
