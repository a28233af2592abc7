"""Waits of kernels without lockdep."""

from __future__ import annotations

import numpy as np

from lockscope.core.walk_rows import HAD_TO_WAIT, WAITED_FOR
from lockscope.evidence.gather import GatherOptions
from lockscope.statistics.contention import OPS, Contention, type_name
from lockscope.walk.walk import HOLD_COLUMNS
from tests.builders.found import holds, walked
from tests.builders.script import Script, Task

A, B = 0xFFFF888100000100, 0xFFFF888100000200
SPIN, READ, WRITE, MUTEX = 1, 2, 4, 32


def begin(t: Task, lock: int, flags: int = 0, **more: int) -> Task:
    return t.event("lock:contention_begin", lock_addr=lock, flags=flags, **more)


def end(t: Task, lock: int, **more: int) -> Task:
    return t.event("lock:contention_end", lock_addr=lock, ret=0, **more)


def release(t: Task, lock: int, **more: int) -> Task:
    return t.event("lock:contended_release", lock_addr=lock, **more)


def paired(s: Script) -> list[dict[str, int]]:
    pairs = Contention()
    found: list[np.ndarray] = []
    s.gathered(GatherOptions(tape=lambda batch: found.extend(pairs.feed(batch)), ops=OPS))
    return [dict(zip(HOLD_COLUMNS, row, strict=True)) for part in found for row in part.tolist()]


def owners(s: Script) -> list[tuple[str, int, int, int]]:
    """(type, pid, since when at most, until): holds that others waited for."""
    rows = [r for r in paired(s) if r["mode"] & WAITED_FOR]
    return [(type_name(r["cls"]), r["pid"], r["acquired_ns"], r["end_ns"]) for r in rows]


def waits(s: Script) -> list[tuple[str, int, int, int, bool]]:
    """(type, pid, begin, end, reads)."""
    rows = [r for r in paired(s) if r["mode"] & HAD_TO_WAIT]
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


def test_who_releases_a_lock_that_is_waited_for_held_it() -> None:
    """From where the first waiter was in its queue: releases before that leave no event."""
    s = Script("7.3.4")
    first, second, waiter = s.task("qemu", 100), s.task("qemu", 101, cpu=1), s.task("qemu", 102, cpu=2)
    begin(waiter, A, WRITE, at=10)
    release(first, A, at=30)
    release(second, A, at=45)
    end(waiter, A, at=50)
    begin(first, A, WRITE, at=60)
    release(waiter, A, at=80)
    end(first, A, at=85)
    assert owners(s) == [("rwsem:W", 100, 10, 30), ("rwsem:W", 101, 30, 45), ("rwsem:W", 102, 60, 80)]
    assert [w[1:4] for w in waits(s)] == [(102, 10, 50), (100, 60, 85)]


def test_an_owner_that_had_waited_holds_it_from_the_end_of_its_wait() -> None:
    s = Script("7.3.4")
    first, second, third = s.task("qemu", 100), s.task("qemu", 101, cpu=1), s.task("qemu", 102, cpu=2)
    begin(second, A, MUTEX, at=10)
    begin(third, A, MUTEX, at=12)
    release(first, A, at=30)
    end(second, A, at=38)
    release(second, A, at=60)
    end(third, A, at=66)
    assert owners(s) == [("mutex", 100, 10, 30), ("mutex", 101, 38, 60)]


def test_a_mutex_is_released_unseen_while_its_waiters_spin() -> None:
    s = Script("7.3.4")
    owner, waiter = s.task("qemu", 100), s.task("qemu", 101, cpu=1)
    begin(waiter, A, MUTEX | SPIN, at=10)
    begin(waiter, A, MUTEX, at=25)
    begin(waiter, A, MUTEX | SPIN, at=26)  # the first in the queue spins again
    release(owner, A, at=30)
    end(waiter, A, at=38)
    assert owners(s) == [("mutex", 100, 25, 30)]
    assert waits(s) == [("mutex", 101, 10, 38, False)]


def test_what_a_release_does_not_prove() -> None:
    """A semaphore is given up by anybody; and a release alone says nothing of the time before it."""
    s = Script("7.3.4")
    owner, waiter = s.task("qemu", 100), s.task("qemu", 101, cpu=1)
    begin(waiter, A, 0, at=10)
    release(owner, A, at=30)
    end(waiter, A, at=38)
    release(owner, B, at=40)
    assert owners(s) == []
    assert waits(s) == [("semaphore", 101, 10, 38, False)]


def test_releases_may_be_lost() -> None:
    s = Script("7.3.4")
    owner, waiter = s.task("qemu", 100), s.task("qemu", 101, cpu=1)
    begin(waiter, A, WRITE, at=10)
    s.at(20).loss(2, 5)
    release(owner, A, at=30)
    end(waiter, A, at=38)
    assert owners(s) == [("rwsem:W", 100, 20, 30)]


def test_a_wait_that_was_given_up_is_no_acquisition() -> None:
    s = Script("7.3.4")
    owner, waiter = s.task("qemu", 100), s.task("qemu", 101, cpu=1)
    begin(waiter, A, MUTEX, at=10)
    waiter.event("lock:contention_end", lock_addr=A, ret=-4, at=20)
    begin(owner, A, MUTEX, at=30)
    release(waiter, A, at=40)  # taken later, without a wait
    assert owners(s) == [("mutex", 101, 30, 40)]
