"""TLB flush debts: what SPTE changes owe to a VM's vCPUs, until when, and whether it was paid.

Debts of one task, VM and flow in one critical section form a group. A group is *open* while the flush may still come in
time, *overdue* once the lock was released under which it was due, *ended* once the operation is over (the ioctl
returned, the notifier left its SRCU section, the vCPU entered the guest). A vCPU of the VM that runs after the end
without any flush could use a stale translation: only then the group counts as *unpaid*.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lockscope.kernels.kvm_tables import (
    C_CPU,
    C_FLAGS,
    C_HOW,
    C_OP,
    C_OWN,
    C_PID,
    C_ROW,
    C_SEQ,
    C_TS,
    C_VM,
    IN_INTERRUPT,
    helper,
    number,
)  # fmt: skip
from lockscope.kernels.outer import outer
from lockscope.kernels.views import matrix, vector

# Columns of a change: what it lost, where, from what to what.
C_LOSSES, C_LEVEL, C_GFN, C_OLD, C_NEW, C_SPTEP, C_AS = range(C_OWN, C_OWN + 7)
C_WIDTH = C_OWN + 7
# What a row is to this loop.
(DEBT, FLUSH, FLUSH_RANGE, FREE_ROOTS, UNLOCK, ENTER, EXIT, GUEST, GUEST_EXIT, HVA, SRCU_UNLOCK, RING, DYING,
 END, ROOTS) = range(15)  # fmt: skip
# Columns of a task: system call and ioctl request (-1 unknown), notifier (1 + what) and its srcu depth, dirty ring
# reset in this call, its group of the last debt + 1, group that a range flush did not cover + 1.
T_CALL, T_ARG, T_HVA, T_DEPTH, T_RING, T_GROUP, T_SHORT = range(7)
# Columns of a group.
(
    G_CODE,
    G_FLOW,
    G_VM,
    G_PID,
    G_TS,
    G_SEQ,
    G_CPU,
    G_FLAGS,
    G_LAST_TS,
    G_N,
    G_STATE,
    G_MMU,
    G_SLOTS,
    G_ARG,
    G_CALL,
    G_LOSSES,
    G_LEVELS,
    G_FIRST,
    G_COVERED,
    G_FOREIGN_N,
    G_FOREIGN_TS,
    G_FOREIGN_PID,
    G_SOFT_TS,
    G_END_TS,
    G_END_CPU,
    G_END_PID,
    G_END_OP,
    G_USE_TS,
    G_USE_CPU,
    G_USE_PID,
    G_PAID_TS,
    G_PAID_PID,
    G_PAID_CPU,
    G_MODE,
) = range(34)
G_WIDTH = 34
# States; from LATE on the group is closed.
OPEN, OVERDUE, ENDED, UNPAID, PAID, LATE, FOREIGN, TOO_SMALL, HARMLESS = range(9)
# Columns of a debt.
D_GROUP, D_GFN, D_LEVEL, D_AS, D_OLD, D_NEW, D_TS, D_CPU, D_SPTEP, D_COVERED = range(10)
D_WIDTH = 10
# Flows: what the changer was doing.
(DIRTY_LOG, HUGE_WRITE_PROTECT, RING_RESET, NOTIFIER, SLOTS_ZAP, WRITE_TRACK, WRITE_PROTECT, ZAP,
 ROOTS_ZAP, HUGE_LEAF, RECOVERY) = range(11)  # fmt: skip
# Losses, as bits; the last two are of page tables: a large leaf in its place, nothing in its place.
LOST_W, LOST_M, LOST_MAPPING, REMAPPED, TABLE_REPLACED, TABLE_LOST = 1, 2, 4, 8, 16, 32
MMU_LOCK, SLOTS_LOCK, MODE, SRCU_DEPTH = 1, 3, 16, 17
READ = 1
# ioctl requests (include/uapi/linux/kvm.h): the dirty-log ones protect under slots_lock, named or not.
SET_MEMORY, SET_MEMORY2, GET_LOG, CLEAR_LOG, RESET_RINGS = 0x4020AE46, 0x40A0AE49, 0x4010AE42, 0xC018AEC0, 0xAEC7
IOCTL, EXIT_CALL, EXIT_GROUP = 16, 60, 231  # system call numbers of x86-64
# Options.
O_UNKNOWN_ZAPS, O_UNKNOWN_WRITES, O_ROOTS, O_RECOVERY = range(4)


@helper("i8(i8)")
def _code_of(losses: Any) -> Any:
    return 301 if losses & (LOST_W | LOST_M) else 302


@helper("i8(i8, i8, row, i8, i8, vector)")
def flow_of(losses: Any, level: Any, task: Any, slots_lock: Any, mode: Any, options: Any) -> Any:
    """The flow a loss belongs to, -1 where no flush is owed or nobody can tell (domain rules: see flush_debts)."""
    arg = task[T_ARG] & 0xFFFFFFFF
    in_ioctl = task[T_CALL] == IOCTL
    logging = in_ioctl and (arg == GET_LOG or arg == CLEAR_LOG or arg == RESET_RINGS or arg == SET_MEMORY
                            or arg == SET_MEMORY2)  # fmt: skip
    if task[T_CALL] == EXIT_CALL or task[T_CALL] == EXIT_GROUP:
        return -1
    if losses & TABLE_REPLACED:
        return HUGE_LEAF if mode != 0 else -1
    if losses & TABLE_LOST:
        alone = task[T_CALL] <= 0 and task[T_HVA] == 0 and slots_lock == 0
        return RECOVERY if mode == READ and alone and options[O_RECOVERY] else -1
    if losses & (LOST_MAPPING | REMAPPED):
        if mode != 2:
            return -1  # under mmu_lock read-held: invalidated roots, or flushed before the event
        if task[T_HVA] == 1 or task[T_HVA] == 4:
            return NOTIFIER
        if slots_lock != 0:
            return SLOTS_ZAP
        return ZAP if options[O_UNKNOWN_ZAPS] else -1
    if in_ioctl and arg == RESET_RINGS:
        return RING_RESET
    if losses & LOST_M:
        if slots_lock != 0 or logging:
            return HUGE_WRITE_PROTECT if level > 1 else WRITE_TRACK
        return WRITE_TRACK if mode == 2 else -1
    if slots_lock != 0 or logging:
        return DIRTY_LOG
    return WRITE_PROTECT if mode == 2 and options[O_UNKNOWN_WRITES] else -1


@helper("void(vector, vector, i8)")
def _drop(active: Any, active_count: Any, k: Any) -> None:
    active_count[0] -= 1
    active[k] = active[active_count[0]]


@helper("void(row, i8, i8, matrix, vector)")
def _close(g: Any, state: Any, index: Any, debts: Any, debt_count: Any) -> None:
    """End a group's story; debts that were paid in time and lie at the end are forgotten at once."""
    g[G_STATE] = state
    if (state == PAID or state == HARMLESS) and debt_count[0] == g[G_FIRST] + g[G_N]:
        n = debt_count[0]
        while n > g[G_FIRST] and debts[n - 1, D_GROUP] == index:
            n -= 1
        debt_count[0] = n


@helper("void(row, i8, i8, i8, i8)")
def _end(g: Any, ts: Any, cpu: Any, pid: Any, op: Any) -> None:
    """The operation that owes is over."""
    g[G_STATE] = ENDED
    g[G_END_TS], g[G_END_CPU], g[G_END_PID], g[G_END_OP] = ts, cpu, pid, op


@outer(
    "void(i8[:, ::1], i8[:, ::1], i8[:, ::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[:, ::1], i8[:, ::1], "
    "i8[::1], i8[:, ::1], i8[::1], i8[::1], i8[::1], i8[::1])"
)
def follow(
    cols: Any, slots: Any, held: Any, dead: Any, dying: Any, options: Any, task_table: Any, tasks: Any,
    groups: Any, group_count: Any, debts: Any, debt_count: Any, active: Any, active_count: Any, seen: Any,
) -> None:  # fmt: skip
    """Walk the rows. ``dead``, ``dying``: by VM number, when it was destroyed, and whether kvm_arch_flush_shadow_all
    was seen. ``active``: groups that are not settled. ``seen`` counts losses, debts, flushes, losses nobody judges."""
    rows = cols.shape[1]
    cols, slots, held, dead = matrix(cols), matrix(slots), matrix(held), vector(dead)
    dying, options, task_table, tasks = vector(dying), vector(options), vector(task_table), matrix(tasks)
    groups, group_count, debts, debt_count = (
        matrix(groups),
        vector(group_count),
        matrix(debts),
        vector(debt_count),
    )
    active, active_count, seen = vector(active), vector(active_count), vector(seen)
    k: Any = np.int64(0)
    for r in range(rows):
        i = cols[C_ROW, r]
        kind = cols[C_HOW, r]
        if cols[C_FLAGS, r] & IN_INTERRUPT and kind != FLUSH and kind != GUEST_EXIT:
            continue  # an interrupt on top of the task
        p = cols[C_PID, r]
        t = number(task_table, p)
        task = tasks[t]
        v = cols[C_VM, r]
        if kind == DEBT or kind == ROOTS:
            seen[0] += 1
            if v == 0 or dying[v] != 0 or (dead[v] != 0 and dead[v] <= cols[C_TS, r]):
                seen[3] += 1
                continue
            flow = np.int64(ROOTS_ZAP)  # kvm_mmu_zap_all_fast: all roots are made invalid
            if kind == DEBT:
                flow = flow_of(cols[C_LOSSES, r], cols[C_LEVEL, r], task, held[i, SLOTS_LOCK], held[i, MODE], options)
            elif held[i, MODE] != 2 or not options[O_ROOTS]:
                flow = np.int64(-1)
            if flow < 0:
                seen[3] += 1
                continue
            if flow == DIRTY_LOG and task[T_RING] != 0:
                flow = np.int64(RING_RESET)
            code = _code_of(cols[C_LOSSES, r])
            n = task[T_GROUP] - 1
            fits = n >= 0 and groups[n, G_STATE] == OPEN and groups[n, G_FLOW] == flow and groups[n, G_VM] == v
            if not (fits and groups[n, G_PID] == p and groups[n, G_MMU] == held[i, MMU_LOCK]):
                n = np.int64(-1)
                for k in range(active_count[0]):
                    g = groups[active[k]]
                    if (g[G_STATE] == OPEN and g[G_PID] == p and g[G_FLOW] == flow and g[G_VM] == v
                            and g[G_MMU] == held[i, MMU_LOCK]):  # fmt: skip
                        n = active[k]
            if n < 0 or groups[n, G_CODE] != code:
                n = group_count[0]
                group_count[0] += 1
                g = groups[n]
                for c in range(G_WIDTH):
                    g[c] = 0
                g[G_CODE], g[G_FLOW], g[G_VM], g[G_PID] = code, flow, v, p
                g[G_TS], g[G_SEQ], g[G_CPU], g[G_FLAGS] = (
                    cols[C_TS, r],
                    cols[C_SEQ, r],
                    cols[C_CPU, r],
                    cols[C_FLAGS, r],
                )
                g[G_MMU], g[G_SLOTS], g[G_MODE] = held[i, MMU_LOCK], held[i, SLOTS_LOCK], held[i, MODE]
                g[G_ARG], g[G_CALL], g[G_FIRST] = task[T_ARG], task[T_CALL], debt_count[0]
                active[active_count[0]] = n
                active_count[0] += 1
            task[T_GROUP] = n + 1
            g = groups[n]
            g[G_N] += 1
            g[G_LAST_TS] = cols[C_TS, r]
            g[G_LOSSES] |= cols[C_LOSSES, r]
            g[G_LEVELS] |= np.int64(1) << cols[C_LEVEL, r]
            d = debts[debt_count[0]]
            debt_count[0] += 1
            d[D_GROUP], d[D_GFN], d[D_LEVEL], d[D_AS], d[D_OLD], d[D_NEW] = (
                n,
                cols[C_GFN, r],
                cols[C_LEVEL, r],
                cols[C_AS, r],
                cols[C_OLD, r],
                cols[C_NEW, r],
            )
            d[D_TS], d[D_CPU], d[D_SPTEP], d[D_COVERED] = cols[C_TS, r], cols[C_CPU, r], cols[C_SPTEP, r], 0
            seen[1] += 1
        elif kind == FLUSH or kind == FREE_ROOTS:
            seen[2] += 1
            k = np.int64(0)
            while k < active_count[0]:
                index = active[k]
                g = groups[index]
                if (v != 0 and g[G_VM] != v) or (kind == FREE_ROOTS and g[G_CODE] != 302):
                    k += 1
                    continue
                if kind == FREE_ROOTS and g[G_FLOW] == ROOTS_ZAP and g[G_PID] != p:
                    k += 1  # each zap of all roots makes its own
                    continue
                own = g[G_PID] == p
                state = g[G_STATE]
                if state == UNPAID:
                    g[G_PAID_TS], g[G_PAID_PID], g[G_PAID_CPU] = cols[C_TS, r], p, cols[C_CPU, r]
                    _drop(active, active_count, k)
                elif own or state == ENDED:
                    g[G_PAID_TS], g[G_PAID_PID], g[G_PAID_CPU] = cols[C_TS, r], p, cols[C_CPU, r]
                    outcome = PAID if state == OPEN else LATE
                    if not own:
                        outcome = FOREIGN
                    elif outcome == PAID and task[T_SHORT] == index + 1:
                        outcome = TOO_SMALL
                    elif outcome == LATE and g[G_USE_TS] != 0:
                        outcome = UNPAID
                    _close(g, outcome, index, debts, debt_count)
                    _drop(active, active_count, k)
                else:
                    g[G_FOREIGN_N], g[G_FOREIGN_TS], g[G_FOREIGN_PID] = g[G_N], cols[C_TS, r], p
                    k += 1
            task[T_SHORT] = 0
        elif kind == FLUSH_RANGE:
            seen[2] += 1
            first, last = slots[i, 1], slots[i, 1] + slots[i, 2]
            k = np.int64(0)
            while k < active_count[0]:
                index = active[k]
                g = groups[index]
                if (v != 0 and g[G_VM] != v) or g[G_STATE] > OVERDUE or g[G_PID] != p:
                    k += 1
                    continue
                for n in range(g[G_FIRST], debt_count[0]):
                    d = debts[n]
                    span = np.int64(1) << (9 * (min(d[D_LEVEL], 5) - 1))
                    if d[D_GROUP] == index and d[D_COVERED] == 0 and first <= d[D_GFN] and d[D_GFN] + span <= last:
                        d[D_COVERED] = 1
                        g[G_COVERED] += 1
                if g[G_COVERED] == g[G_N]:
                    _close(g, PAID if g[G_STATE] == OPEN else LATE, index, debts, debt_count)
                    g[G_PAID_TS], g[G_PAID_PID], g[G_PAID_CPU] = cols[C_TS, r], p, cols[C_CPU, r]
                    _drop(active, active_count, k)
                else:
                    if g[G_FLOW] >= NOTIFIER:
                        task[T_SHORT] = index + 1
                    k += 1
        elif kind == UNLOCK:
            lock = slots[i, 0]
            for k in range(active_count[0]):
                g = groups[active[k]]
                if (
                    g[G_STATE] == OPEN
                    and g[G_PID] == p
                    and (
                        (g[G_MMU] == lock and g[G_FLOW] >= NOTIFIER) or (g[G_SLOTS] == lock and g[G_FLOW] != RING_RESET)
                    )
                ):
                    if g[G_SLOTS] == lock and task[T_RING] != 0 and g[G_FLOW] < NOTIFIER:
                        continue
                    g[G_STATE], g[G_SOFT_TS] = OVERDUE, cols[C_TS, r]
            task[T_SHORT] = 0
        elif kind == ENTER or kind == EXIT or kind == GUEST or kind == HVA or kind == END or kind == SRCU_UNLOCK:
            if kind == SRCU_UNLOCK and held[i, SRCU_DEPTH] > task[T_DEPTH]:
                continue
            if task[T_GROUP] != 0 or kind == GUEST:
                k = np.int64(0)
                while k < active_count[0]:
                    index = active[k]
                    g = groups[index]
                    ends = g[G_STATE] <= OVERDUE and g[G_PID] == p
                    if kind == HVA:
                        ends = ends and g[G_FLOW] == NOTIFIER and g[G_STATE] == OVERDUE
                    elif kind == SRCU_UNLOCK:  # of a kernel thread's work there is no other end
                        ends = ends and g[G_FLOW] >= NOTIFIER and g[G_STATE] == OVERDUE
                    if ends:
                        if g[G_FOREIGN_N] == g[G_N]:
                            _close(g, FOREIGN, index, debts, debt_count)
                            g[G_PAID_TS], g[G_PAID_PID] = g[G_FOREIGN_TS], g[G_FOREIGN_PID]
                            _drop(active, active_count, k)
                            continue
                        _end(g, cols[C_TS, r], cols[C_CPU, r], p, cols[C_OP, r])
                    k += 1
            if kind == ENTER:
                task[T_CALL], task[T_ARG], task[T_HVA], task[T_RING] = slots[i, 0], slots[i, 2], 0, 0
            elif kind == EXIT:
                task[T_CALL], task[T_ARG], task[T_HVA], task[T_RING] = -1, 0, 0, 0
            elif kind == HVA:
                task[T_HVA], task[T_DEPTH] = slots[i, 2] + 1, held[i, SRCU_DEPTH]
            else:
                task[T_HVA] = 0
        elif kind == RING:
            task[T_RING] = 1
            for k in range(active_count[0]):
                g = groups[active[k]]
                if g[G_PID] == p and g[G_FLOW] == DIRTY_LOG and g[G_STATE] == OPEN:
                    g[G_FLOW] = RING_RESET
        elif kind == DYING:
            dying[v] = 1
            k = np.int64(0)
            while k < active_count[0]:
                index = active[k]
                if v != 0 and groups[index, G_VM] == v:
                    if groups[index, G_STATE] != UNPAID:
                        _close(groups[index], HARMLESS, index, debts, debt_count)
                    _drop(active, active_count, k)
                else:
                    k += 1
        if (kind == GUEST or kind == GUEST_EXIT) and v != 0:
            for k in range(active_count[0]):
                g = groups[active[k]]
                if g[G_VM] != v:
                    continue
                # A zapped page may be given away from the moment on at which mmu_lock is given up, also for a while.
                exposed = g[G_STATE] == OVERDUE and g[G_CODE] == 302 and g[G_PID] != p and g[G_USE_TS] == 0
                if g[G_STATE] == ENDED or exposed:
                    g[G_USE_TS], g[G_USE_CPU], g[G_USE_PID] = cols[C_TS, r], cols[C_CPU, r], p
                if g[G_STATE] == ENDED:
                    g[G_STATE] = UNPAID
