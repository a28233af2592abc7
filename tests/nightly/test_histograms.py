"""Histograms: what a percentile is, and that they add up."""

from __future__ import annotations

import numpy as np
import pytest

from lockscope.nightly.histograms import BINS, Times, by_label, percentile
from lockscope.statistics.lock_statistics import LockStatistics
from lockscope.walk.walk import HOLD_COLUMNS
from tests.builders.nights import times


def test_percentiles_are_off_by_less_than_a_bucket() -> None:
    values = np.random.default_rng(1).lognormal(9, 1.5, 20_000)
    counted = times(values)
    for share in (0.5, 0.9, 0.99):
        assert counted.at(share) == pytest.approx(np.quantile(values, share), rel=1 / 32)
    assert np.isnan(percentile(np.zeros(BINS, np.int64), 0.5))


def test_sparse_and_back_and_added() -> None:
    one, other = times([5, 1000, 1000]), times([7000])
    bins, counts = one.sparse()
    again = Times.from_sparse(bins, counts, one.total_ns, one.longest_ns)
    again.add(other)
    assert (again.number, again.total_ns, again.longest_ns) == (4, 9005, 7000)
    assert sum(counts) == 3
    assert len(bins) == 2


def hold(cls: int, asked: int, got: int, end: int, *, known: int = 3, contended: int = 0, read: int = 0) -> list[int]:
    row = dict.fromkeys(HOLD_COLUMNS, 0)
    row |= {"cls": cls, "asked_ns": asked, "acquired_ns": got, "end_ns": end, "known": known}
    row |= {"contended_ns": contended, "mode": (contended > 0) << 5 | read}
    return [row[name] for name in HOLD_COLUMNS]


def test_holds_by_label() -> None:
    collected = LockStatistics(("cls",))
    collected.feed(np.array([hold(0, 100, 300, 1300, contended=110), hold(2, 100, 0, 150)]))
    collected.feed(np.array([hold(1, 0, 10, 20), hold(1, 0, 10, 99, known=1), hold(0, 0, 10, 20, read=1)]))
    found = by_label(collected.groups(), ["A", "A", "B", "C"])
    assert sorted(found) == ["A", "B"]
    a, b = found["A"], found["B"]
    assert (a.hold.number, a.hold.total_ns, a.hold.longest_ns, a.contended) == (3, 1020, 1000, 1)
    assert (a.wait.number, a.wait.longest_ns) == (1, 190)
    assert (b.hold.total_ns, b.wait.number) == (50, 0)  # no lock_acquired: from the attempt on
