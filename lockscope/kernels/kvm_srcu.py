"""SRCU read sections, task by task and irq context by irq context; what goes wrong with them, as rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from lockscope.kernels.kvm_tables import known, mix, number

DEPTH, S_WIDTH = 12, 6
# A task (in one irq context): open sections, since when all of them are known, srcu of a lock call not yet returned
# from, the system call it is in with its second argument, the KVM locks it held at its last row; then the sections.
T_DEPTH, T_WHOLE, T_PENDING, T_CALL, T_ARG, T_LOCKS, T_SECTIONS = range(7)
T_WIDTH = T_SECTIONS + DEPTH * S_WIDTH
S_SSP, S_IDX, S_TS, S_SEQ, S_CPU, S_TOLD = range(S_WIDTH)
# What a row is to this loop.
ENTRY, LOCK, UNLOCK, SYNC, ENTER, EXIT, GUEST, END, ACCESS, TAKEN, SWITCH = range(11)
# What was met, and its columns. ``SINCE``: from when on nothing may be missing for it to be true.
(WRONG_INDEX, NOT_OPEN, OPEN_AT_GUEST, OPEN_AT_END, OPEN_AT_USER, SYNC_INSIDE, UNPROTECTED, LOCK_INSIDE, NEVER_LEFT,
 SYNCED) = range(10)  # fmt: skip
(WHAT, TS, SEQ, CPU, PID, FLAGS, SSP, IDX, OPEN_TS, OPEN_CPU, SINCE, VM, CALL, ARG, DETAIL, OP) = range(16)
WIDTH = 16
# What an srcu_struct is (``kinds``).
UNKNOWN, KVM_SRCU, KVM_IRQ_SRCU, FOREIGN = range(4)
SRCU, SLOTS_LOCK, FIRST_LOCK, LAST_LOCK = 2, 3, 3, 10
KVM_CREATE_VM = 0xAE01  # include/uapi/linux/kvm.h


@njit(nogil=True, cache=True, inline="never")
def _meet(found: Any, count: Any, what: Any, i: Any, ts: Any, seq: Any, cpu: Any, pid: Any, flags: Any, vm: Any, op: Any,
          task: Any, section: Any, since: Any, detail: Any) -> None:  # fmt: skip
    """Note what was met at row ``i``; ``section`` is the first column of the section it is about, or -1."""
    n = count[0]
    count[0] += 1
    f = found[n]
    f[WHAT], f[TS], f[SEQ], f[CPU], f[PID], f[FLAGS] = what, ts[i], seq[i], cpu[i], pid[i], flags[i]
    f[VM], f[SINCE], f[CALL], f[ARG], f[DETAIL], f[OP] = vm[i], since, task[T_CALL], task[T_ARG], detail, op[i]
    f[SSP], f[IDX], f[OPEN_TS], f[OPEN_CPU] = 0, -1, 0, -1
    if section >= 0:
        f[SSP], f[IDX] = task[section + S_SSP], task[section + S_IDX]
        f[OPEN_TS], f[OPEN_CPU] = task[section + S_TS], task[section + S_CPU]


@njit(nogil=True, cache=True, inline="never")
def _section(task: Any, ssp: Any, idx: Any) -> Any:
    """The last opened section of this SRCU and index (-1: any), as its first column; -1 if there is none."""
    for k in range(task[T_DEPTH] - 1, -1, -1):
        s = T_SECTIONS + k * S_WIDTH
        if task[s + S_SSP] == ssp and (idx < 0 or task[s + S_IDX] == idx):
            return s
    return -1


@njit(nogil=True, cache=True, inline="never")
def _close(task: Any, section: Any) -> None:
    """Take a section out of the open ones."""
    last = T_SECTIONS + (task[T_DEPTH] - 1) * S_WIDTH
    for k in range(section, last):
        task[k] = task[k + S_WIDTH]
    task[T_DEPTH] -= 1


@njit(nogil=True, cache=True, inline="never")
def _open_kvm(task: Any, kind_keys: Any, kind_numbers: Any, kinds: Any, sure: Any) -> Any:
    """The innermost open section of a kvm->srcu (``sure``: of nothing else), -1 if none."""
    for k in range(task[T_DEPTH] - 1, -1, -1):
        s = T_SECTIONS + k * S_WIDTH
        at = known(kind_keys, kind_numbers, task[s + S_SSP])
        kind = kinds[at] if at >= 0 else UNKNOWN
        if kind == KVM_SRCU or (kind == UNKNOWN and not sure):
            return s
    return -1


@njit(nogil=True, cache=True)
def follow(
    rows: Any, how: Any, op: Any, ts: Any, seq: Any, cpu: Any, pid: Any, flags: Any, slots: Any, held: Any, vm: Any,
    dead: Any,  # int64[:]: by VM number, when it was destroyed (0: not)
    kind_keys: Any, kind_numbers: Any, kinds: Any,
    task_keys: Any, task_numbers: Any, task_count: Any, tasks: Any,
    found: Any, count: Any, seen: Any,
) -> None:  # fmt: skip
    """Walk the rows; ``seen`` counts [sections, accesses, synchronisations, judged accesses]."""
    for r in range(len(rows)):
        i = rows[r]
        kind = how[r]
        context: Any = np.int64(0)
        if flags[i] & 0x40:
            context = 3
        elif flags[i] & 0x08:
            context = 2
        elif flags[i] & 0x10:
            context = 1
        who = pid[i] if pid[i] != 0 else -1 - cpu[i]
        t = number(task_keys, task_numbers, task_count, mix(who, context))
        task = tasks[t]
        if kind == ENTRY:
            task[T_PENDING] = slots[i, 0]
        elif kind == LOCK:
            ssp = slots[i, 0] if slots[i, 0] != 0 else task[T_PENDING]
            task[T_PENDING] = 0
            if ssp == 0:
                continue
            seen[0] += 1
            if task[T_DEPTH] == DEPTH:
                _close(task, T_SECTIONS)
            s = T_SECTIONS + task[T_DEPTH] * S_WIDTH
            task[s + S_SSP], task[s + S_IDX], task[s + S_TS] = ssp, slots[i, 1], ts[i]
            task[s + S_SEQ], task[s + S_CPU], task[s + S_TOLD] = seq[i], cpu[i], 0
            task[T_DEPTH] += 1
        elif kind == UNLOCK:
            s = _section(task, slots[i, 0], slots[i, 1])
            if s < 0:
                s = _section(task, slots[i, 0], -1)
                if s >= 0:
                    _meet(found, count, WRONG_INDEX, i, ts, seq, cpu, pid, flags, vm, op, task, s, task[s + S_TS],
                          slots[i, 1])  # fmt: skip
                elif task[T_WHOLE] != 0:
                    _meet(found, count, NOT_OPEN, i, ts, seq, cpu, pid, flags, vm, op, task, -1, task[T_WHOLE], 0)
                    found[count[0] - 1, SSP], found[count[0] - 1, IDX] = slots[i, 0], slots[i, 1]
            if s >= 0:
                _close(task, s)
        elif kind == SYNC:
            seen[2] += 1
            s = _section(task, slots[i, 0], -1)
            if s >= 0:
                _meet(found, count, SYNC_INSIDE, i, ts, seq, cpu, pid, flags, vm, op, task, s, task[s + S_TS], slots[i, 1])
            locks = np.int64(0)
            for role in range(FIRST_LOCK, LAST_LOCK + 1):
                if held[i, role] != 0:
                    locks |= np.int64(1) << role
            if locks != 0:
                _meet(found, count, SYNCED, i, ts, seq, cpu, pid, flags, vm, op, task, -1, ts[i], locks)
                found[count[0] - 1, SSP] = slots[i, 0]
        elif kind == ENTER:
            task[T_CALL], task[T_ARG] = slots[i, 0], slots[i, 2]
            if context == 0:
                task[T_WHOLE] = ts[i]
        elif kind == EXIT:
            if context != 0:
                continue
            for k in range(task[T_DEPTH]):
                s = T_SECTIONS + k * S_WIDTH
                if task[s + S_TOLD] == 0:
                    _meet(found, count, OPEN_AT_USER, i, ts, seq, cpu, pid, flags, vm, op, task, s, task[s + S_TS], 0)
                    task[s + S_TOLD] = 1
            task[T_WHOLE] = ts[i]
            task[T_CALL] = -1
        elif kind == GUEST:
            if context != 0:
                continue
            s = _open_kvm(task, kind_keys, kind_numbers, kinds, True)
            if s >= 0 and task[s + S_TOLD] == 0:
                _meet(found, count, OPEN_AT_GUEST, i, ts, seq, cpu, pid, flags, vm, op, task, s, task[s + S_TS], 0)
                task[s + S_TOLD] = 1
            if task[T_DEPTH] == 0:
                task[T_WHOLE] = ts[i]
        elif kind == END:
            for k in range(task[T_DEPTH]):
                s = T_SECTIONS + k * S_WIDTH
                _meet(found, count, OPEN_AT_END, i, ts, seq, cpu, pid, flags, vm, op, task, s, task[s + S_TS], 0)
            task[T_DEPTH], task[T_WHOLE] = 0, 0
        elif kind == ACCESS:
            seen[1] += 1
            if context != 0 or task[T_WHOLE] == 0 or (dead[vm[i]] != 0 and dead[vm[i]] <= ts[i]):
                continue
            seen[3] += 1
            if held[i, SRCU] != 0 or held[i, SLOTS_LOCK] != 0:
                continue
            if _open_kvm(task, kind_keys, kind_numbers, kinds, False) < 0:
                _meet(found, count, UNPROTECTED, i, ts, seq, cpu, pid, flags, vm, op, task, -1, task[T_WHOLE], task[T_DEPTH])
        elif kind == TAKEN:
            locks = np.int64(0)
            for role in range(FIRST_LOCK, LAST_LOCK + 1):
                if held[i, role] != 0:
                    locks |= np.int64(1) << role
            fresh = locks & ~task[T_LOCKS]
            task[T_LOCKS] = locks
            if fresh != 0 and context == 0:
                s = _open_kvm(task, kind_keys, kind_numbers, kinds, True)
                if s >= 0:
                    _meet(found, count, LOCK_INSIDE, i, ts, seq, cpu, pid, flags, vm, op, task, s, task[s + S_TS], fresh)


@njit(nogil=True, cache=True)
def still_open(task_count: Any, tasks: Any, found: Any, count: Any) -> None:
    """Sections told of at a return to user space that the whole trace never saw left."""
    for t in range(task_count[0]):
        for k in range(tasks[t, T_DEPTH]):
            s = T_SECTIONS + k * S_WIDTH
            if tasks[t, s + S_TOLD] != 0:
                f = found[count[0]]
                count[0] += 1
                f[WHAT], f[SSP], f[IDX], f[OPEN_TS] = NEVER_LEFT, tasks[t, s + S_SSP], tasks[t, s + S_IDX], tasks[t, s + S_TS]
                f[SEQ], f[OPEN_CPU], f[SINCE] = tasks[t, s + S_SEQ], tasks[t, s + S_CPU], tasks[t, s + S_TS]
