"""Walking pages and merging streams: against plain Python, and never outside the bytes given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lockscope.core import records
from tests.builders.trace_dat import ACQUIRE, Kernel, Page
from tests.builders.uncompiled import uncompiled

PAGE = 256


def _index(
    data: NDArray[np.uint8], starts: list[int], k: Kernel, *, room: int = 1 << 12, wanted: int = 5, loops: Any = records
) -> Any:
    """(rows as tuples, first row of each page, broken pages)."""
    table = np.full(1 << 16, -1, np.int32)
    table[ACQUIRE] = wanted
    columns = records.empty_columns(room)
    rows, broken = np.zeros(len(starts) + 1, np.int64), np.zeros(len(starts), np.uint8)
    loops.index_pages(
        data, np.array(starts, np.int64), PAGE, 8 + k.long_size, k.long_size, k.big, 0, table, *columns, rows, broken
    )
    n = int(rows[-1])
    return list(zip(*(c[:n].tolist() for c in columns), strict=True)), rows.tolist(), broken.tolist()


@pytest.mark.parametrize("k", [Kernel(b, w) for b in (False, True) for w in (4, 8)], ids=str)
def test_pages_in_any_order_with_rows_by_page(k: Kernel) -> None:
    one = k.page(100, PAGE).event(3, k.acquire(1, b"a", 1)).event(4, k.record(9, 1, bytes(4)))
    two = k.page(50, PAGE, missed=6).event(0, k.acquire(1, b"bc", 2), long_form=True)
    empty = k.page(10, PAGE)
    data = np.frombuffer(one.build() + empty.build() + two.build(), np.uint8).copy()
    rows, first, broken = _index(data, [2 * PAGE, PAGE, 0], k)
    head = 8 + k.long_size
    size = len(k.acquire(1, b"a", 1)) + 3 & ~3
    assert rows == [
        (50, 6, 0, 0),
        (50, 2 * PAGE + head + 8, len(k.acquire(1, b"bc", 2)) + 3 & ~3, 5),
        (103, head + 4, size, 5),
    ]
    assert (first, broken) == ([0, 2, 2, 3], [0, 0, 0])


def test_rows_beyond_the_columns_are_left_out() -> None:
    k = Kernel()
    page = k.page(0, PAGE, missed=3)
    for i in range(6):
        page.event(1, k.acquire(1, b"a", i))
    data = np.frombuffer(page.build(), np.uint8).copy()
    rows, first, _ = _index(data, [0], k, room=4)
    assert ([r[0] for r in rows], first) == ([1, 1, 2, 3], [0, 4])


def test_pages_that_are_not_whole() -> None:
    k = Kernel()
    data = np.frombuffer(k.page(7, PAGE).event(1, k.acquire(1, b"a", 1)).build(), np.uint8)[:30].copy()
    assert _index(data, [0, 20, -5], k) == ([], [0, 0, 0, 0], [1, 1, 1])


def _hostile(rng: np.random.Generator, k: Kernel) -> Page:
    """A page of records, with some of its words replaced by anything."""
    page = Page(int(rng.integers(0, 1 << 63)), k.big, k.long_size, PAGE)
    while len(page.body) < 150:
        page.event(int(rng.integers(0, 1 << 27)), k.acquire(1, b"x" * int(rng.integers(0, 9)), 1))
    page.body = page.body[: PAGE - 24]
    page.commit = int(rng.choice([len(page.body), rng.integers(0, 1 << 32), rng.integers(0, 300) | 3 << 30]))
    for _ in range(int(rng.integers(0, 5))):
        at = int(rng.integers(0, len(page.body) // 4)) * 4
        word = int(rng.choice([rng.integers(0, 32), rng.integers(0, 1 << 32), 0xFFFFFFFF, 29, 30, 31, 0]))
        page.body[at : at + 4] = word.to_bytes(4, "big" if k.big else "little")
    return page


@pytest.mark.parametrize("k", [Kernel(False, 8), Kernel(True, 8), Kernel(False, 4)], ids=str)
def test_hostile_pages_are_never_left(k: Kernel) -> None:
    rng = np.random.default_rng(20)
    broken = 0
    for _ in range(60):
        pages = [_hostile(rng, k).build() for _ in range(4)]
        data = np.frombuffer(b"".join(pages), np.uint8).copy()
        data = data[: len(data) - int(rng.integers(0, 2)) * int(rng.integers(0, PAGE))]
        starts = [0, PAGE, 2 * PAGE, 3 * PAGE, int(rng.integers(-9, 5 * PAGE))]
        found = _index(data, starts, k, room=80)
        with uncompiled() as load:
            assert _index(data, starts, k, room=80, loops=load("records")) == found
        for _, at, size, kind in found[0]:
            assert kind == 0 or 0 <= at <= at + size <= len(data)
        broken += sum(found[2])
    assert broken > 60  # they were hostile indeed


@pytest.mark.parametrize("k", [Kernel(b, w) for b in (False, True) for w in (4, 8)], ids=str)
@pytest.mark.parametrize("kind", [0, 29, 30, 31])
def test_a_word_that_should_be_followed_by_another_ends_the_buffer(kind: int, k: Kernel) -> None:
    page = k.page(7, PAGE)
    words = (PAGE - 8 - k.long_size - 4) // 4  # before the last one: records that nobody wants, of two or three words
    for _ in range(words // 2 - words % 2):
        page.event(1, bytes(4))
    if words % 2:
        page.event(1, bytes(8))
    page.raw(k.pack("I", kind << 27 | 1 if k.big else 1 << 5 | kind))
    assert len(page.build()) == PAGE
    data = np.frombuffer(page.build(), np.uint8).copy()
    assert _index(data, [0], k, room=9) == ([], [0, 0], [int(kind != 29)])


def test_an_index_outside_its_column_raises() -> None:
    k = Kernel()
    data = np.frombuffer(k.page(7, PAGE).event(1, k.acquire(1, b"a", 1)).build(), np.uint8).copy()
    table, columns = np.full(9, 5, np.int32), records.empty_columns(9)
    for rows, broken in ((0, 1), (2, 0), (2, 1)):  # too few rows, too few pages; in the last the types end at 9
        given = (np.zeros(rows, np.int64), np.zeros(broken, np.uint8))
        with pytest.raises(IndexError):
            records.index_pages(data, np.array([0, 5000]), PAGE, 16, 8, False, 0, table, *columns, *given)


def test_first_not_before() -> None:
    ts = np.array([1, 5, 3, 9], np.int64)
    assert [records.first_not_before(ts, t) for t in (0, 1, 2, 5, 6, 9, 10)] == [0, 0, 1, 1, 3, 3, 4]
    assert records.first_not_before(ts[:0], 5) == 0


def _merged(streams: list[list[int]], loops: Any = records) -> list[tuple[int, int, int, int, int]]:
    """(ts, at, size, kind, stream) of all rows; a row's ``at`` is its place in the joined columns."""
    ts = np.array([t for s in streams for t in s], np.int64)
    n = len(ts)
    bounds = np.cumsum([0] + [len(s) for s in streams])
    given = [ts, np.arange(n), np.arange(n, dtype=np.int32) + 7, np.arange(n, dtype=np.int32) + 9]
    out = [*records.empty_columns(n), np.empty(n, np.int32)]
    lists = [
        bounds[:-1].copy(),
        bounds[1:].copy(),
        np.arange(len(streams), dtype=np.int32) * 10,
        np.empty(len(streams), np.int64),
    ]
    loops.merge(*lists, *given, *out)
    return list(zip(*(c.tolist() for c in out), strict=True))


@pytest.mark.parametrize("streams", [0, 1, 2, 3, 9, 64])
@pytest.mark.parametrize("spread", [1, 4, 1_000])
def test_streams_are_merged_by_time_then_place(streams: int, spread: int) -> None:
    rng = np.random.default_rng(streams * 10 + spread)
    given = [sorted(rng.integers(0, spread, int(rng.integers(0, 30))).tolist()) for _ in range(streams)]
    places = [(t, s) for s, times in enumerate(given) for t in times]
    expected = [
        (places[i][0], i, i + 7, i + 9, places[i][1] * 10)
        for i in sorted(range(len(places)), key=lambda i: (*places[i], i))
    ]
    assert _merged(given) == expected
    with uncompiled() as load:
        assert _merged(given, load("records")) == expected


def test_a_stream_that_goes_back_in_time_keeps_its_own_order() -> None:
    assert [(r[0], r[4]) for r in _merged([[5, 1, 9], [2, 7]])] == [(2, 10), (5, 0), (1, 0), (7, 10), (9, 0)]


def test_the_latest_time_of_all_is_a_time_too() -> None:
    last = (1 << 63) - 1
    assert [(r[0], r[4]) for r in _merged([[last, last], [last], [3]])] == [(3, 20), (last, 0), (last, 0), (last, 10)]
