"""A trace in which everything that names a person, a host, a place or a piece of memory is a canary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.builders.records import EVENTS, save
from tests.builders.script import Script

COMM, WOKEN, CHILD = "canarycomm", "canarywoken", "canarychild"
TEXTS = (COMM, WOKEN, CHILD, "canaryfile", "canaryargument", "canarymarker", "canaryinstance", "canaryhost")
PIDS = (400_001, 400_002, 400_003, 400_004, 400_005, 400_006)
LOCK, OTHER, CODE, DATA, USER = (
    0xFFFF8881DEAD1100,
    0xFFFF8881DEAD2200,
    0xFFFFFFFF81DEAD30,
    0xFFFF8881DEAD4400,
    0x7F11DEAD5000,
)
FRAME = 0xDEAD6
SPTE = 0x8600_0000_0000_0B77 | FRAME << 12
NUMBERS = (*PIDS, LOCK, OTHER, CODE, DATA, USER, SPTE, FRAME << 12)

MORE = {
    "sched:sched_wakeup": "comm:comm pid:s32 prio:s32 target_cpu:s32",
    "sched:sched_process_exec": "filename:text pid:s32 old_pid:s32",
    "sched:sched_process_fork": "parent_comm:comm parent_pid:s32 child_comm:comm child_pid:s32",
    "kmem:kfree": "call_site:u64 ptr:ptr",
    "kvmmmu:kvm_tdp_mmu_spte_changed": "gfn:u64 level:u8 as_id:u8 old_spte:u64 new_spte:u64",
    "probes:open": "__probe_ip:u64 path:text tgid:u32 owner:u64 words:words buf:ptr number:u32",
    "syscalls:sys_enter_openat": "nr:s32 dfd:u64 filename:u64 flags:u64",
}


def script() -> Script:
    """The events: locks in a wrong order, so that there is a finding, and one of everything that tells something."""
    s = Script(events=EVENTS | MORE)
    task = s.task(COMM, PIDS[0])
    other = s.task(WOKEN, PIDS[1], 1)
    for one, first, second in ((task, LOCK, OTHER), (other, OTHER, LOCK)):
        names = {LOCK: "&kvm->lock", OTHER: "&kvm->slots_lock"}
        one.sys_exit()
        one.take(names[first], first).take(names[second], second)
        one.release(names[second], second).release(names[first], first)
    task.take("&kvm->lock", LOCK)
    other.acquire("&kvm->lock", LOCK).contended("&kvm->lock", LOCK)
    task.release("&kvm->lock", LOCK)
    other.acquired("&kvm->lock", LOCK).release("&kvm->lock", LOCK)
    s.marker(f"canarymarker begins, {COMM}/{PIDS[0]} at 0x{DATA:x}")
    task.event("sched:sched_wakeup", comm=WOKEN, pid=PIDS[1], prio=120, target_cpu=1)
    task.event("sched:sched_process_exec", filename="/home/canaryfile", pid=PIDS[2], old_pid=PIDS[3])
    task.event("sched:sched_process_fork", parent_comm=COMM, parent_pid=PIDS[0], child_comm=CHILD, child_pid=PIDS[4])
    task.event("kmem:kfree", call_site=CODE, ptr=DATA)
    task.event("kvmmmu:kvm_tdp_mmu_spte_changed", gfn=0x180, level=1, as_id=0, old_spte=SPTE, new_spte=SPTE & ~2)
    task.event("probes:open", __probe_ip=CODE, path="/srv/canaryargument", tgid=PIDS[5], owner=DATA, words=[DATA, USER],
               buf=USER, number=7)  # fmt: skip
    task.event("syscalls:sys_enter_openat", nr=257, dfd=3, filename=USER, flags=0)
    other.sys_exit()
    s.rows[-1] = replace(s.rows[-1], buffer="canaryinstance")
    return s


def trace(folder: Path) -> Path:
    """It as a file."""
    s = script()
    reader = s.reader()
    reader.info.host = "canaryhost"
    save(reader, folder / "trace.dat")
    return folder / "trace.dat"
