"""What tells that events are missing: silences, contradictions, one of a pair that stopped."""

from __future__ import annotations

import numpy as np
import pytest

from lockscope.evidence.gather import GatherOptions
from lockscope.evidence.partners import pairs_of
from lockscope.facts.interruptions import Hole, Silences
from tests.builders.script import Script

STEP, PAUSE = 1_000, 5_000_000


def silences(number: int = 1000, at: int = 500, length: int = PAUSE) -> Silences:
    ts = np.arange(number, dtype=np.int64) * STEP
    ts[at:] += length
    found = Silences()
    for begin in range(0, number, 300):  # batches
        found.feed(ts[begin : begin + 300], begin)
    return found


def test_the_longest_silence_between_two_times():
    found = silences()
    assert found.longest_in(0, 10_000_000) == Hole(499_000, 5_500_000, 500, 500)
    assert found.longest_in(499_001, 10_000_000) is None
    assert found.longest_in(0, 400_000) is None


def test_what_is_no_longer_than_usual_is_no_silence():
    assert silences(length=9 * STEP).all() == []
    assert silences(length=60_000).all() == [Hole(499_000, 560_000, 500, 500)]


def test_a_few_events_have_no_usual_distance():
    assert silences(number=20, at=10).all() == []
    assert len(silences(number=20, at=10, length=20_000_000).all()) == 1


def test_what_comes_again_and_again_is_how_the_host_runs():
    ts = np.arange(1000, dtype=np.int64) * STEP + np.arange(1000) // 100 * PAUSE
    found = Silences()
    found.feed(ts, 0)
    assert (len(found.all()), found.rare_ns) == (9, 2 * (PAUSE + STEP))


def contradictions(script: Script) -> list[tuple[int, int, str]]:
    found = script.gathered(GatherOptions(("continuity",))).evidence.facts["continuity"]
    return [(c.ts_ns - c.since_ns, c.pid, c.what) for c in found]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([("enter", 1), ("exit", 1), ("enter", 2), ("exit", 2)], []),
        ([("exit", 1), ("enter", 1), ("exit", 1)], []),
        ([("enter", 15), ("exit", -1), ("enter", 1)], []),  # rt_sigreturn
        ([("enter", 1), ("enter", 2), ("exit", 2)], ["enters a system call twice without leaving it"]),
        ([("enter", 1), ("exit", 1), ("exit", 1)], ["leaves a system call twice without entering it"]),
        ([("enter", 1), ("exit", 2)], ["leaves another system call than it entered"]),
    ],
)
def test_contradictions_of_system_calls(numbers, said):
    s = Script()
    other = s.task("other", 7)
    other.event("raw_syscalls:sys_enter", id=3).event("raw_syscalls:sys_exit", id=3)
    qemu = s.task("qemu", 100)
    for what, number in numbers:
        qemu.event(f"raw_syscalls:sys_{what}", id=number)
    assert [what for _, _, what in contradictions(s)] == said


def test_a_counted_loss_explains_a_contradiction():
    s = Script()
    qemu = s.task("qemu", 100)
    qemu.event("raw_syscalls:sys_enter", id=1).event("raw_syscalls:sys_exit", id=1)
    s.loss(0)
    qemu.event("raw_syscalls:sys_exit", id=1)
    assert contradictions(s) == []


def pairs(script: Script) -> list[tuple[str, int, bool]]:
    return [(s.missing, s.others, s.hole is None) for s in script.gathered(GatherOptions()).evidence.stops]


def held(number: int, release: bool = True) -> Script:
    s = Script()
    qemu = s.task("qemu", 100)
    for i in range(20 + number):
        qemu.take("&m", 0x100 + i)
        if release and i < 20:
            qemu.release("&m", 0x100 + i)
    return s


def test_one_of_a_pair_that_stops():
    assert pairs(held(40)) == []
    assert pairs(held(100)) == [("lock_release", 100, False)]
    ((_, _, begin, seq, _),) = [s.hole for s in held(100).gathered(GatherOptions()).evidence.stops]
    assert (begin, seq) == (len(held(0).rows), 1 << 62)


def test_a_stretch_ends_where_its_events_come_again():
    s = held(100)
    again = len(s.rows)
    for _ in range(2):
        s.task("qemu", 100).release("&m", 0x100).take("&m", 0x100)
    ((_, _, begin, seq, _),) = [stop.hole for stop in s.gathered(GatherOptions()).evidence.stops]
    assert (begin, seq) == (len(held(0).rows), again)


@pytest.mark.parametrize(("tried", "stops"), [(True, []), (False, [("mutex_lock", 101, False)])])
def test_what_a_trylock_got_is_given_back_too(tried, stops):
    s = Script("7.3.4")
    qemu = s.task("qemu", 100)
    for i in range(120):
        if i < 20:
            qemu.event("lockscope:mutex_lock_entry", lock=0x100).event("lockscope:mutex_lock")
        elif tried:
            qemu.event("lockscope:mutex_trylock_entry", lock=0x100).event("lockscope:mutex_trylock", ret=1)
        qemu.event("lockscope:mutex_unlock", lock=0x100)
    assert [stop for stop in pairs(s) if not stop[0].endswith("_entry")] == stops


def test_one_of_a_pair_that_never_came():
    ((name, _, never),) = pairs(held(100, release=False))
    assert (name, never) == ("lock_release", True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lock_acquire", (("lock", True), ("twins", True))),
        ("lockdep_init", ()),
        ("srcu_read_unlock", (("srcu_read", False), ("srcu_read entry", False))),
        ("raw_write_lock_irqsave_entry", (("raw_write entry", True), ("raw_write call", True))),
        ("mutex_unlock", (("mutex", False), ("mutex entry", False))),
        ("up_read", (("read", False), ("read entry", False))),
        ("down_read", (("read", True), ("read call", False))),
        ("mutex_trylock", (("mutex", 2), ("mutex entry", 2))),
        ("mutex_trylock_entry", ()),
        ("raw_spin_trylock_bh", (("raw_spin", 2), ("raw_spin entry", 2))),
        ("down_read_trylock", (("read", 2), ("read entry", 2))),
        ("kvm_entry", ()),
    ],
)
def test_what_belongs_together(name, expected):
    assert pairs_of("lockscope", name) == expected
