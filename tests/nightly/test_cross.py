"""Rings whose sides were seen on different hosts or nights."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from lockscope.nightly import tables
from lockscope.nightly.cross import merged_findings
from lockscope.nightly.tables import Row
from tests.builders.chains import findings as one_trace
from tests.builders.nights import LOCK, SLOTS, check, edge

NONE = tables.record({})


def merged(new: list[Row], old: list[Row] = [], told: list[Row] = [], night: str = "n2") -> list[Row]:  # noqa: B006
    record = tables.record({"edges": new, "checks": [check(night, "a", "LS101")]})
    return merged_findings(tables.EDGES.build(old), tables.FINDINGS.build(told), record, night)


def test_two_hosts_of_one_night() -> None:
    rows = merged([edge(LOCK, SLOTS, host="a", at="f+0x1"), edge(SLOTS, LOCK, host="b")])
    assert len(rows) == 1
    row = rows[0]
    assert (row["code"], row["severity"], row["confidence"]) == ("LS101", "error", "likely")
    assert (row["digest"], row["host"], row["path"]) == ("", "", "b.dat, a.dat")
    assert "on a, night n1 at f+0x1" in row["story"]
    assert " *** DEADLOCK ***" in row["story"]
    assert row["message"].endswith("seen on a (n1) and b (n1).")


def test_its_fingerprint_is_that_of_the_same_ring_in_one_trace() -> None:
    row = merged([edge("A", "B"), edge("B", "A", host="b")])[0]
    one = one_trace("LS101", "a: mutex:A mutex:B -B -A\nb: mutex:B mutex:A -A -B")[0]
    assert row["classes"] == list(one.classes)
    assert row["fingerprint"] == one.fingerprint


def test_one_side_of_an_earlier_night() -> None:
    assert len(merged([edge(SLOTS, LOCK, night="n2", host="b")], old=[edge(LOCK, SLOTS)])) == 1


def test_what_nobody_has_seen_tonight_is_not_told_again() -> None:
    old = [edge(LOCK, SLOTS), edge(SLOTS, LOCK, host="b")]
    assert merged([edge(LOCK, "C", night="n2")], old=old) == []


def test_another_kernel_is_another_graph() -> None:
    assert merged([edge(LOCK, SLOTS), edge(SLOTS, LOCK, kernel="6.6.1 x86_64")]) == []
    assert merged([edge(LOCK, SLOTS, kernel=""), edge(SLOTS, LOCK, kernel="")]) == []


def test_one_order_everywhere_is_quiet() -> None:
    assert merged([edge(LOCK, SLOTS), edge(LOCK, "C"), edge(SLOTS, "C", host="b")]) == []


def test_locks_of_one_name_on_two_machines_are_not_one_lock() -> None:
    assert merged([edge("&p->lock@aaaaaaaaaaaa:0xffff1", LOCK), edge(LOCK, "&p->lock@bbbbbbbbbbbb:0xffff1")]) == []


def test_recursive_readers_get_past_each_other() -> None:
    """-(SR)-> both ways: the held lock is shared, and the reader does not wait (lockdep-design.rst)."""
    assert merged([edge(LOCK, SLOTS, kind=0), edge(SLOTS, LOCK, kind=0, host="b")]) == []


def test_what_a_trace_tells_itself_is_not_told_twice() -> None:
    assert merged([edge(LOCK, SLOTS, told=True), edge(SLOTS, LOCK, host="b")]) == []


def test_a_guard_over_all_sides() -> None:
    def both(a: list[str], b: list[str]) -> str:
        return str(merged([edge(LOCK, SLOTS, guards=a), edge(SLOTS, LOCK, host="b", guards=b)])[0]["severity"])

    assert both(["!&vcpu->mutex"], ["!&vcpu->mutex"]) == "info"
    assert both(["!&vcpu->mutex"], ["&vcpu->mutex"]) == "info"
    assert both(["&vcpu->mutex"], ["&vcpu->mutex"]) == "error"  # two readers do not keep each other out
    assert both(["!&vcpu->mutex"], []) == "error"


def test_an_interrupt_minds_no_guard() -> None:
    guard: dict[str, Any] = {"guards": ["!&vcpu->mutex"]}
    assert merged([edge(LOCK, SLOTS, **guard, irq=True), edge(SLOTS, LOCK, **guard)])[0]["severity"] == "error"


def test_a_told_ring_stays_the_same_finding_when_the_graph_grows() -> None:
    three = [edge("A", "B"), edge("B", "C", host="b"), edge("C", "A", host="c")]
    first = merged(three)[0]
    told = merged([edge("A", "B", night="n3"), edge("B", "A", night="n3", count=9)], three, [first], "n3")
    assert [r["fingerprint"] for r in told if r["ring"] == first["ring"]] == [first["fingerprint"]]


def test_without_ls101_nothing_is_merged() -> None:
    record = tables.record({"edges": [edge(LOCK, SLOTS), edge(SLOTS, LOCK, host="b")], "checks": [check("n1", "a")]})
    empty: pa.Table = tables.EDGES.build([])
    assert merged_findings(empty, tables.FINDINGS.build([]), record, "n1") == []
