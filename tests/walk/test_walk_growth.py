"""Tables grow; deep stacks and many tasks stay within bounds."""

from __future__ import annotations

import numpy as np
import pytest

from lockscope.core.tape_rows import H_OP, H_PID, H_SEQ, H_SLOTS, H_TS, HEAD_WIDTH
from lockscope.tables.ops import WIDTH, Op
from lockscope.tables.tape import PackedTape
from lockscope.tables.texts import Texts
from lockscope.walk import regions as walk_regions
from lockscope.walk.walk import LockWalk, WalkOptions
from tests.builders.found import anomalies, chains, holds, walked
from tests.builders.script import Script


def tape(rows: list[tuple[Op, int, int, int]]) -> PackedTape:
    """Rows of (operation, pid, lock, text number of the name), a nanosecond apart, all on CPU 0."""
    n = len(rows)
    made = np.array(rows, np.int64).reshape(n, 4)
    slots = np.zeros((n + 1, WIDTH), np.int64)
    slots[:n, 0], slots[:n, 1] = made[:, 2], made[:, 3]
    head = np.zeros((n, HEAD_WIDTH), np.int64)
    head[:, H_OP], head[:, H_PID] = made[:, 0], made[:, 1]
    head[:, H_TS] = head[:, H_SEQ] = np.arange(n)
    head[:, H_SLOTS] = WIDTH * np.arange(n)
    return PackedTape(head, slots.reshape(-1), np.array([WIDTH], np.int64))


def walk_of(rows: list[tuple[Op, int, int, int]], names: list[str], *, holds: bool = True) -> LockWalk:
    texts = Texts()
    for name in names:
        texts.number(name)
    walk = LockWalk(texts, WalkOptions(holds=holds))
    walk.feed(tape(rows))
    walk.finish(len(rows))
    return walk


def test_many_classes_chains_and_names() -> None:
    n = 20_000
    names = [f"&lock{i}->mutex" for i in range(n)]
    rows = [row for i in range(n) for row in ((Op.ACQUIRE, 1, i + 8, i), (Op.ACQUIRE, 1, 4, 0),
                                              (Op.RELEASE, 1, 4, 0), (Op.RELEASE, 1, i + 8, i))]  # fmt: skip
    walk = walk_of(rows, names)
    assert len(walk.classes()) == n
    assert walk.classes()[n - 1].name == f"&lock{n - 1}->mutex"
    found = walk.chains()
    assert len(found) == 2 * n
    assert (found.count == 1).all()
    last = found[2 * n - 1]
    assert (last.held[0].lock, last.next.lock, last.next.cls) == (n + 7, 4, 0)
    assert sum(len(part) for part in walk.holds) == 2 * n


def test_many_tasks_at_once() -> None:
    n = 12_000
    rows = [(Op.ACQUIRE, i + 1, i + 8, 0) for i in range(n)] + [(Op.RELEASE, i + 1, i + 8, 0) for i in range(n)]
    walk = walk_of(rows, ["&kvm->lock"], holds=False)
    assert walk.statistics()["holds"].tolist() == [n]
    assert walk.statistics()["hold_ns"].tolist() == [n * n]


def test_a_hundred_thousand_tasks_do_not_fill_memory() -> None:
    n = 100_000
    rows = [row for i in range(n) for row in ((Op.ACQUIRE, i + 1, 8, 0), (Op.RELEASE, i + 1, 8, 0))]
    held = [(Op.ACQUIRE, 1 << 22, 16, 1)]
    walk = walk_of([*held, *rows, (Op.RELEASE, 1 << 22, 16, 1)], ["&kvm->lock", "&a->mutex"])
    assert walk.statistics()["holds"].tolist() == [1, n] or walk.statistics()["holds"].tolist() == [n, 1]
    assert sum(region.nbytes for region in walk.memory.regions.values()) < 512 << 20
    assert sum(len(part) for part in walk.holds) == n + 1


def test_a_hundred_thousand_tasks_that_never_release_do_not_fill_memory() -> None:
    n = 100_000
    walk = walk_of([(Op.ACQUIRE, i + 1, 8, 0) for i in range(n)], ["&kvm->lock"])
    assert sum(region.nbytes for region in walk.memory.regions.values()) < 512 << 20
    assert sum(len(part) for part in walk.holds) == n
    still_held = walk.counter("task_table")  # at the trace's end: nothing was lost of these
    assert walk.counter("unpaired") == n - still_held > n // 2


def test_results_do_not_depend_on_batches() -> None:
    rows = [
        (op, i % 7, lock, name)
        for i in range(500)
        for op, lock, name in ((Op.ACQUIRE, i + 8, i % 40), (Op.ACQUIRE, 4, 0), (Op.RELEASE, 4, 0),
                               (Op.RELEASE, i + 8, i % 40))
    ]  # fmt: skip
    names = [f"&lock{i}->mutex" for i in range(40)]
    whole = walk_of(rows, names)
    texts = Texts()
    for name in names:
        texts.number(name)
    parts = LockWalk(texts, WalkOptions(holds=True))
    full = tape(rows)
    for begin in range(0, len(rows), 37):
        parts.feed(PackedTape(full.head[begin : begin + 37].copy(), full.slots, full.widths))
    parts.finish(len(rows))
    assert (np.concatenate(parts.holds) == np.concatenate(whole.holds)).all()
    assert (parts.chains().entries == whole.chains().entries).all()
    assert (parts.chains().count == whole.chains().count).all()


def deep(number: int) -> Script:
    s = Script()
    t = s.task("qemu", 100).sys_exit().take("&mm->mmap_lock", 0x10)
    for i in range(number):  # mm_take_all_locks(): one lock of each mapping, at every mmu_notifier_register()
        t.take("&mapping->i_mmap_rwsem", 0x1000 + i)
    for i in range(number):
        t.release("&mapping->i_mmap_rwsem", 0x1000 + i)
    t.take("&kvm->lock", 0x20).release("&kvm->lock", 0x20).release("&mm->mmap_lock", 0x10).sys_exit()
    return s


def test_stack_of_sixty_locks() -> None:
    found = walked(deep(60))
    assert len(holds(found)) == 62
    assert {h.known for h in holds(found)} == {"both"}
    assert found.walk.counter("too_deep") == 0


def test_deeper_than_the_stack_is_left_out_and_counted() -> None:
    found = walked(deep(300))
    assert found.walk.counter("too_deep") == 300 - 62
    assert anomalies(found) == []  # their releases are no unbalanced ones
    assert chains(found)[-1].rstrip("?") == "&mm->mmap_lock > &kvm->lock"
    assert [h.known for h in holds(found) if h.name != "&mapping->i_mmap_rwsem"] == ["both", "both"]
    assert found.walk.counter("unpaired") == 0


def test_the_two_events_of_one_acquisition_are_left_out_as_one() -> None:
    for first, second in (("acquire", "detail"), ("detail", "acquire")):
        s = Script()
        t = s.task("qemu", 100).sys_exit()
        for i in range(70):
            getattr(t, first)("&mapping->i_mmap_rwsem", 0x1000 + i)
            getattr(t, second)("&mapping->i_mmap_rwsem", 0x1000 + i)
        for i in range(70):
            t.release("&mapping->i_mmap_rwsem", 0x1000 + i)
        t.release("&kvm->lock", 0x20)
        found = walked(s)
        assert found.walk.counter("too_deep") == 70 - 63
        assert [o[0] for o in anomalies(found)] == ["release-not-held"]


@pytest.mark.parametrize(("what", "rows"), [
    ("classes", [(Op.ACQUIRE, 1, 8, i) for i in range(200)]),
    ("situations in which a lock was taken", [(Op.ACQUIRE, 1, 8, i) for i in range(200)]),
    ("locks in these situations", [(Op.ACQUIRE, 1, i, 0) for i in range(60)]
     + [(op, 1, 99, i) for i in range(600) for op in (Op.ACQUIRE, Op.RELEASE)]),
    ("anomalies", [(Op.SYS_EXIT, 1, 0, 0), *((Op.RELEASE, 1, 8, i) for i in range(200))]),
])  # fmt: skip
def test_more_than_any_kernel_has_is_an_error(
    monkeypatch: pytest.MonkeyPatch, what: str, rows: list[tuple[Op, int, int, int]]
) -> None:
    count, _ = walk_regions._MOST[what]
    monkeypatch.setitem(walk_regions._MOST, what, (count, 30))
    monkeypatch.setattr(walk_regions, "_START", {**walk_regions._START, "classes": 64, "chains": 256, "anomaly": 64})
    with pytest.raises(MemoryError, match=f"^more than 30 {what}$"):
        walk_of(rows, [f"&lock{i}->mutex" for i in range(600)])


def test_tasks_that_end_the_trace_trying_what_they_hold() -> None:
    """Each such trylock says that the task holds none of what it seemed to: its holds end all at once, at the end."""
    n, deep = 3_000, 60
    walk = LockWalk(texts := Texts(), WalkOptions(holds=True, detailed=True))
    for i in range(deep):
        texts.number(f"&a{i}->mutex")
    rows = []
    for task in range(n):
        rows += [(Op.ACQUIRE, task + 1, 64 * task + 8 + i, i) for i in range(deep)]
        rows.append((Op.ACQUIRED, task + 1, 64 * task + 8, 0))
        rows.append((Op.ACQUIRE, task + 1, 64 * task + 8, 0))
    made = tape(rows)
    tries = np.flatnonzero((made.head[:, H_OP] == Op.ACQUIRE) & (np.arange(len(rows)) % (deep + 2) == deep + 1))
    made.slots[made.head[tries, H_SLOTS] + 2] = 1  # trylock
    walk.feed(made)
    walk.finish(len(rows))
    ended = np.concatenate(walk.holds)
    assert len(ended) == n * (deep + 1)
    assert set(ended[:, 2].tolist()) == set(range(1, n + 1))
