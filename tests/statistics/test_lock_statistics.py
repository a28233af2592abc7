"""Ended holds counted into groups."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lockscope.core import lock_stats
from lockscope.statistics.lock_statistics import ERROR, Groups, LockStatistics
from lockscope.walk.walk import HOLD_COLUMNS

READ, TRYLOCK, WAITED = 1, 4, 32


def hold(cls: int = 0, *, lock: int = 1, pid: int = 7, asked: int = 100, wait: int | None = None, held: int | None = 50,
         mode: int = 0, begun: bool = True) -> list[int]:  # fmt: skip
    acquired = asked + 5 + (wait or 0)
    values = {
        "cls": cls, "lock": lock, "pid": pid, "asked_ns": asked, "acquired_ns": acquired,
        "end_ns": acquired + (held or 0), "mode": mode | (WAITED if wait is not None else 0),
        "known": begun | (held is not None) << 1, "contended_ns": asked + 5 if wait is not None else 0,
    }  # fmt: skip
    return [values.get(name, 0) for name in HOLD_COLUMNS]


def counted(*rows: list[int], keys: tuple[str, ...] = ("cls",), most: int = 1 << 10, at_once: int = 3) -> Groups:
    statistics = LockStatistics(keys, most)
    table = np.array(rows, np.int64).reshape(-1, len(HOLD_COLUMNS))
    for begin in range(0, len(table), at_once):
        statistics.feed(table[begin : begin + at_once])
    return statistics.groups()


def figures(groups: Groups, what: int, percents: tuple[float, ...] = (50, 100)) -> list[tuple[int, ...]]:
    t = groups.times(what, percents)
    return [
        (int(t.number[g]), int(t.total_ns[g]), int(t.min_ns[g]), int(t.max_ns[g]), *t.percentiles[g].tolist())
        for g in range(len(groups))
    ]


def counts(groups: Groups) -> NDArray[np.int64]:
    names = (lock_stats.G_ACQUIRED, lock_stats.G_TRYLOCKS, lock_stats.G_CONTENDED, lock_stats.G_CUT)
    return np.column_stack([groups.column(c) for c in names])


def test_waits_and_holds_of_each_group() -> None:
    groups = counted(hold(wait=10, held=3), hold(held=40), hold(wait=20, held=7), hold(1, held=9, mode=TRYLOCK))
    assert groups.keys.tolist() == [[0], [1]]
    assert counts(groups).tolist() == [[3, 0, 2, 0], [1, 1, 0, 0]]
    assert figures(groups, lock_stats.WAIT) == [(2, 30, 10, 20, 10, 20), (0, 0, 0, 0, 0, 0)]
    assert figures(groups, lock_stats.HOLD) == [(3, 50, 3, 40, 7, 40), (1, 9, 9, 9, 9, 9)]


def test_readers_are_apart() -> None:
    groups = counted(hold(held=4), hold(held=6, mode=READ), hold(held=8, mode=2))
    assert groups.read.tolist() == [False, True]
    assert figures(groups, lock_stats.HOLD) == [(1, 4, 4, 4, 4, 4), (2, 14, 6, 8, 6, 8)]


def test_what_has_no_end_has_no_time_and_what_has_no_begin_is_no_acquisition() -> None:
    groups = counted(hold(held=None), hold(begun=False), hold(held=5))
    assert counts(groups).tolist() == [[2, 0, 0, 1]]
    assert figures(groups, lock_stats.HOLD) == [(1, 5, 5, 5, 5, 5)]
    assert groups.orphans == 1


def test_several_keys() -> None:
    groups = counted(hold(lock=-5, pid=1), hold(lock=-5, pid=2), hold(lock=-5, pid=1), keys=("lock", "pid"))
    assert groups.keys.tolist() == [[-5, 1], [-5, 2]]
    assert groups.column(lock_stats.G_ACQUIRED).tolist() == [2, 1]


def test_beyond_the_limit_groups_share_the_last_one() -> None:
    groups = counted(*(hold(lock=n, held=n) for n in (1, 2, 3, 4, 1)), keys=("lock",), most=2)
    assert groups.crowded
    assert groups.column(lock_stats.G_ACQUIRED).tolist() == [2, 1, 2]
    assert figures(groups, lock_stats.HOLD)[2] == (2, 7, 3, 4, 3, 4)
    assert not counted(hold(lock=1), hold(lock=2), keys=("lock",), most=2).crowded


def test_thousands_of_groups_make_the_tables_grow() -> None:
    rows = [hold(lock=n % 5_000, held=n) for n in range(20_000)]
    groups = counted(*rows, keys=("lock",), most=1 << 14, at_once=4_096)
    assert len(groups) == 5_000
    assert groups.column(lock_stats.G_ACQUIRED).tolist() == [4] * 5_000
    assert figures(groups, lock_stats.HOLD)[17][:4] == (4, 4 * 17 + 30_000, 17, 15_017)


def test_merging_and_leaving_out() -> None:
    groups = counted(hold(0, held=3, wait=1), hold(1, held=70_000), hold(2, held=5, mode=READ), hold(1, held=None))
    merged = groups.merged(np.array([[9], [9], [9]], np.int64))
    assert (merged.keys.tolist(), merged.read.tolist()) == ([[9], [9]], [False, True])
    assert counts(merged).tolist() == [[3, 0, 1, 1], [1, 0, 0, 0]]
    assert figures(merged, lock_stats.HOLD, (50,))[0] == (2, 70_003, 3, 70_000, 3)
    only = groups.only(np.array([False, True, True]))
    assert only.keys.tolist() == [[1], [2]]
    assert figures(only, lock_stats.HOLD, (100,)) == [(1, 70_000, 70_000, 70_000, 70_000), (1, 5, 5, 5, 5)]
    assert len(groups.only(np.zeros(3, np.bool_))) == 0


TIMES = st.one_of(st.integers(0, 200), st.integers(0, 10**6), st.integers(0, 1 << 61))


@given(st.lists(TIMES, min_size=1, max_size=60), st.sampled_from([1.0, 25.0, 50.0, 90.0, 99.0, 100.0]))
def test_percentiles_are_within_the_stated_error_properties(times: list[int], percent: float) -> None:
    found = figures(counted(*(hold(held=t, asked=0) for t in times)), lock_stats.HOLD, (percent,))[0][4]
    exact = sorted(times)[max(-(-len(times) * int(percent) // 100), 1) - 1]
    assert abs(found - exact) <= (0 if exact < lock_stats.EXACT else exact * ERROR + 1)


def test_nothing_was_held() -> None:
    groups = counted()
    assert len(groups) == 0
    assert figures(groups, lock_stats.HOLD) == []
    assert len(groups.merged(np.zeros((0, 1), np.int64))) == 0
