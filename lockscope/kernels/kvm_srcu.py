"""SRCU read sections, task by task and irq context by irq context; what goes wrong with them, as rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from lockscope.kernels.kvm_tables import (
    C_CPU,
    C_FLAGS,
    C_HOW,
    C_OP,
    C_PID,
    C_ROW,
    C_SEQ,
    C_TS,
    C_VM,
    helper,
    known,
    mix,
    number,
)  # fmt: skip
from lockscope.kernels.outer import outer
from lockscope.kernels.views import matrix, vector

DEPTH, S_WIDTH = 12, 6
# A task (in one irq context): open sections, since when all of them are known, srcu of a lock call not yet returned
# from, the system call it is in with its second argument, the KVM locks it held at its last row, the vCPU it runs in
# this call and that vCPU's kvm, what _guard() found, the srcu that SRCU's own code entered a section of; then the
# sections.
T_DEPTH, T_WHOLE, T_PENDING, T_CALL, T_ARG, T_LOCKS, T_ZAP, T_VCPU, T_KVM, T_GUARD, T_OWN, T_SECTIONS = range(12)
T_WIDTH = T_SECTIONS + DEPTH * S_WIDTH
S_SSP, S_IDX, S_TS, S_SEQ, S_CPU, S_TOLD = range(S_WIDTH)
AT_USER, AT_GUEST = 1, 2  # S_TOLD
# What a row is to this loop.
(ENTRY, LOCK, UNLOCK, SYNC, ENTER, EXIT, GUEST, END, ACCESS, TAKEN, ZAP, MMU_LOCK_TAKEN, GIVEN, VCPU_ACCESS,
 RUN, OWN_LOCK) = range(16)  # fmt: skip
# What was met, and its columns. ``SINCE``: from when on nothing may be missing for it to be true.
(WRONG_INDEX, NOT_OPEN, OPEN_AT_GUEST, OPEN_AT_END, OPEN_AT_USER, SYNC_INSIDE, UNPROTECTED, LOCK_INSIDE, NEVER_LEFT,
 SYNCED, GUARDED) = range(11)  # fmt: skip
(WHAT, TS, SEQ, CPU, PID, FLAGS, SSP, IDX, OPEN_TS, OPEN_CPU, SINCE, VM, CALL, ARG, DETAIL, OP, KVM) = range(17)
WIDTH = 17
MOST = 4096  # rows kept of each kind; count[FIRST_KIND + kind] goes on
FIRST_KIND, KINDS = 1, 11
# What an srcu_struct is (``kinds``).
UNKNOWN, KVM_SRCU, KVM_IRQ_SRCU, FOREIGN = range(4)
MMU_LOCK, SRCU, SLOTS_LOCK, FIRST_LOCK, LAST_LOCK = 1, 2, 3, 3, 10
# What alone guards an access (T_GUARD), and columns of ``guards``: that, its distance from the VM's kvm, how often.
BY_SSP, BY_MAP, BY_SLOTS_LOCK = range(3)
G_BY, G_DISTANCE, G_TIMES = range(3)
ZAP_RANGE = 68  # tables.ops.Op.ZAP_RANGE
KVM_CREATE_VM = 0xAE01  # include/uapi/linux/kvm.h


@helper("void(matrix, vector, i8, matrix, i8, row, i8, i8, i8)")
def _meet(
    found: Any, count: Any, what: Any, cols: Any, r: Any, task: Any, section: Any, since: Any, detail: Any
) -> None:
    """Note what was met at row ``r``; ``section`` is the first column of the section it is about, or -1."""
    count[FIRST_KIND + what] += 1
    if count[FIRST_KIND + what] > MOST:
        return
    f = found[count[0]]
    count[0] += 1
    f[WHAT], f[TS], f[SEQ], f[CPU], f[PID], f[FLAGS] = (
        what,
        cols[C_TS, r],
        cols[C_SEQ, r],
        cols[C_CPU, r],
        cols[C_PID, r],
        cols[C_FLAGS, r],
    )
    f[VM], f[SINCE], f[CALL], f[ARG], f[DETAIL], f[OP] = (
        cols[C_VM, r],
        since,
        task[T_CALL],
        task[T_ARG],
        detail,
        cols[C_OP, r],
    )
    f[SSP], f[IDX], f[OPEN_TS], f[OPEN_CPU], f[KVM] = 0, -1, 0, -1, 0
    if section >= 0:
        f[SSP], f[IDX] = task[section + S_SSP], task[section + S_IDX]
        f[OPEN_TS], f[OPEN_CPU] = task[section + S_TS], task[section + S_CPU]


@helper("i8(row, i8, i8)")
def _section(task: Any, ssp: Any, idx: Any) -> Any:
    """The last opened section of this SRCU and index (-1: any), as its first column; -1 if there is none."""
    for k in range(task[T_DEPTH] - 1, -1, -1):
        s = T_SECTIONS + k * S_WIDTH
        if task[s + S_SSP] == ssp and (idx < 0 or task[s + S_IDX] == idx):
            return s
    return -1


@helper("void(row, i8)")
def _close(task: Any, section: Any) -> None:
    """Take a section out of the open ones."""
    last = T_SECTIONS + (task[T_DEPTH] - 1) * S_WIDTH
    for k in range(section, last):
        task[k] = task[k + S_WIDTH]
    task[T_DEPTH] -= 1


@helper("i8(row, vector, vector, i8)")
def _open_kvm(task: Any, known_srcu: Any, kinds: Any, sure: Any) -> Any:
    """The innermost open section of a kvm->srcu (``sure``: of nothing else), -1 if none."""
    for k in range(task[T_DEPTH] - 1, -1, -1):
        s = T_SECTIONS + k * S_WIDTH
        at = known(known_srcu, task[s + S_SSP])
        kind = kinds[at] if at >= 0 else UNKNOWN
        if kind == KVM_SRCU or (kind == UNKNOWN and not sure):
            return s
    return -1


@helper("i8(row, i8, i8, vector, vector)")
def _guard(task: Any, srcu_map: Any, slots_lock: Any, known_srcu: Any, kinds: Any) -> Any:
    """The one thing that guards an access (``T_GUARD`` says what it is); 0 where there is none, -1 if several do."""
    one: Any = np.int64(0)
    for k in range(task[T_DEPTH]):
        s = T_SECTIONS + k * S_WIDTH
        at = known(known_srcu, task[s + S_SSP])
        kind = kinds[at] if at >= 0 else UNKNOWN
        if kind != KVM_SRCU and kind != UNKNOWN:
            continue
        if one != 0 and one != task[s + S_SSP]:
            return -1
        one, task[T_GUARD] = task[s + S_SSP], BY_SSP
    if one == 0 and srcu_map != 0:
        one, task[T_GUARD] = srcu_map, BY_MAP
    if slots_lock != 0:
        if one != 0:
            return -1
        one, task[T_GUARD] = slots_lock, BY_SLOTS_LOCK
    return one


@helper("i8(matrix, i8, i8)")
def _rare(guards: Any, by: Any, distance: Any) -> Any:
    """Count how far from its VM's kvm a guard lies; whether that is new, or another one is more frequent."""
    most, ours = np.int64(0), np.int64(-1)
    for k in range(len(guards)):
        if guards[k, G_TIMES] == 0:
            if ours < 0:
                ours = np.int64(k)
                guards[k, G_BY], guards[k, G_DISTANCE] = by, distance
            break
        if guards[k, G_BY] == by:
            if guards[k, G_DISTANCE] == distance:
                ours = np.int64(k)
            elif guards[k, G_TIMES] > most:
                most = guards[k, G_TIMES]
    if ours < 0:
        return 0  # more distances than there can be VMs at once that share a task: their places are not known
    guards[ours, G_TIMES] += 1
    return np.int64(guards[ours, G_TIMES] == 1 or guards[ours, G_TIMES] <= most)


@outer(
    "void(i8[:, ::1], i8[:, ::1], i8[:, ::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[:, ::1], i8[:, ::1], "
    "i8[::1], i8[::1], i8[:, ::1])"
)
def follow(
    cols: Any, slots: Any, held: Any, dead: Any, known_srcu: Any, kinds: Any, task_table: Any, tasks: Any, found: Any,
    count: Any, seen: Any, guards: Any,
) -> None:  # fmt: skip
    """Walk the rows. ``dead``: by VM number, when it was destroyed (0: not). ``seen`` counts sections, accesses,
    synchronisations, judged accesses, and sections of SRCU's own code that were seen to be left. ``guards``: see
    ``G_BY``."""
    rows = cols.shape[1]
    cols, slots, held, dead = matrix(cols), matrix(slots), matrix(held), vector(dead)
    known_srcu, kinds, task_table, tasks = vector(known_srcu), vector(kinds), vector(task_table), matrix(tasks)
    found, count, seen, guards = matrix(found), vector(count), vector(seen), matrix(guards)
    for r in range(rows):
        i = cols[C_ROW, r]
        kind = cols[C_HOW, r]
        context: Any = np.int64(0)
        if cols[C_FLAGS, r] & 0x40:
            context = 3
        elif cols[C_FLAGS, r] & 0x08:
            context = 2
        elif cols[C_FLAGS, r] & 0x10:
            context = 1
        who = cols[C_PID, r] if cols[C_PID, r] != 0 else -1 - cols[C_CPU, r]
        t = number(task_table, mix(mix(who, 0), context))  # not who ^ context: that is another task's
        task = tasks[t]
        if kind == ENTRY:
            task[T_PENDING] = slots[i, 0]
        elif kind == LOCK:
            ssp = slots[i, 0] if slots[i, 0] != 0 else task[T_PENDING]
            task[T_PENDING] = 0
            if ssp == 0:
                continue
            task[T_OWN] = 0
            seen[0] += 1
            if task[T_DEPTH] == DEPTH:
                _close(task, T_SECTIONS)
            s = T_SECTIONS + task[T_DEPTH] * S_WIDTH
            task[s + S_SSP], task[s + S_IDX], task[s + S_TS] = ssp, slots[i, 1], cols[C_TS, r]
            task[s + S_SEQ], task[s + S_CPU], task[s + S_TOLD] = cols[C_SEQ, r], cols[C_CPU, r], 0
            task[T_DEPTH] += 1
        elif kind == OWN_LOCK:
            task[T_OWN] = slots[i, 0] if slots[i, 0] != 0 else task[T_PENDING]
            task[T_PENDING] = 0
        elif kind == UNLOCK:
            # What SRCU's own code entered it leaves at once, by an unlock that may be inlined there and leave no event.
            alone = _section(task, slots[i, 0], -1) < 0
            if task[T_OWN] == slots[i, 0] and task[T_OWN] != 0 and (alone or seen[4] > 0):
                task[T_OWN] = 0
                seen[4] += 1
                continue
            s = _section(task, slots[i, 0], slots[i, 1])
            if s < 0:
                s = _section(task, slots[i, 0], -1)
                if s >= 0:
                    _meet(found, count, WRONG_INDEX, cols, r, task, s, task[s + S_TS],
                          slots[i, 1])  # fmt: skip
                elif task[T_WHOLE] != 0:
                    _meet(found, count, NOT_OPEN, cols, r, task, -1, task[T_WHOLE], 0)
                    if count[FIRST_KIND + NOT_OPEN] <= MOST:
                        found[count[0] - 1, SSP], found[count[0] - 1, IDX] = slots[i, 0], slots[i, 1]
            if s >= 0:
                _close(task, s)
        elif kind == SYNC:
            seen[2] += 1
            s = _section(task, slots[i, 0], -1)
            if s >= 0:
                _meet(found, count, SYNC_INSIDE, cols, r, task, s, task[s + S_TS], slots[i, 1])
            locks = np.int64(0)
            for role in range(FIRST_LOCK, LAST_LOCK + 1):
                if held[i, role] != 0:
                    locks |= np.int64(1) << role
            if locks != 0:
                _meet(found, count, SYNCED, cols, r, task, -1, cols[C_TS, r], locks)
                if count[FIRST_KIND + SYNCED] <= MOST:
                    found[count[0] - 1, SSP] = slots[i, 0]
        elif kind == ENTER:
            task[T_CALL], task[T_ARG], task[T_VCPU], task[T_OWN] = slots[i, 0], slots[i, 2], 0, 0
            if context == 0:
                task[T_WHOLE] = cols[C_TS, r]
        elif kind == EXIT:
            if context != 0:
                continue
            for k in range(task[T_DEPTH]):
                s = T_SECTIONS + k * S_WIDTH
                if not task[s + S_TOLD] & AT_USER:
                    _meet(found, count, OPEN_AT_USER, cols, r, task, s, task[s + S_TS], 0)
                    task[s + S_TOLD] |= AT_USER
            task[T_WHOLE] = cols[C_TS, r]
            task[T_CALL], task[T_ZAP], task[T_VCPU], task[T_OWN] = -1, 0, 0, 0
        elif kind == GUEST:
            if context != 0:
                continue
            task[T_ZAP] = 0
            s = _open_kvm(task, known_srcu, kinds, 1)
            if s >= 0 and not task[s + S_TOLD] & AT_GUEST:
                _meet(found, count, OPEN_AT_GUEST, cols, r, task, s, task[s + S_TS], 0)
                task[s + S_TOLD] |= AT_GUEST
            if task[T_DEPTH] == 0:
                task[T_WHOLE] = cols[C_TS, r]
        elif kind == END:
            for k in range(task[T_DEPTH]):
                s = T_SECTIONS + k * S_WIDTH
                _meet(found, count, OPEN_AT_END, cols, r, task, s, task[s + S_TS], 0)
            task[T_DEPTH], task[T_WHOLE] = 0, 0
        elif kind == RUN:
            task[T_VCPU], task[T_KVM] = slots[i, 0], slots[i, 1]
        elif kind == ACCESS or kind == VCPU_ACCESS or kind == ZAP:
            seen[1] += 1
            if (
                context != 0
                or task[T_WHOLE] == 0
                or (dead[cols[C_VM, r]] != 0 and dead[cols[C_VM, r]] <= cols[C_TS, r])
            ):
                continue
            seen[3] += 1
            kvm: Any = np.int64(0)
            if kind == ACCESS:
                kvm = slots[i, 0]
            elif kind == VCPU_ACCESS and task[T_VCPU] == slots[i, 0]:
                kvm = task[T_KVM]
            guard = _guard(task, held[i, SRCU], held[i, SLOTS_LOCK], known_srcu, kinds) if kvm != 0 else np.int64(0)
            if guard != 0 and guard != -1 and _rare(guards, task[T_GUARD], guard - kvm):
                _meet(found, count, GUARDED, cols, r, task, -1, task[T_WHOLE], guard - kvm)
                if count[FIRST_KIND + GUARDED] <= MOST:
                    f = found[count[0] - 1]
                    f[SSP], f[IDX], f[KVM] = guard, task[T_GUARD], kvm
            if held[i, SRCU] != 0 or held[i, SLOTS_LOCK] != 0:
                continue
            if _open_kvm(task, known_srcu, kinds, 0) < 0:
                if kind == ZAP:
                    task[T_ZAP] = cols[
                        C_TS, r
                    ]  # b59a87c1ba3c: it takes SRCU itself, and then mmu_lock to look at memslots
                else:
                    _meet(found, count, UNPROTECTED, cols, r, task, -1, task[T_WHOLE], task[T_DEPTH])
        elif kind == GIVEN:
            locks = np.int64(0)
            for role in range(FIRST_LOCK, LAST_LOCK + 1):
                if held[i, role] != 0:
                    locks |= np.int64(1) << role
            task[T_LOCKS] = locks
        elif kind == TAKEN or kind == MMU_LOCK_TAKEN:
            if task[T_ZAP] != 0 and held[i, MMU_LOCK] != 0 and context == 0:
                bare = held[i, SRCU] == 0 and held[i, SLOTS_LOCK] == 0 and _open_kvm(task, known_srcu, kinds, 0) < 0
                if bare and count[FIRST_KIND + UNPROTECTED] < MOST:
                    _meet(found, count, UNPROTECTED, cols, r, task, -1, task[T_WHOLE], task[T_DEPTH])
                    found[count[0] - 1, OP], found[count[0] - 1, TS] = ZAP_RANGE, task[T_ZAP]
                task[T_ZAP] = 0
            if kind == MMU_LOCK_TAKEN:
                continue
            locks = np.int64(0)
            for role in range(FIRST_LOCK, LAST_LOCK + 1):
                if held[i, role] != 0:
                    locks |= np.int64(1) << role
            fresh = locks & ~task[T_LOCKS]
            task[T_LOCKS] = locks
            if fresh != 0 and context == 0:
                s = _open_kvm(task, known_srcu, kinds, 1)
                if s >= 0:
                    _meet(found, count, LOCK_INSIDE, cols, r, task, s, task[s + S_TS], fresh)


@outer("void(i8[::1], i8[:, ::1], i8[:, ::1], i8[::1])")
def still_open(task_table: Any, tasks: Any, found: Any, count: Any) -> None:
    """Sections told of at a return to user space that the whole trace never saw left."""
    for t in range(task_table[0]):
        for k in range(tasks[t, T_DEPTH]):
            s = T_SECTIONS + k * S_WIDTH
            if tasks[t, s + S_TOLD] & AT_USER and count[FIRST_KIND + NEVER_LEFT] < MOST:
                count[FIRST_KIND + NEVER_LEFT] += 1
                f = found[count[0]]
                count[0] += 1
                f[WHAT], f[SSP], f[IDX], f[OPEN_TS] = (
                    NEVER_LEFT,
                    tasks[t, s + S_SSP],
                    tasks[t, s + S_IDX],
                    tasks[t, s + S_TS],
                )
                f[SEQ], f[OPEN_CPU], f[SINCE] = tasks[t, s + S_SEQ], tasks[t, s + S_CPU], tasks[t, s + S_TS]
