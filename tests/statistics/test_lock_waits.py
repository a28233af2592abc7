"""Who made whom wait."""

from __future__ import annotations

import numpy as np

from lockscope.evidence.gather import GatherOptions
from lockscope.statistics.lock_waits import ACQUIRED, CONTENDED, PID, Blame, LockWaits
from tests.builders.script import Script

A, B, C = 0xFFFF888100000100, 0xFFFF888100000200, 0xFFFF888100000300


def waits(script: Script, most: int = 1 << 20) -> tuple[LockWaits, Blame]:
    found = LockWaits(most)
    script.gathered(GatherOptions(ended=found.feed))
    return found, found.finish()


def told(found: LockWaits, blame: Blame) -> list[tuple[int, int, int]]:
    """(who waited, behind whom, for how long), by pid."""
    rows = found.rows
    return sorted(zip(rows[blame.wait, PID].tolist(), rows[blame.hold, PID].tolist(), blame.ns.tolist(), strict=True))


def chain(script: Script) -> list[tuple[int, int, int, int, int]]:
    """Of the longest wait: (depth, who waits, behind whom, for how long of it, owners)."""
    found, blame = waits(script)
    (wait,) = found.slowest(1).tolist()
    pid = [*found.rows[:, PID].tolist(), -1]
    return [(li.depth, pid[li.wait], pid[li.owner], li.owned_ns, li.owners) for li in found.chain(wait, blame)]


def queue() -> Script:
    """102 waits behind 100 from 200 to 300, then behind 101 to 450; 101 waits behind 100 alone."""
    s = Script()
    one, two, three = (s.task("t", pid, cpu) for pid, cpu in ((100, 0), (101, 1), (102, 2)))
    one.acquire("&kvm->lock", A, at=100).acquired("&kvm->lock", A, at=110)
    two.acquire("&kvm->lock", A, at=120).contended("&kvm->lock", A, at=130)
    three.acquire("&kvm->lock", A, at=190).contended("&kvm->lock", A, at=200)
    one.release("&kvm->lock", A, at=300)
    two.acquired("&kvm->lock", A, at=310).release("&kvm->lock", A, at=450)
    three.acquired("&kvm->lock", A, at=460).release("&kvm->lock", A, at=470)
    return s


def test_a_wait_is_shared_among_those_that_had_the_lock_meanwhile() -> None:
    assert told(*waits(queue())) == [(101, 100, 170), (102, 100, 100), (102, 101, 140)]


def test_the_longest_owner_stands_for_the_wait() -> None:
    assert chain(queue()) == [(0, 102, 101, 140, 2)]


def test_what_was_held_before_or_by_the_waiter_is_not_to_blame() -> None:
    s = Script()
    one, two = s.task("t", 100), s.task("t", 101, cpu=1)
    one.take("&kvm->lock", A).release("&kvm->lock", A)
    two.take("&kvm->lock", A).release("&kvm->lock", A)
    two.take("&kvm->slots_lock", B)
    one.acquire("&kvm->lock", A).contended("&kvm->lock", A).acquired("&kvm->lock", A).release("&kvm->lock", A)
    found, blame = waits(s)
    assert (len(found.rows), told(found, blame)) == (1, [])
    assert chain(s) == [(0, 100, -1, 0, 0)]


def test_several_readers_count_in_full() -> None:
    s = Script()
    writer = s.task("w", 100)
    for pid, since in ((101, 10), (102, 20)):
        s.task("r", pid, cpu=pid - 100).acquire("&mm->mmap_lock", A, read=True, at=since).acquired(
            "&mm->mmap_lock", A, at=since + 1
        )
    writer.acquire("&mm->mmap_lock", A, at=90).contended("&mm->mmap_lock", A, at=100)
    for pid, until in ((102, 400), (101, 500)):
        s.task("r", pid, cpu=pid - 100).release("&mm->mmap_lock", A, at=until)
    writer.acquired("&mm->mmap_lock", A, at=510).release("&mm->mmap_lock", A, at=600)
    assert told(*waits(s)) == [(100, 101, 400), (100, 102, 300)]


def test_down_to_the_root() -> None:
    """100 waits for A behind 101, which waits for B behind 102, which waits for nothing."""
    s = Script()
    one, two, three = (s.task("t", pid, cpu) for pid, cpu in ((100, 0), (101, 1), (102, 2)))
    three.acquire("&kvm->irq_lock", B, at=10).acquired("&kvm->irq_lock", B, at=11)
    two.acquire("&kvm->lock", A, at=20).acquired("&kvm->lock", A, at=21)
    two.acquire("&kvm->irq_lock", B, at=30).contended("&kvm->irq_lock", B, at=31)
    one.acquire("&kvm->lock", A, at=40).contended("&kvm->lock", A, at=41)
    three.release("&kvm->irq_lock", B, at=500)
    two.acquired("&kvm->irq_lock", B, at=510).release("&kvm->irq_lock", B, at=520).release("&kvm->lock", A, at=530)
    one.acquired("&kvm->lock", A, at=540).release("&kvm->lock", A, at=550)
    assert chain(s) == [(0, 100, 101, 489, 1), (1, 101, 102, 469, 1)]


def test_a_wait_that_was_over_before_is_not_the_reason() -> None:
    s = Script()
    one, two, three = (s.task("t", pid, cpu) for pid, cpu in ((100, 0), (101, 1), (102, 2)))
    three.acquire("&kvm->irq_lock", B, at=10).acquired("&kvm->irq_lock", B, at=11)
    two.acquire("&kvm->irq_lock", B, at=12).contended("&kvm->irq_lock", B, at=13)
    three.release("&kvm->irq_lock", B, at=20)
    two.acquired("&kvm->irq_lock", B, at=21).release("&kvm->irq_lock", B, at=22)
    two.acquire("&kvm->lock", A, at=30).acquired("&kvm->lock", A, at=31)
    one.acquire("&kvm->lock", A, at=40).contended("&kvm->lock", A, at=41)
    two.release("&kvm->lock", A, at=500)
    one.acquired("&kvm->lock", A, at=540).release("&kvm->lock", A, at=550)
    assert chain(s) == [(0, 100, 101, 459, 1)]


def test_two_that_wait_for_one_another_end_the_chain() -> None:
    """Overlapping waits of two tasks behind one another's earlier holds."""
    s = Script()
    one, two = s.task("t", 100), s.task("t", 101, cpu=1)
    one.acquire("&kvm->lock", A, at=10).acquired("&kvm->lock", A, at=11)
    two.acquire("&kvm->irq_lock", B, at=12).acquired("&kvm->irq_lock", B, at=13)
    two.acquire("&kvm->lock", A, at=20).contended("&kvm->lock", A, at=21)
    one.acquire("&kvm->irq_lock", B, at=30).contended("&kvm->irq_lock", B, at=31)
    one.release("&kvm->lock", A, at=100)
    two.release("&kvm->irq_lock", B, at=101)
    one.acquired("&kvm->irq_lock", B, at=110).release("&kvm->irq_lock", B, at=111)
    two.acquired("&kvm->lock", A, at=140).release("&kvm->lock", A, at=150)
    links = chain(s)
    assert links[0] == (0, 101, 100, 79, 1)
    assert [(depth, who) for depth, who, *_ in links] == [(0, 101), (1, 100)]


def test_beyond_the_limit_the_short_ones_go() -> None:
    s = Script()
    for n in range(200):
        s.at(10_000 + 10_000 * n)
        holder, waiter = s.task("h", 100), s.task("w", 101, cpu=1)
        holder.take("&kvm->lock", A)
        waiter.acquire("&kvm->lock", A).contended("&kvm->lock", A, at=s.now)
        holder.release("&kvm->lock", A, at=s.now + 20 * n)
        waiter.acquired("&kvm->lock", A).release("&kvm->lock", A)
    found, blame = waits(s, most=64)
    assert found.dropped > 0
    assert len(found.rows) + found.dropped == 400
    longest = found.rows[found.slowest(3)]
    assert (longest[:, ACQUIRED] - longest[:, CONTENDED]).tolist() == [2_000 + 20 * n for n in (199, 198, 197)]
    assert len(blame.ns) > 0


def test_no_wait_at_all() -> None:
    s = Script()
    s.task("t", 100).take("&kvm->lock", A).release("&kvm->lock", A)
    found, blame = waits(s)
    assert (len(found.rows), len(blame.ns), found.slowest(5).tolist()) == (0, 0, [])
    assert np.array_equal(found.rows, np.zeros((0, 14), np.int64))
