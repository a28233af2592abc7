"""The compiled loops about KVM on rows of any content: they stay inside their arrays, and do as the Python they are."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from lockscope.facts import flush_debts, kvm_state, spte_history, srcu_sections, vms
from lockscope.facts.fact import FactSet
from lockscope.rules.load import choose
from lockscope.tables.events import Stream, TraceInfo
from lockscope.tables.ops import SLOTS, WIDTH, Op
from lockscope.tables.tape import TapeBatch
from lockscope.tables.texts import Texts
from tests.builders.kvm import CLEAR_LOG, FLUSH, FREE_ROOTS, NONE, PAGE_OFFSET, RESET_RINGS, RO, RW, TRACKED, Vm
from tests.builders.uncompiled import uncompiled

LOOPS = {"kvm_vms": vms, "kvm_srcu": srcu_sections, "kvm_flush": flush_debts, "kvm_spte": spte_history}
FACTS = ("flush_debts", "kvm_reference", "spte_history", "srcu_sections")
VMS = (Vm(0xFFFFC90000001000), Vm(0xFFFFC90000011000))
OPS = [op for op in SLOTS if op not in (Op.MARKER, Op.RENAME, Op.FORK)]
COMMON = (
    Op.SPTE_TDP,
    Op.SPTE_SET,
    Op.FAST_PF,
    Op.SPTE_UPDATE_ENTRY,
    Op.SPTE_UPDATE,
    Op.REQUEST,
    Op.SRCU_LOCK,
    Op.SRCU_UNLOCK,
)
NUMBERS = (0, 1, 2, 3, 16, -1, 231, 0x180, 0x181, -(1 << 63), (1 << 63) - 1, CLEAR_LOG, RESET_RINGS, FLUSH, FREE_ROOTS)
SPTES = (RW, RO, TRACKED, NONE - (1 << 64), RW | 0x80, RO | 0x80, 0x105660827, 0x80000000000005A0 - (1 << 64))
SPTEP = 0x10565BC00


@contextmanager
def interpreted() -> Iterator[None]:
    """The loops as plain Python."""
    with pytest.MonkeyPatch.context() as patch, uncompiled() as load:
        for name, module in LOOPS.items():
            patch.setattr(module, name if name == "kvm_spte" else "kernel", load(name))
        for module in (kvm_state, srcu_sections):
            for name in ("number_in", "number_all", "rehash"):
                if hasattr(module, name):
                    patch.setattr(module, name, getattr(load("numbering"), name))
        yield


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def rows(rng: random.Random, number: int) -> TapeBatch:
    """A batch of rows of any content, but mostly of what the loops look at."""
    owners = [rng.choice(VMS) for _ in range(number)]
    ops = np.array([rng.choice(COMMON if rng.random() < 0.6 else OPS) for _ in range(number)], np.int64)
    slots, held = np.zeros((number, WIDTH), np.int64), np.zeros((number, 18), np.int64)
    for i, vm in enumerate(owners):
        pool = {
            "kvm": (vm.kvm,), "ssp": (vm.srcu, vm.irq_srcu, 0x1234), "lock": (vm.mmu_lock, vm.slots_lock, vm.srcu + 16),
            "old": SPTES, "new": SPTES, "spte": SPTES, "sptep": (SPTEP, SPTEP + PAGE_OFFSET), "idx": (0, 1, 7),
            "level": (1, 1, 2, 3, 0, -5, 99), "name": (0, 1, -1), "role": (0x81, 0x84, 1, 2, 0x84), "ret": (5, 4, 0),
            "error_code": (7, 5), "gfn": (0x180, 0x181, -1), "addr": (0x180000, 0x181000, -1), "stream": (0, 1),
        }  # fmt: skip
        for s, name in enumerate(SLOTS[Op(int(ops[i]))]):
            slots[i, s] = signed(rng.choice(pool.get(name, NUMBERS) if rng.random() < 0.9 else NUMBERS) & (1 << 64) - 1)
        for role, lock in ((1, vm.mmu_lock), (2, vm.srcu + 16), (3, vm.slots_lock), (6, 0xFFFF888100000000 + i % 3)):
            held[i, role] = signed(lock) if rng.random() < 0.5 else 0
        held[i, 16], held[i, 17] = rng.randrange(3) if held[i, 1] else 0, rng.randrange(3)
    ts = np.cumsum(np.array([rng.choice((0, 1, 1000, 10**8)) for _ in range(number)], np.int64)) + 1
    cpu = np.array([rng.choice((0, 1, 300, 65535)) for _ in range(number)], np.int32)
    pid = np.array([rng.choice((0, 1, 100, 101, 1 << 22)) for _ in range(number)], np.int64)
    flags = np.array([rng.choice((0, 0, 0, 0, 8, 16, 0x40)) for _ in range(number)], np.int64)
    order = np.arange(number, dtype=np.int64)
    zero = np.zeros(number, np.int64)
    return TapeBatch(
        ts, cpu, pid, flags, zero, ops, slots, order, (cpu & 1).astype(np.int32), zero.astype(np.int32), held
    )


def made(seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    texts = Texts()
    for word in ("&(kvm)->mmu_lock", "&kvm->srcu"):
        _intern(texts, word)
    info = TraceInfo("memory", "memory", rng.choice(("6.12.1", "5.15.0", "4.14.1", None)), clock="local")
    info.streams = [Stream(0), Stream(1, rng.choice(("", "kvm")))]
    facts = FactSet(FACTS, info, choose(info.kernel)[0], texts)
    for _ in range(3):
        facts.feed(rows(rng, 250))
    return facts.finish()


def _intern(texts: Texts, word: str) -> None:
    from lockscope.core.interner import intern

    data = np.frombuffer(word.encode(), np.uint8).copy()
    intern(data, 0, len(data), texts.table, texts.pool, texts.ends, texts.state)


@pytest.mark.parametrize("seed", range(12))
def test_any_rows(seed: int) -> None:
    compiled = made(seed)
    with interpreted():
        plain = made(seed)
    for name in FACTS:
        assert repr(compiled[name]) == repr(plain[name]), name
    assert compiled["vms"].vms == plain["vms"].vms
