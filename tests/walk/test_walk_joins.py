"""lock:lock_acquire and lockscope:lockdep_acquire of one acquisition are one."""

from __future__ import annotations

from lockscope.evidence.gather import GatherOptions, gather
from lockscope.rules.load import choose
from lockscope.tables.symbols import Symbols
from tests.builders.found import anomalies, chains, holds, walked
from tests.builders.script import HARDIRQ, IRQS_OFF, Script

A, B, C = 0x100, 0x200, 0x300


def names(script: Script) -> list[tuple[str, str]]:
    return [(h.name, h.known) for h in holds(walked(script))]


def test_both_events_are_one_hold() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    t.acquire("&a->mutex", A, at=10).detail("&a->mutex", A, key=0x7000, subclass=1, ip=0x99, nest=0x55, at=12)
    t.acquired("&a->mutex", A, at=15).release("&a->mutex", A, at=20)
    found = walked(s)
    assert [(h.name, h.asked, h.acquired, h.end) for h in holds(found)] == [("&a->mutex/1", 10, 15, 20)]
    assert found.walk.statistics()["acquired"].tolist()[-1] == 1
    entry = found.evidence.chains[0].next
    assert (len(found.evidence.chains), entry.ip, entry.nest, entry.ts_ns) == (1, 0x99, 0x55, 10)
    cls = found.evidence.classes[entry.cls]
    assert (cls.key, cls.subclass, cls.keyed, cls.wait_outer, cls.wait_inner) == (0x7000, 1, True, 0, 4)


def test_detail_decides_read_kind_and_trylock() -> None:
    s = Script()
    t = s.task("qemu", 100)
    t.acquire("&x->lock", A, read=True).detail("&x->lock", A, read=2, check=0).release("&x->lock", A)
    t.acquire("&x->lock", A, trylock=True).detail("&x->lock", A, trylock=1).release("&x->lock", A)
    assert [h.how for h in holds(walked(s))] == ["rread", "try"]


def test_detail_alone_is_an_acquisition() -> None:
    s = Script()
    t = s.task("qemu", 100)
    t.detail("&a->mutex", A).detail("&b->mutex", B).release("&b->mutex", B).release("&a->mutex", A)
    assert chains(walked(s)) == ["&a->mutex?", "&a->mutex > &b->mutex?"]


def test_missing_detail_leaves_what_the_plain_event_says() -> None:
    s = Script()
    t = s.task("qemu", 100)
    t.acquire("&a->mutex", A).detail("&a->mutex", A).release("&a->mutex", A)
    t.acquire("&a->mutex", A).acquire("&b->mutex", B).detail("&b->mutex", B)
    t.release("&b->mutex", B).release("&a->mutex", A)
    found = walked(s)
    assert chains(found) == ["&a->mutex x2?", "&a->mutex > &b->mutex?"]
    assert [c.keyed for c in found.evidence.classes] == [False, True, False, True]
    assert len(holds(found)) == 3


def test_detail_comes_first_where_its_event_was_enabled_first() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    for lock, name in ((A, "&a->mutex"), (B, "&b->mutex")):
        t.detail(name, lock).acquire(name, lock).acquired(name, lock)
    t.release("&b->mutex", B).release("&a->mutex", A)
    found = walked(s)
    assert chains(found) == ["&a->mutex", "&a->mutex > &b->mutex"]
    assert [(h.name, h.how) for h in holds(found)] == [("&a->mutex", ""), ("&b->mutex", "")]
    assert anomalies(found) == []


def test_detail_first_and_an_interrupt_between() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit().detail("&a->mutex", A)
    with t.context(HARDIRQ | IRQS_OFF):
        t.detail("timekeeper_lock", C, waits="raw").acquire("timekeeper_lock", C).release("timekeeper_lock", C)
    t.acquire("&a->mutex", A).release("&a->mutex", A)
    assert names(s) == [("&a->mutex", "both"), ("timekeeper_lock", "both")]


def test_detail_first_does_not_hide_a_recursion() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    t.detail("&a->mutex", A).acquire("&a->mutex", A).acquired("&a->mutex", A)
    t.detail("&a->mutex", A).acquire("&a->mutex", A)
    assert chains(walked(s)) == ["&a->mutex?", "&a->mutex > &a->mutex?"]  # neither is released


def test_interrupt_between_the_two_events() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit().acquire("&a->mutex", A)
    with t.context(HARDIRQ | IRQS_OFF):
        t.acquire("timekeeper_lock", C).detail("timekeeper_lock", C, waits="raw").release("timekeeper_lock", C)
    t.detail("&a->mutex", A).acquired("&a->mutex", A).release("&a->mutex", A)
    found = walked(s)
    assert [(h.name, h.depth, h.how) for h in holds(found)] == [
        ("&a->mutex", 0, ""), ("timekeeper_lock", 1, "hardirq"),
    ]  # fmt: skip
    assert [c.keyed for c in found.evidence.classes if c.name == "&a->mutex"] == [False, True]
    assert found.walk.statistics()["acquired"].tolist() == [0, 0, 1, 1]  # by name, by name, by key, by key


def test_interrupt_takes_the_same_lock_between_the_two_events() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit().acquire("&a->lock", A, trylock=True)
    with t.context(HARDIRQ | IRQS_OFF):
        t.detail("&a->lock", A, read=2, trylock=1).release("&a->lock", A)  # its plain event is missing
    t.detail("&a->lock", A, trylock=1).release("&a->lock", A)
    assert [(h.known, h.how) for h in holds(walked(s))] == [("both", "try"), ("both", "rread try hardirq")]


def test_two_classes_of_one_name_are_told_apart_by_key() -> None:
    s = Script()
    t = s.task("qemu", 100)
    for lock, key in ((A, 0x7001), (B, 0x7002)):
        t.acquire("&s->lock", lock).detail("&s->lock", lock, key=key)
    classes = walked(s).evidence.classes
    assert [(c.name, c.key) for c in classes if c.keyed] == [("&s->lock", 0x7001), ("&s->lock", 0x7002)]


def test_static_lock_without_key_is_its_own_key() -> None:
    s = Script()
    s.task("qemu", 100).event("lockscope:lockdep_acquire", lock=A, key=0, check=1, name="")
    (cls,) = walked(s).evidence.classes
    assert (cls.name, cls.key, cls.keyed) == ("(null)", A, True)


def test_class_without_a_name_is_called_by_the_symbol_of_its_key() -> None:
    s = Script()
    t = s.task("qemu", 100).event("lockscope:lockdep_acquire", lock=A + 8, key=A + 8, check=1, name="")
    t.event("lockscope:lockdep_acquire", lock=B, key=B, check=1, name="b_lock")
    reader = s.reader()
    reader.info.symbols = lambda: Symbols.parse(b"100 d pvclock_gtod_data\n200 d b\n")
    found = gather(reader, choose("6.12.1")[0], GatherOptions())
    assert [c.name for c in found.evidence.classes] == ["pvclock_gtod_data", "b_lock"]


def test_unchecked_by_name_where_nothing_else_says() -> None:
    s = Script()
    t = s.task("qemu", 100)
    t.acquire("rcu_read_lock", A, read=True).release("rcu_read_lock", A).take("&a->mutex", B)
    found = walked(s)
    assert [found.evidence.chains[i].next.check for i in range(2)] == [0, 1]
