"""Waits of kernels without lockdep."""

from __future__ import annotations

import numpy as np

from lockscope.reconstruct.contention import Contention, type_name
from lockscope.reconstruct.gather import GatherOptions
from lockscope.reconstruct.walk import HOLD_COLUMNS
from lockscope.tables.ops import Op
from tests.builders.found import holds, walked
from tests.builders.script import Script, Task

A, B = 0xFFFF888100000100, 0xFFFF888100000200
SPIN, READ, WRITE, MUTEX = 1, 2, 4, 32


def begin(t: Task, lock: int, flags: int = 0, **more: int) -> Task:
    return t.event("lock:contention_begin", lock_addr=lock, flags=flags, **more)


def end(t: Task, lock: int, **more: int) -> Task:
    return t.event("lock:contention_end", lock_addr=lock, ret=0, **more)


def waits(s: Script) -> list[tuple[str, int, int, int, bool]]:
    """(type, pid, begin, end, reads)."""
    pairs = Contention()
    found: list[np.ndarray] = []
    ops = frozenset({Op.CONTENTION_BEGIN, Op.CONTENTION_END})
    s.gathered(GatherOptions(tape=lambda batch: found.extend(pairs.feed(batch)), ops=ops))
    rows = [dict(zip(HOLD_COLUMNS, row, strict=True)) for part in found for row in part.tolist()]
    return [(type_name(r["cls"]), r["pid"], r["contended_ns"], r["acquired_ns"], bool(r["mode"] & 3)) for r in rows]


def test_a_wait_lasts_from_the_first_begin_to_the_end() -> None:
    s = Script()
    t = s.task("qemu", 100)
    begin(t, A, MUTEX | SPIN, at=10)
    begin(t, A, MUTEX, at=15)
    end(t, A, at=40)
    assert waits(s) == [("mutex", 100, 10, 40, False)]


def test_tasks_and_locks_are_apart_and_idle_tasks_too() -> None:
    s = Script()
    one, two = s.task("qemu", 100), s.task("qemu", 101, cpu=1)
    idle = [s.idle(2), s.idle(3)]
    begin(one, A, READ, at=10)
    begin(two, A, WRITE, at=11)
    begin(one, B, SPIN, at=12)
    begin(idle[0], A, SPIN, at=13)
    begin(idle[1], A, SPIN, at=14)
    for n, t in enumerate((one, two, *idle)):
        end(t, A, at=20 + n)
    end(one, B, at=30)
    assert waits(s) == [
        ("rwsem:R", 100, 10, 20, True), ("rwsem:W", 101, 11, 21, False), ("spinlock", 0, 13, 22, False),
        ("spinlock", 0, 14, 23, False), ("spinlock", 100, 12, 30, False),
    ]  # fmt: skip


def test_halves_are_no_waits() -> None:
    s = Script()
    t = s.task("qemu", 100)
    end(t, A)
    begin(t, B)
    assert waits(s) == []


def test_many_locks_make_the_tables_grow() -> None:
    s = Script()
    t = s.task("qemu", 100)
    for n in range(3_000):
        end(begin(t, A + 8 * n), A + 8 * n)
    assert len(waits(s)) == 3_000


def test_flags_that_no_kernel_has_are_unknown() -> None:
    assert [type_name(f) for f in (0, 8, 16 | READ, 64)] == ["semaphore", "rtmutex", "pcpu-sem:R", "unknown"]


def test_inside_a_probed_function_it_marks_the_hold() -> None:
    s = Script("6.1.0-56-amd64")
    t = s.task("qemu", 100)
    for lock, waits_ in ((A, True), (B, False)):
        t.event("lockscope:mutex_lock_entry", lock=lock, caller=0xDEAD)
        if waits_:
            end(begin(begin(t, lock, MUTEX | SPIN), lock, MUTEX), lock)
        t.event("lockscope:mutex_lock", __probe_ret_ip=0x99).event("lockscope:mutex_unlock", lock=lock)
    found = walked(s)
    assert [h.how for h in holds(found)] == ["contended", ""]
    (row, other) = np.concatenate(found.walk.holds)
    assert row[HOLD_COLUMNS.index("contended_ns")] == 1_001_000
    assert other[HOLD_COLUMNS.index("contended_ns")] == 0
    assert found.walk.statistics()["contended"].tolist() == [1, 0]
