"""Comparing a report with the truth: what is missed, what is told elsewhere, what is false."""

from __future__ import annotations

from lockscope.results.findings import Confidence, Finding, Severity, Witness
from lockscope.simulate.agreement import compare
from lockscope.simulate.truth import Planted, Truth


def finding(code: str = "LS102", ts: int = 150, pid: int = 7, classes: tuple[str, ...] = ("a", "b"),
            severity: Severity = Severity.ERROR) -> Finding:  # fmt: skip
    return Finding(
        code, "x", severity, Confidence.CERTAIN, "t", "m", classes, None, 1, (Witness(ts, 0, pid, "c", "e"),)
    )


def truth(codes: tuple[str, ...] = ("LS102",), classes: tuple[str, ...] = ("a", "b")) -> Truth:
    return Truth([Planted(codes, "why", classes, [(7, 100, 200)])])


def test_found_where_it_was_planted() -> None:
    agreement = compare([finding(), finding("LS901", severity=Severity.INFO)], truth())
    assert agreement
    assert agreement.lines() == ["as planted: 1 of 1 found where they are, nothing else"]


def test_missed() -> None:
    agreement = compare([], truth())
    assert not agreement
    assert agreement.lines() == ["missed: LS102 a -> b: why"]


def test_told_of_another_place_or_task() -> None:
    assert compare([finding(ts=201)], truth()).lines() == ["told elsewhere: LS102 a -> b: why"]
    assert compare([finding(pid=8)], truth()).misplaced != []


def test_false_alarms() -> None:
    agreement = compare([finding(), finding("LS301")], truth())
    assert [f.code for f in agreement.false] == ["LS301"]
    assert [f.code for f in compare([finding(classes=("b", "c"))], truth()).false] == ["LS102"]


def test_a_ring_of_classes_may_begin_anywhere() -> None:
    assert compare([finding("LS101", classes=("b", "a"))], truth(("LS101",)))


def test_either_of_two_codes() -> None:
    assert compare([finding("LS110")], truth(("LS109", "LS110")))


def test_what_may_be_told_beside_is_no_false_alarm() -> None:
    told = truth()
    told.also["LS104"] = "the same two locks"
    assert compare([finding(), finding("LS104", classes=())], told)
