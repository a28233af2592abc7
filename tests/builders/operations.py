"""What KVM's operations take, in which order: the same question to a recording and to the simulated host.

An operation is a stretch of one task's events: an ioctl by its number, a close that destroys a VM, a page fault from
exit to entry, a notifier's section. What is told of it is the order of KVM's locks: ``+name`` taken, ``-name`` given
back; the sequence of a loop body counts once.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import lockscope
from lockscope.kvm.locks import KVM_LOCKS

IOCTLS = {
    0xAE01: "create VM", 0xAE41: "create vCPU", 0xAE60: "create irqchip", 0x4020AE46: "set memslot",
    0x40A0AE49: "set memslot", 0x4010AE42: "get dirty log", 0xC018AEC0: "clear dirty log",
}  # fmt: skip
# Locks whose place in an operation is the question; names as both kernels of one spelling have them.
_NAMES = {name for lock in KVM_LOCKS for name in lock.names} | {"&(kvm)->mmu_lock", "&mm->mmap_lock", "srcu"}
_IN_INTERRUPT = 0x18  # common_flags: hardirq, softirq
_NOTIFIER = "mmu_notifier_invalidate_range_start"
_LOOK = ("lock_acquire", "lock_release", "sys_enter", "sys_exit", "kvm_exit", "kvm_entry", "kvm_page_fault",
         "kvm_destroy_vm", "kvm_unmap_hva_range")  # fmt: skip

Sequence = tuple[str, ...]
_Row = tuple[int, str, str, int]  # seq, event, name of the lock, argument


def operations(path: Path) -> dict[str, set[Sequence]]:
    """By operation, every order of locks that occurs."""
    found: dict[str, set[Sequence]] = defaultdict(set)
    for rows in _by_task(path).values():
        rows.sort()
        for name, part in _parts(rows):
            found[name].add(_once(_locks(part)))
    return dict(found)


def _by_task(path: Path) -> dict[int, list[_Row]]:
    trace = lockscope.load(str(path))
    tasks: dict[int, list[_Row]] = defaultdict(list)
    for name, table in trace.all_events().items():
        event = name.partition(":")[2]
        if event not in _LOOK or name.startswith("lockscope:lockdep"):
            continue
        frame = table.to_pandas()
        frame = frame[(frame["flags"] & _IN_INTERRUPT) == 0]
        columns = [frame.seq.tolist(), frame.pid.tolist()]
        columns.append(frame["name"].astype(str).tolist() if "name" in frame else [""] * len(frame))
        if event == "sys_enter":
            columns.append(
                [int(args[1]) if number == 16 else 0 for args, number in zip(frame.args, frame.id, strict=True)]
            )
        else:
            columns.append([0] * len(frame))
        for seq, pid, lock, argument in zip(*columns, strict=True):
            tasks[pid].append((seq, event, lock, argument))
    return tasks


def _parts(rows: list[_Row]) -> list[tuple[str, list[_Row]]]:
    """The operations in a task's events."""
    parts: list[tuple[str, list[_Row]]] = []
    call: tuple[str, int] | None = None
    left = notifier = -1
    for i, (_, event, lock, argument) in enumerate(rows):
        if event == "sys_enter":
            call = (IOCTLS.get(argument & 0xFFFFFFFF, ""), i)
        elif event == "sys_exit" and call is not None:
            name, begin = call
            part = rows[begin:i]
            if any(r[1] == "kvm_destroy_vm" for r in part):
                name = "destroy VM"
            if name:
                parts.append((name, part))
            call = None
        elif event == "kvm_exit":
            left = i
        elif event == "kvm_entry":
            if left >= 0 and any(r[1] == "kvm_page_fault" for r in rows[left:i]):
                parts.append(("page fault", rows[left:i]))
            left = -1
        elif event == "lock_acquire" and lock == _NOTIFIER:
            notifier = i
        elif event == "lock_release" and lock == _NOTIFIER and notifier >= 0:
            if any(r[1] == "kvm_unmap_hva_range" for r in rows[notifier:i]):
                parts.append(("notifier", rows[notifier : i + 1]))
            notifier = -1
    return parts


def _locks(rows: list[_Row]) -> list[str]:
    signs = {"lock_acquire": "+", "lock_release": "-"}
    words = [signs[event] + lock for _, event, lock, _ in rows if event in signs and lock in _NAMES]
    # might_alloc() and might_fault() tell lockdep of a notifier and of mmap_lock that nobody takes.
    return [w for w in re.sub(rf"\+{_NOTIFIER} -{_NOTIFIER} ?", "", " ".join(words)).split(" ") if w]


def _once(words: list[str]) -> Sequence:
    """Without repetitions: a stretch that follows itself is left out, the longest first."""
    changed = True
    while changed:
        changed = False
        for size in range(min(len(words) // 2, 24), 0, -1):
            i = 0
            while i + 2 * size <= len(words):
                if words[i : i + size] == words[i + size : i + 2 * size]:
                    del words[i + size : i + 2 * size]
                    changed = True
                else:
                    i += 1
    return tuple(words)


def shown(sequence: Sequence) -> str:
    """In one line."""
    return " ".join(sequence)
