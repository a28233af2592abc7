"""Who called, by a callchain: the innermost address outside the code that takes locks for others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lockscope import load
from lockscope.core import perf_records as walk
from lockscope.tables.lock_code import lock_code
from lockscope.tables.symbols import Symbols
from tests.builders.perf_data import KERNEL_CONTEXT, USER_CONTEXT, USUAL, Event, Kernel, PerfFile, Sample
from tests.builders.trace_dat import ACQUIRE

TOP = 0xFFFF_FFFF_8100_0000
KALLSYMS = "".join(
    f"{TOP + offset:016x} T {name}\n"
    for offset, name in (
        (0x000, "_text"), (0x100, "lock_acquire"), (0x200, "kvm_vm_ioctl"), (0x300, "down_read"),
        (0x380, "down_the_drain"), (0x3A0, "__update_rq_clock"), (0x3C0, "__down_write"), (0x3E0, "do_exit"),
        (0x400, "__traceiter_contention_begin"), (0x500, "__sched_text_start"),
        (0x500, "__mutex_lock.constprop.0"), (0x580, "mutex_lock_nested"), (0x600, "__sched_text_end"),
        (0x600, "__lock_text_start"), (0x600, "_raw_spin_lock"), (0x700, "__lock_text_end"), (0x700, "kvm_put_kvm"),
    )
).encode()  # fmt: skip


def _spans(kallsyms: bytes) -> list[tuple[int, int]]:
    return [(b - TOP, e - TOP) for b, e in lock_code(Symbols.parse(kallsyms)).view(np.uint64).tolist()]


def test_sections_and_functions_that_touch_are_one() -> None:
    assert _spans(KALLSYMS) == [(0x100, 0x200), (0x300, 0x380), (0x3C0, 0x3E0), (0x400, 0x700)]


def test_without_sections_the_names_alone_tell() -> None:
    bare = b"".join(line + b"\n" for line in KALLSYMS.splitlines() if b"_text_" not in line)
    assert _spans(bare) == [(0x100, 0x200), (0x300, 0x380), (0x3C0, 0x3E0), (0x400, 0x700)]


def test_without_symbols_there_is_none() -> None:
    assert lock_code(Symbols.none()).shape == (0, 2)
    assert lock_code(Symbols.parse(b"%016x T lock_acquire\n" % TOP)).shape == (0, 2)  # nobody knows where it ends


CHAINS = [
    ((KERNEL_CONTEXT, TOP + 0x110, TOP + 0x590, TOP + 0x240, TOP + 0x90, USER_CONTEXT, 0x40_0000), "kvm_vm_ioctl+0x40"),
    ((KERNEL_CONTEXT, TOP + 0x110, TOP + 0x6FF, TOP + 0x700), "kvm_put_kvm+0x0"),
    ((KERNEL_CONTEXT, TOP + 0x390), "down_the_drain+0x10"),
    ((KERNEL_CONTEXT, TOP + 0x1FF, TOP + 0x300), ""),
    ((), ""),
]


@pytest.mark.parametrize("k", [Kernel(), Kernel(True)], ids=["little", "big"])
@pytest.mark.parametrize("symbols", [True, False])
def test_the_caller_of_plain_lock_events(k: Kernel, symbols: bool, tmp_path: Path) -> None:
    event = Event(ACQUIRE, USUAL | walk.CALLCHAIN, ids=(6,), name="lock:lock_acquire")
    records = [
        Sample(event, 10 + i, 0, 70 + i, k.acquire(70 + i, b"&kvm->lock", 0x8881_0000 + 0x100 * i), chain)
        for i, (chain, _) in enumerate(CHAINS)
    ]
    path = PerfFile([event], records, k).write(tmp_path)
    if symbols:
        Path(f"{path}.kallsyms").write_bytes(KALLSYMS)
    held = load(path).locks("task", "caller").to_pandas()
    told = dict(zip(held.pid, held.caller, strict=True))
    assert told == {70 + i: name if symbols else "" for i, (_, name) in enumerate(CHAINS)}
