"""Whole readings with every loop checked: no index outside, and the same results as compiled."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

import lockscope
from lockscope.findings import Report
from lockscope.core import walk_memory as counters
from lockscope.reconstruct import walk_regions
from lockscope.report import json_report
from lockscope.trace_perf import perf_figures
from tests.builders import canaries, checked_house
from tests.builders.checked import OutsideError
from tests.builders.checked_house import checked_house as checked
from tests.builders.perf_data import Kernel
from tests.builders.script import HARDIRQ, Script
from tests.formats.test_fuzz_perf_data import _file as perf_file

A, B, C = 0xFFFF888100000100, 0xFFFF888100000200, 0xFFFF888100000300


def text_of(report: Report) -> str:
    stream = io.StringIO()
    json_report.write(report, stream)
    return stream.getvalue()


def locks(folder: Path) -> Path:
    """Orders, interrupts, losses, waits, leaks, releases of nothing, a recursion at the end."""
    s = Script()
    one, two = s.task("one", 100), s.task("two", 101, 1)
    for i in range(4):
        one.sys_exit()
        one.take("&a->mutex", A).take("&b->mutex", B)
        with one.context(HARDIRQ):
            one.acquire("&c->lock", C).acquired("&c->lock", C).release("&c->lock", C)
        one.release("&b->mutex", B).release("&a->mutex", A)
        two.take("&b->mutex", B).take("&a->mutex", A).release("&a->mutex", A).release("&b->mutex", B)
        one.release("&d->mutex", A + 64 * i)
        two.detail("&a->mutex", A, trylock=1).acquire("&a->mutex", A, trylock=True)
        two.release("&a->mutex", A)
    s.loss(1, 5)
    one.take("&a->mutex", A)
    two.acquire("&a->mutex", A).contended("&a->mutex", A)
    one.release("&a->mutex", A)
    two.acquired("&a->mutex", A)
    two.acquire("&a->mutex", A)
    return s.save(folder / "locks.dat")


def perf(folder: Path) -> Path:
    return Path(perf_file(Kernel(), zstd=True).write(folder, "p.data"))


@pytest.mark.parametrize("made", [locks, canaries.trace, perf])
def test_a_reading_is_inside_and_says_the_same(tmp_path: Path, made: Callable[[Path], Path]) -> None:
    path = made(tmp_path)
    plain = text_of(lockscope.load(path).analyze())
    with checked():
        assert text_of(lockscope.load(path).analyze()) == plain


@pytest.mark.parametrize("made", [locks, perf])
def test_statistics_are_inside_and_the_same(tmp_path: Path, made: Callable[[Path], Path]) -> None:
    path = made(tmp_path)

    def figures() -> tuple[object, ...]:
        trace = lockscope.load(path)
        counted = trace.locks("class", "task").arrow.to_pylist()
        return counted, trace.table("holds").arrow.to_pylist(), perf_figures(str(path)).rows

    plain = figures()
    with checked():
        assert figures() == plain


def test_no_loop_is_left_out() -> None:
    """What is compiled lies in a module that the checked house knows."""
    known = set(checked_house.modules())
    assert {"walk", "walk_locks", "walk_notes", "walk_doubts", "walk_memory", "perf_records"} <= known
    assert {"perf_sequences", "lock_stats", "lock_contention", "graph", "records", "columns", "interner"} <= known


@pytest.mark.parametrize(("region", "rows"), [("holds", 2), ("rows", 3), ("chains", 2), ("tasks", 1), ("classes", 1)])
def test_a_reserve_that_is_too_small_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, region: str, rows: int
) -> None:
    """Were too little reserved, no row would be written beside its region, and the reading would not pass for one."""
    path = locks(tmp_path)
    monkeypatch.setattr(walk_regions, "_START", walk_regions._START | {region: rows})
    monkeypatch.setattr(walk_regions, "_HOLDS", rows if region == "holds" else 1 << 10)
    with checked():
        from lockscope.kernels import walk

        monkeypatch.setattr(walk, "room", lambda m: True)
        with pytest.raises((RuntimeError, OutsideError), match="found no room"):
            lockscope.load(path).table("holds")


def test_a_word_between_two_regions_cannot_be_read(tmp_path: Path) -> None:
    memory = walk_regions.Memory(holds=True)
    guarded = checked_house.Checked(memory.m, checked_house.Space())
    end = int(memory.m[counters.HOLDS]) + memory.region("holds").size
    with pytest.raises(OutsideError):
        guarded[end]
