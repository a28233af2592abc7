"""Each figure on a recorded trace: the numbers it shows, and that it can be drawn and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lockscope
from lockscope.errors import UsageError
from lockscope.plots import contention, gantt
from lockscope.plots import figure as _base
from lockscope.plots.figure import Texts, View
from lockscope.trace.trace import Trace

SAMPLES = Path(__file__).parents[2] / "sample_traces"


@pytest.fixture(scope="module")
def dirty_log() -> Trace:
    return lockscope.load(SAMPLES / "dirty_log.dat")


def data(name: str, trace: Any, **view: Any) -> Any:
    return _base.figure(name).data(trace, View(**view))


def test_every_figure_of_the_issue_is_there() -> None:
    assert list(_base.figures()) == [
        "contention", "findings", "flush_latency", "gantt", "hold_times", "order_graph", "sptes", "wait_times",
    ]  # fmt: skip
    for module in _base.figures().values():
        assert module.TITLE
        assert module.__doc__


def test_hold_times_are_those_of_the_table(dirty_log: Trace) -> None:
    found = data("hold-times", dirty_log, locks=("kvm->mmu_lock", "&kvm->srcu"))
    assert {r.label: r.number for r in found.rows} == {"&kvm->srcu": 640, "&(kvm)->mmu_lock": 29}
    holds = dirty_log.table("holds").to_pandas()
    own = holds[(holds.name == "&(kvm)->mmu_lock") & holds.begin_known & holds.end_known]
    begin = own.acquired_ns.where(own.acquired_ns > 0, own.asked_ns)
    longest = next(r for r in found.rows if r.label == "&(kvm)->mmu_lock").longest
    assert longest == (own.end_ns - begin).max()
    assert all(list(r.quantiles) == sorted(r.quantiles) and r.quantiles[-1] <= r.longest for r in found.rows)
    assert all(r.density.sum() == pytest.approx(r.number, rel=0.02) for r in found.rows)


def test_wait_times_are_of_contended_acquisitions_only(dirty_log: Trace) -> None:
    found = data("wait-times", dirty_log)
    assert [(r.label, r.number) for r in found.rows] == [("&rq->__lock", 2)]
    assert len(found.rows[0].few) == 2  # so few are shown one by one


def test_occupancy_is_exact() -> None:
    edges = np.array([0, 10, 20, 30], np.int64)
    begin, end = np.array([5, 8, 12], np.int64), np.array([25, 10, 14], np.int64)
    assert contention.occupancy(begin, end, edges).tolist() == [0.7, 1.2, 0.5]


def test_contention_adds_up_to_the_waits(dirty_log: Trace) -> None:
    found = data("contention", dirty_log)
    waited = float((found.waiting * np.diff(found.edges_ns)).sum())
    holds = dirty_log.table("holds").to_pandas()
    own = holds[holds.contended & (holds.acquired_ns > 0)]
    assert waited == pytest.approx(float((own.acquired_ns - own.asked_ns).sum()))
    assert (found.names, found.waits) == (["&rq->__lock"], 2)


def test_a_gantt_chart_goes_to_the_longest_wait(dirty_log: Trace) -> None:
    found = data("gantt", dirty_log)
    holds = dirty_log.table("holds").to_pandas()
    own = holds[holds.contended & (holds.acquired_ns > 0)]
    longest = own.loc[(own.acquired_ns - own.asked_ns).idxmax()]
    assert found.start_ns < longest.asked_ns < longest.end_ns < found.stop_ns
    assert any("dirty_log_perf_" in task for task in found.tasks)
    assert len(found.begin_ns) == len(found.row)
    assert (found.begin_ns <= found.end_ns).all()


def test_nested_holds_lie_in_lanes_of_their_own() -> None:
    pid = np.array([1, 1, 1, 2], np.int64)
    begin, end = np.array([0, 5, 50, 5], np.int64), np.array([100, 20, 60, 20], np.int64)
    assert gantt._nesting(pid, begin, end).tolist() == [0, 1, 1, 0]


def test_the_flush_that_never_came_is_told(dirty_log: Trace) -> None:
    assert [(r.label, r.number) for r in data("flush-latency", dirty_log).rows] == [("dirty logging", 1)]
    bug = data("flush-latency", lockscope.load(SAMPLES / "bug_clear_log_without_flush.dat"))
    assert [(r.label, r.number) for r in bug.rows] == [("root invalidation", 1)]
    assert bug.remark == "2 required flushes never came"


def test_sptes_by_what_happens_to_them(dirty_log: Trace) -> None:
    found = data("sptes", dirty_log)
    counts = dict(zip(found.words, found.counts, strict=True))
    assert counts["write-protected"] == 2048
    assert found.bands == [(0xFCFF7FE, 0xFCFFFFD)]
    some = data("sptes", dirty_log, gfns=(0xFCFF7FE, 0xFCFF7FF))
    assert set(some.gfn.tolist()) == {0xFCFF7FE, 0xFCFF7FF}


def test_findings_worst_first() -> None:
    found = data("findings", lockscope.load(SAMPLES / "bug_slots_lock_then_kvm_lock.dat"))
    assert found.labels == ["LS101 &kvm->slots_lock → &kvm->lock", "LS102 &kvm->slots_lock → &kvm->lock"]
    assert found.severities == ["error", "error"]


def test_the_reported_ring_is_in_the_order_graph() -> None:
    found = data("order-graph", lockscope.load(SAMPLES / "bug_slots_lock_then_kvm_lock.dat"))
    labels = [b.label for b in found.graph.boxes]
    ring = {(labels[a.held], labels[a.taken]) for a in found.graph.arrows if a.rings}
    assert ring == {("&kvm->slots_lock", "&kvm->lock"), ("&kvm->lock", "&kvm->slots_lock")}


@pytest.mark.parametrize("name", list(_base.figures()))
def test_a_figure_is_drawn_and_written(name: str, dirty_log: Trace, tmp_path: Path) -> None:
    axes = getattr(dirty_log.plot, name)()
    assert axes.get_title(loc="left") == _base.figure(name).TITLE
    _base.save(axes, str(tmp_path / "a.png"), dpi=40)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_figure_is_the_same_file(dirty_log: Trace, tmp_path: Path) -> None:
    for name in "ab":
        _base.save(dirty_log.plot.contention(), str(tmp_path / f"{name}.svg"))
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_what_is_no_figure_is_told(dirty_log: Trace) -> None:
    with pytest.raises(UsageError, match="FIGURE pie: unknown figure; choose from contention, findings"):
        _base.plot("pie", dirty_log)
    with pytest.raises(AttributeError, match="FIGURE pie: unknown figure"):
        dirty_log.plot.pie  # noqa: B018
    with pytest.raises(UsageError, match=r"a figure is written as .png, .svg, .pdf"):
        _base.save(dirty_log.plot.contention(), "a.gif")


def test_texts_are_ranked_by_weight() -> None:
    texts = Texts(np.array([0, 1, 1, 2], np.int64), ("a", "b", "kvm", "never"))
    assert texts.ranked(np.array([9, 2, 3, 1])) == ["a", "b", "kvm"]
    assert texts.ranked(np.array([9, 2, 3, 1]), first=["kvm"], most=2) == ["kvm", "a"]
    assert texts.among(["b", "never"]).tolist() == [False, True, True, False]
    assert texts[np.array([3])].used() == ["kvm"]


@pytest.mark.parametrize(
    ("pattern", "name", "takes"),
    [("kvm->mmu_lock", "&(kvm)->mmu_lock", True), ("*kvm*", "&kvm->srcu", True), ("&rq->*", "&kvm->srcu", False)],
)
def test_lock_patterns(pattern: str, name: str, takes: bool) -> None:
    assert View(locks=(pattern,)).takes_lock(name) is takes
