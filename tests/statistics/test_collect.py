"""What pages show, collected in one pass: exact where it is small, bounded where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockscope.evidence.gather import GatherOptions, gather
from lockscope.formats.open import open_trace
from lockscope.rules.load import choose
from lockscope.statistics.collect import EDGES, Collector, Occupancy, Tally
from lockscope.walk.walk import HOLD_COLUMNS, Ended

SAMPLES = Path(__file__).parents[2] / "sample_traces"


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def test_quantiles_are_the_ends_of_bins() -> None:
    tally = Tally()
    tally.add(np.zeros(100, np.int64), np.arange(1, 101) * 1_000)
    half, most = tally.quantiles(0, (0.5, 0.99))
    assert 50_000 <= half <= 50_000 * (EDGES[1] / EDGES[0]) * 1.001
    assert 99_000 <= most <= 99_000 * (EDGES[1] / EDGES[0]) * 1.001
    assert tally.total(0) == (5_050_000, 100_000)
    assert tally.quantiles(70, (0.5,)) == (0,)
    tally.add(ints(500), ints(0))
    assert tally.quantiles(500, (1.0,)) == (round(EDGES[1]),)


@pytest.mark.parametrize("far", [0, 10**10, 10**13])
def test_occupancy_is_exact_however_often_slices_double(far: int) -> None:
    whole = Occupancy()
    draw = np.random.default_rng(5)
    begin = np.sort(draw.integers(0, 5_000_000, 400))
    end = begin + draw.integers(1, 400_000, 400)
    for part in np.array_split(np.arange(400), 7):
        whole.add(np.zeros(len(part), np.int64), begin[part], end[part])
    whole.add(ints(1), ints(far), ints(far + 10))
    slices = whole.steps.shape[1]
    assert float(whole.over(0, slices).sum()) * whole.width == pytest.approx(float((end - begin).sum()))
    first = (np.minimum(end, whole.start + whole.width) - begin)[begin < whole.start + whole.width]
    assert whole.over(0, slices)[0] == pytest.approx(first.sum() / whole.width)


def hold(**values: int) -> list[int]:
    row = dict.fromkeys(HOLD_COLUMNS, 0) | {"known": 3} | values
    return [row[name] for name in HOLD_COLUMNS]


def test_holds_that_a_check_may_tell_of_are_kept() -> None:
    seen = Collector()
    rows = np.array([hold(seq=s, asked_ns=s, end_ns=s + 10, pid=1) for s in (5, 6, 7)], np.int64)
    seen.ended(Ended(rows, ints(6), np.zeros(1, np.bool_)))
    seen.ended(Ended(rows + 0, ints(), np.array([True])))
    kept = seen.scene_holds()[:, HOLD_COLUMNS.index("seq")].tolist()
    assert sorted(kept) == [5, 6, 6, 7]  # the first time only 6; then KVM's too


def test_of_very_many_the_longer_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockscope.statistics.collect._MOST_KVM", 100)
    seen = Collector()
    rows = np.array([hold(seq=s, asked_ns=0, end_ns=s) for s in range(1, 301)], np.int64)
    seen.ended(Ended(rows, ints(), np.array([True])))
    kept = seen.scene_holds()[:, HOLD_COLUMNS.index("end_ns")]
    assert len(kept) == 50
    assert kept.min() == 251
    assert seen.longest["hold"][0, HOLD_COLUMNS.index("end_ns")] == 300


def test_one_reading_gives_what_the_tables_say() -> None:
    import lockscope

    path = str(SAMPLES / "dirty_log.dat")
    reader, seen = open_trace(path), Collector()
    options = GatherOptions(("vms", "spte_layout"), tape=seen.tape, ops=seen.ops, follow=seen.ended)
    found = gather(reader, choose(reader.info.kernel)[0], options)
    holds = lockscope.load(path).table("holds").to_pandas()
    label = {c.label: c.index for c in found.evidence.classes}
    for name in ("&kvm->srcu", "&(kvm)->mmu_lock", "&rq->__lock"):
        own = holds[(holds.name == name) & holds.begin_known & holds.end_known]
        begin = own.acquired_ns.where(own.acquired_ns > 0, own.asked_ns)
        assert seen.holds.total(label[name]) == ((own.end_ns - begin).sum(), (own.end_ns - begin).max())
        waits = holds[(holds.name == name) & holds.contended & (holds.acquired_ns > 0)]
        assert seen.waits.total(label[name])[0] == (waits.acquired_ns - waits.asked_ns).sum()
    assert found.walk.holds == []
    changes = lockscope.load(path).table("spte_changes").to_pandas()
    told = changes[changes.event.isin(["spte_tdp", "fast_pf"]) & (changes.old_spte != changes.new_spte)]
    assert len(seen.spte_rows()) == len(told) == 2625


def test_frames_are_followed_whole_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockscope.statistics.collect._MOST_SPTES", 200)
    reader, seen = open_trace(str(SAMPLES / "bug_clear_log_without_flush.dat")), Collector()
    options = GatherOptions(("vms",), tape=seen.tape, ops=seen.ops, follow=seen.ended)
    gather(reader, choose(reader.info.kernel)[0], options)
    rows = seen.spte_rows()
    assert 0 < len(rows) <= 200
    assert seen.share >= 32
    _, counts = np.unique(rows[:, 1], return_counts=True)
    assert set(counts.tolist()) <= {1, 3, 4}  # whole lives: protected, made writable, protected again, perhaps zapped
