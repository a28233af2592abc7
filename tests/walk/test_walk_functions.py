"""Holds of kernels without lockdep: from the lock functions themselves, probed."""

from __future__ import annotations

import pytest

from lockscope.evidence.gather import GatherOptions, gather
from lockscope.rules.load import choose
from lockscope.tables.symbols import Symbols
from tests.builders.found import anomalies, chains, holds, walked
from tests.builders.script import HARDIRQ, IRQS_OFF, Script, Task

A, B = 0xFFFF888100000100, 0xFFFF888100000200
SIGNED = A - (1 << 64)


def lock(t: Task, function: str, at: int, *, ret: int | None = None, ip: int = 0x99) -> Task:
    t.event(f"lockscope:{function}_entry", lock=at, caller=0xDEAD)
    more = {} if ret is None else {"ret": ret}
    return t.event(f"lockscope:{function}", __probe_ret_ip=ip, **more)


def unlock(t: Task, function: str, at: int) -> Task:
    return t.event(f"lockscope:{function}", lock=at)


def stock() -> tuple[Script, Task]:
    s = Script("6.1.0-56-amd64")
    return s, s.task("qemu", 100).sys_exit(at=1_000_000)


def test_hold_from_the_functions_return_to_unlock() -> None:
    s, t = stock()
    unlock(lock(t, "mutex_lock", A), "mutex_unlock", A)
    (hold,) = holds(walked(s))
    assert hold[1:] == (SIGNED, 100, 1_001_000, 1_002_000, 1_003_000, 0, "both", "")


def test_caller_is_the_return_address_not_the_trampoline() -> None:
    s, t = stock()
    lock(t, "mutex_lock", A, ip=0x1234)
    assert walked(s).evidence.chains[0].next.ip == 0x1234


def test_wait_is_what_the_function_took() -> None:
    s, t = stock()
    t.event("lockscope:mutex_lock_entry", lock=A).switch_to(s.idle(0))
    t.event("lockscope:mutex_lock", at=9_000_000)
    unlock(t, "mutex_unlock", A)
    assert walked(s).walk.statistics()["wait_ns"].tolist() == [9_000_000 - 1_001_000]


def test_failed_trylock_and_killed_attempt_are_no_holds() -> None:
    s, t = stock()
    lock(t, "mutex_trylock", A, ret=0)
    lock(t, "mutex_lock_killable", A, ret=-4)
    unlock(lock(t, "mutex_trylock", A, ret=1), "mutex_unlock", A)
    unlock(lock(t, "mutex_lock_killable", A, ret=0), "mutex_unlock", A)
    found = walked(s)
    assert [(h.how, h.known) for h in holds(found)] == [("try", "both"), ("", "both")]
    assert (anomalies(found), found.walk.counter("unpaired")) == ([], 0)


def test_readers() -> None:
    s, t = stock()
    unlock(lock(t, "raw_read_lock", A), "raw_read_unlock", A)
    assert [h.how for h in holds(walked(s))] == ["read"]


def test_nesting_by_address() -> None:
    s, t = stock()
    unlock(unlock(lock(lock(t, "mutex_lock", A), "mutex_lock", B), "mutex_unlock", B), "mutex_unlock", A)
    found = walked(s)
    chain = found.evidence.chains[1]
    assert (chain.held[0].cls, chain.next.cls) == (0, 1)
    assert [c.key & (1 << 64) - 1 for c in found.evidence.classes] == [A, B]
    assert chains(found) == ["mutex without a name", "mutex without a name > mutex without a name"]


def test_interrupt_between_entry_and_return() -> None:
    s, t = stock()
    t.event("lockscope:mutex_lock_entry", lock=A)
    with t.context(HARDIRQ | IRQS_OFF):
        unlock(lock(t, "raw_read_lock", B), "raw_read_unlock", B)
    t.event("lockscope:mutex_lock")
    unlock(t, "mutex_unlock", A)
    assert [(h.how, h.depth, h.known) for h in holds(walked(s))] == [("", 0, "both"), ("read hardirq", 0, "both")]


def test_return_without_entry_and_entry_without_return() -> None:
    s, t = stock()
    t.event("lockscope:mutex_lock").event("lockscope:mutex_lock_entry", lock=B)
    unlock(lock(t, "mutex_lock_killable", A, ret=0), "mutex_unlock", A)
    assert [(h.lock, h.known) for h in holds(walked(s))] == [(SIGNED, "both")]


def test_more_entries_than_are_kept() -> None:
    s, t = stock()
    for _ in range(40):
        t.event("lockscope:mutex_lock_entry", lock=B)  # its return probe was missed
    unlock(lock(t, "mutex_lock", A), "mutex_unlock", A)
    assert [(h.lock, h.known) for h in holds(walked(s))] == [(SIGNED, "both")]


def test_unlock_of_what_was_taken_by_a_function_that_is_not_probed() -> None:
    s, t = stock()
    unlock(t, "mutex_unlock", A)
    found = walked(s)
    assert [h.known for h in holds(found)] == ["end"]
    assert (anomalies(found), found.walk.counter("unpaired")) == ([], 1)


def test_leak_of_a_probed_lock_may_be_an_unlock_that_is_not_probed() -> None:
    s, t = stock()
    lock(t, "mutex_lock", A).sys_exit()
    assert anomalies(walked(s)) == []


def test_static_lock_has_the_name_of_its_symbol() -> None:
    s, t = stock()
    lock(t, "mutex_lock", A)
    reader = s.reader()
    reader.info.symbols = lambda: Symbols.parse(f"{A:x} D kvm_lock\t[kvm]\n".encode())
    found = gather(reader, choose(None)[0], GatherOptions())
    assert [c.name for c in found.evidence.classes] == ["kvm_lock"]


@pytest.mark.parametrize(
    ("second", "name"),
    [
        ("kvm_ioapic_update_eoi.part.0", "&ioapic->lock"),
        ("d_walk", "spinlock of kvm_ioapic_scan_entry"),  # freed, and another lock lies there now
    ],
)
def test_what_only_certain_functions_take_is_named_by_them(second: str, name: str) -> None:
    s, t = stock()
    unlock(lock(t, "raw_spin_lock", A, ip=0xFFFFFFFFC0001010), "raw_spin_unlock", A)
    unlock(lock(lock(t, "mutex_lock", B), "raw_spin_lock", A, ip=0xFFFFFFFFC0002010), "raw_spin_unlock", A)
    reader = s.reader()
    symbols = f"ffffffffc0001000 t kvm_ioapic_scan_entry\t[kvm]\nffffffffc0002000 t {second}\t[kvm]\n"
    reader.info.symbols = lambda: Symbols.parse(symbols.encode())
    (named, other) = gather(reader, choose(None)[0], GatherOptions()).evidence.classes
    assert (named.name, named.kind, named.unplaced, other.name) == (name, "spinlock", True, "mutex without a name")


def test_an_attempt_that_never_returns_is_a_chain() -> None:
    s, t = stock()
    lock(t, "mutex_lock", A)
    t.event("lockscope:mutex_lock_entry", lock=B, caller=0x77)
    s.task("other", 101).sys_exit(at=9_000_000)
    found = walked(s).evidence
    attempt = found.chains[len(found.chains) - 1]
    assert [e.lock for e in attempt.held] == [SIGNED]
    assert (attempt.next.lock, attempt.next.ip, attempt.count) == (B - (1 << 64), 0x77, 1)


def test_an_attempt_that_returns_is_counted_once() -> None:
    s, t = stock()
    for _ in range(3):
        lock(t, "mutex_lock", A)
        unlock(lock(t, "mutex_lock", B, ip=0x1234), "mutex_unlock", B)
        unlock(t, "mutex_unlock", A)
    found = walked(s)
    assert [(len(c.held), c.count, c.next.ip) for c in found.evidence.chains] == [(0, 3, 0x99), (1, 3, 0x1234)]
    assert found.walk.statistics()["acquired"].tolist() == [3, 3]


def test_a_wait_for_readers_is_a_chain_and_its_sections_are_held() -> None:
    s, t = stock()
    lock(t, "mutex_lock", A)
    t.event("lockscope:synchronize_srcu", ssp=B)
    unlock(t, "mutex_unlock", A)
    t.event("lockscope:srcu_read_lock", ssp=B, idx=0)
    unlock(lock(t, "mutex_lock", A), "mutex_unlock", A)
    t.event("lockscope:srcu_read_unlock", ssp=B, idx=0)
    srcu = B - (1 << 64)
    found = [(tuple(e.lock for e in c.held), c.next.lock, c.next.read) for c in walked(s).evidence.chains]
    assert found == [((), SIGNED, 0), ((SIGNED,), srcu, 0), ((), srcu, 2), ((srcu,), SIGNED, 0)]
