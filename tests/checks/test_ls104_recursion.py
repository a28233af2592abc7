"""LS104: recursion, nesting and what excuses it."""

from __future__ import annotations

import pytest

from lockscope.checks.check import all_checks
from lockscope.evidence.nesting import known_nestings
from lockscope.results.findings import Confidence, Severity, Status
from tests.builders.chains import evidence_of, findings, run_check

# lib/locking-selftest.c: A-A, and the recursive and mixed read rows. @1 and @2 are two locks of one class.
AA = [
    ("spin", "spin", True), ("mutex", "mutex", True), ("write", "write", True), ("down", "down", True),
    ("rread", "rread", False), ("read", "rread", False), ("read", "read", True), ("rread", "read", True),
    ("dread", "dread", True), ("rread", "write", True), ("write", "rread", True), ("dread", "down", True),
    ("down", "dread", True), ("srcu", "srcu", False), ("rcu", "rcu", False),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "bad"), AA)
@pytest.mark.parametrize("other", ["@1", "@2"])
def test_the_same_class_twice(first: str, second: str, bad: bool, other: str) -> None:
    assert (len(findings("LS104", f"t: {first}:A {second}:A{other}")) == 1) is bad


@pytest.mark.parametrize(
    ("script", "bad"),
    [
        ("t: spin:A spin:B spin:A", True),
        ("t: spin:A spin:A?", False),
        ("t: spin:A? spin:A", True),
        ("t: spin:A spin:A/1", False),
        ("t: spin:A/1 spin:A/1@2", True),
        ("t: mutex:N spin:A@1^N spin:A@2^N", False),
        ("t: mutex:N spin:A@1 spin:B spin:A@2^N", False),
        ("t: spin:A@1 mutex:N spin:B spin:A@2^N", True),  # the nest lock has to be outside of both
        ("t: spin:A! spin:A!", False),
        ("t: spin:A softirq( spin:A", True),  # what the interrupted task holds counts here
        ("t: spin:A -A spin:A", False),
    ],
)
def test_what_excuses_it(script: str, bad: bool) -> None:
    assert (len(findings("LS104", script)) == 1) is bad


def test_confidence_and_words() -> None:
    same, other = findings("LS104", "t: spin:A spin:A")[0], findings("LS104", "t: spin:A@1 spin:A@2")[0]
    assert (same.confidence, other.confidence) == (Confidence.CERTAIN, Confidence.LIKELY)
    assert same.title == "possible recursive locking detected"
    assert same.classes == ("A",)
    assert " May be due to missing lock nesting notation" in same.story
    assert [w.note.split()[0] for w in same.witnesses] == ["takes", "again"]
    assert findings("LS104", "t: spin:A spin:A", whole=False)[0].confidence is Confidence.LIKELY
    assert findings("LS104", "t: dread:A dread:A")[0].confidence is Confidence.LIKELY


def test_a_recursion_adds_no_ring() -> None:
    assert findings("LS101", "t: spin:A spin:B spin:A") == []


def test_by_name_only_the_same_lock_is_recursion() -> None:
    assert [f.severity for f in findings("LS104", "t: mutex:A mutex:A", told=False)] == [Severity.ERROR]
    doubt = findings("LS104", "t: mutex:A@1 mutex:A@2", told=False)
    assert [(f.severity, f.confidence) for f in doubt] == [(Severity.INFO, Confidence.POSSIBLE)]


def test_known_nestings_are_not_mentioned() -> None:
    assert "&rq->__lock" in known_nestings()
    assert all(source.strip() for source in known_nestings().values())
    assert findings("LS104", "t: raw:&rq->__lock@1 raw:&rq->__lock@2", told=False) == []
    assert len(findings("LS104", "t: raw:&rq->__lock@1 raw:&rq->__lock@2")) == 1


def test_an_attempt_that_gave_up_is_no_recursion_where_nesting_is_not_recorded() -> None:
    for told, expected in ((False, 0), (True, 1)):
        evidence = evidence_of("t: mutex:A mutex:A", told=told)
        held = evidence.chains[1].held
        evidence.anomalies.append(_anomaly("gave-up", 0, held[0].lock))
        assert len(all_checks()["LS104"].run(evidence)[1]) == expected


def _anomaly(what: str, cls: int, lock: int) -> object:
    from lockscope.walk.chains import Anomaly

    return Anomaly(what, 5, 5, 0, 100, 0, 0, cls, lock, (), 1, -1)


def test_a_nest_lock_that_is_not_held() -> None:
    found = findings("LS104", "t: mutex:A^N")
    assert [f.title for f in found] == ["Nested lock was not taken"]
    assert findings("LS104", "t: mutex:A^N", whole=False) == []
    assert findings("LS104", "t: mutex:N mutex:A^N") == []


def test_a_wounded_context() -> None:
    evidence = evidence_of("t: mutex:A")
    evidence.anomalies.append(_anomaly("ww-order", 0, 4096))
    found = all_checks()["LS104"].run(evidence)[1]
    assert [(f.title, f.classes) for f in found] == [("ww_mutex taken out of order after -EDEADLK", ("A",))]


def test_grounds_depend_on_the_filter() -> None:
    assert run_check("LS104", "t: spin:A", filtered=True)[0].status is Status.PARTIAL
    assert run_check("LS104", "t: spin:A")[0].status is Status.RAN
