"""TLB flush debts: what SPTE changes owe to a VM's vCPUs, until when, and whether it was paid.

Debts of one task, VM and flow in one critical section form a group. A group is *open* while the flush may still come in
time, *overdue* once the lock was released under which it was due, *ended* once the operation is over (the ioctl
returned, the notifier left its SRCU section, the vCPU entered the guest). A vCPU of the VM that runs after the end
without any flush could use a stale translation: only then the group counts as *unpaid*.
"""

from __future__ import annotations

from lockscope.core.c_types import Grid, Ints, Row, Rows, loop, ref, step
from lockscope.core.hashing import number
from lockscope.core.kvm_tables import (
    C_CPU, C_FLAGS, C_HOW, C_OP, C_OWN, C_PID, C_ROW, C_SEQ, C_TS, C_VM, IN_INTERRUPT,
)  # fmt: skip
from lockscope.core.machine import plus

# Columns of a change: what it lost, where, from what to what.
C_LOSSES, C_LEVEL, C_GFN, C_OLD, C_NEW, C_SPTEP, C_AS = range(C_OWN, C_OWN + 7)
C_WIDTH = C_OWN + 7
# What a row is to this loop.
(DEBT, FLUSH, FLUSH_RANGE, FREE_ROOTS, UNLOCK, ENTER, EXIT, GUEST, GUEST_EXIT, HVA, SRCU_UNLOCK, RING, DYING,
 END, ROOTS) = range(15)  # fmt: skip
# States; from LATE on the group is closed.
OPEN, OVERDUE, ENDED, UNPAID, PAID, LATE, FOREIGN, TOO_SMALL, HARMLESS = range(9)
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


class FlushTask(Row):
    """A task."""

    call: int  # system call, -1 unknown
    arg: int  # ioctl request
    hva: int  # notifier: 1 + what
    depth: int  # and its srcu depth
    ring: int  # whether a dirty ring is reset in this call
    group: int  # of its last debt, + 1
    too_short: int  # group that a range flush did not cover, + 1


class Group(Row):
    """Debts of one task, VM and flow in one critical section."""

    code: int
    flow: int
    vm: int
    pid: int
    ts: int
    seq: int
    cpu: int
    flags: int
    last_ts: int
    n: int
    state: int
    mmu: int
    slots: int
    arg: int
    call: int
    losses: int
    levels: int
    first: int
    covered: int
    foreign_n: int
    foreign_ts: int
    foreign_pid: int
    soft_ts: int
    end_ts: int
    end_cpu: int
    end_pid: int
    end_op: int
    use_ts: int
    use_cpu: int
    use_pid: int
    paid_ts: int
    paid_pid: int
    paid_cpu: int
    mode: int


class Debt(Row):
    """What a change of an SPTE owes."""

    group: int
    gfn: int
    level: int
    address_space: int
    old: int
    new: int
    ts: int
    cpu: int
    sptep: int
    covered: int


@step
def _code_of(losses: int) -> int:
    return 301 if losses & (LOST_W | LOST_M) else 302


@step
def flow_of(losses: int, level: int, task: FlushTask, slots_lock: int, mode: int, options: Ints) -> int:
    """The flow a loss belongs to, -1 where no flush is owed or nobody can tell (domain rules: see flush_debts)."""
    arg = task.arg & 0xFFFFFFFF
    in_ioctl = task.call == IOCTL
    logging = in_ioctl and (arg in (GET_LOG, CLEAR_LOG, RESET_RINGS, SET_MEMORY, SET_MEMORY2))  # fmt: skip
    if task.call in (EXIT_CALL, EXIT_GROUP):
        return -1
    if losses & TABLE_REPLACED:
        return HUGE_LEAF if mode != 0 else -1
    if losses & TABLE_LOST:
        alone = task.call <= 0 and task.hva == 0 and slots_lock == 0
        return RECOVERY if mode == READ and alone and options[O_RECOVERY] else -1
    if losses & (LOST_MAPPING | REMAPPED):
        if mode != 2:
            return -1  # under mmu_lock read-held: invalidated roots, or flushed before the event
        if task.hva in {1, 4}:
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


@step
def _clear(g: Group) -> None:
    """A new group: what its place held before is gone."""
    g.code, g.flow, g.vm, g.pid, g.ts, g.seq, g.cpu, g.flags, g.last_ts, g.n, g.state = 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
    g.mmu, g.slots, g.arg, g.call, g.losses, g.levels, g.first, g.covered, g.soft_ts = 0, 0, 0, 0, 0, 0, 0, 0, 0
    g.foreign_n, g.foreign_ts, g.foreign_pid, g.end_ts, g.end_cpu, g.end_pid, g.end_op = 0, 0, 0, 0, 0, 0, 0
    g.use_ts, g.use_cpu, g.use_pid, g.paid_ts, g.paid_pid, g.paid_cpu, g.mode = 0, 0, 0, 0, 0, 0, 0


@step
def _drop(active: Ints, active_count: Ints, k: int) -> None:
    active_count[0] -= 1
    active[k] = active[active_count[0]]


@step
def _close(g: Group, state: int, index: int, debts: Rows[Debt], debt_count: Ints) -> None:
    """End a group's story; debts that were paid in time and lie at the end are forgotten at once."""
    g.state = state
    if (state in (PAID, HARMLESS)) and debt_count[0] == g.first + g.n:
        n = debt_count[0]
        while n > g.first and debts[n - 1].group == index:
            n -= 1
        debt_count[0] = n


@step
def _end(g: Group, ts: int, cpu: int, pid: int, op: int) -> None:
    """The operation that owes is over."""
    g.state = ENDED
    g.end_ts, g.end_cpu, g.end_pid, g.end_op = ts, cpu, pid, op


@loop
def follow(
    cols: Grid, slots: Grid, held: Grid, dead: Ints, dying: Ints, options: Ints, task_table: Ints, tasks:
    Rows[FlushTask], groups: Rows[Group], group_count: Ints, debts: Rows[Debt], debt_count: Ints, active: Ints,
    active_count: Ints, seen: Ints,
) -> None:  # fmt: skip
    """Walk the rows. ``dead``, ``dying``: by VM number, when it was destroyed, and whether kvm_arch_flush_shadow_all
    was seen. ``active``: groups that are not settled. ``seen`` counts losses, debts, flushes, losses nobody judges."""
    rows = cols.shape[1]
    k = 0
    for r in range(rows):
        i = cols[C_ROW, r]
        kind = cols[C_HOW, r]
        if cols[C_FLAGS, r] & IN_INTERRUPT and kind not in (FLUSH, GUEST_EXIT):
            continue  # an interrupt on top of the task
        p = cols[C_PID, r]
        t = number(task_table, p)
        task = ref(tasks[t])
        v = cols[C_VM, r]
        if kind in (DEBT, ROOTS):
            seen[0] += 1
            if v == 0 or dying[v] != 0 or (dead[v] != 0 and dead[v] <= cols[C_TS, r]):
                seen[3] += 1
                continue
            flow = ROOTS_ZAP  # kvm_mmu_zap_all_fast: all roots are made invalid
            if kind == DEBT:
                flow = flow_of(cols[C_LOSSES, r], cols[C_LEVEL, r], task, held[i, SLOTS_LOCK], held[i, MODE], options)
            elif held[i, MODE] != 2 or not options[O_ROOTS]:
                flow = -1
            if flow < 0:
                seen[3] += 1
                continue
            if flow == DIRTY_LOG and task.ring != 0:
                flow = RING_RESET
            code = _code_of(cols[C_LOSSES, r])
            n = task.group - 1
            fits = n >= 0 and groups[n].state == OPEN and groups[n].flow == flow and groups[n].vm == v
            if not (fits and groups[n].pid == p and groups[n].mmu == held[i, MMU_LOCK]):
                n = -1
                for k in range(active_count[0]):
                    g = ref(groups[active[k]])
                    if (g.state == OPEN and g.pid == p and g.flow == flow and g.vm == v
                            and g.mmu == held[i, MMU_LOCK]):  # fmt: skip
                        n = active[k]
            if n < 0 or groups[n].code != code:
                n = group_count[0]
                group_count[0] += 1
                g = ref(groups[n])
                _clear(g)
                g.code, g.flow, g.vm, g.pid = code, flow, v, p
                g.ts, g.seq, g.cpu, g.flags = (
                    cols[C_TS, r], cols[C_SEQ, r], cols[C_CPU, r], cols[C_FLAGS, r],
                )  # fmt: skip
                g.mmu, g.slots, g.mode = held[i, MMU_LOCK], held[i, SLOTS_LOCK], held[i, MODE]
                g.arg, g.call, g.first = task.arg, task.call, debt_count[0]
                active[active_count[0]] = n
                active_count[0] += 1
            task.group = n + 1
            g = ref(groups[n])
            g.n += 1
            g.last_ts = cols[C_TS, r]
            g.losses |= cols[C_LOSSES, r]
            g.levels |= 1 << cols[C_LEVEL, r]
            d = ref(debts[debt_count[0]])
            debt_count[0] += 1
            d.group, d.gfn, d.level, d.address_space, d.old, d.new = (
                n, cols[C_GFN, r], cols[C_LEVEL, r], cols[C_AS, r], cols[C_OLD, r], cols[C_NEW, r],
            )  # fmt: skip
            d.ts, d.cpu, d.sptep, d.covered = cols[C_TS, r], cols[C_CPU, r], cols[C_SPTEP, r], 0
            seen[1] += 1
        elif kind in (FLUSH, FREE_ROOTS):
            seen[2] += 1
            k = 0
            while k < active_count[0]:
                index = active[k]
                g = ref(groups[index])
                if (v not in (0, g.vm)) or (kind == FREE_ROOTS and g.code != 302):
                    k += 1
                    continue
                if kind == FREE_ROOTS and g.flow == ROOTS_ZAP and g.pid != p:
                    k += 1  # each zap of all roots makes its own
                    continue
                own = g.pid == p
                state = g.state
                if state == UNPAID:
                    g.paid_ts, g.paid_pid, g.paid_cpu = cols[C_TS, r], p, cols[C_CPU, r]
                    _drop(active, active_count, k)
                elif own or state == ENDED:
                    g.paid_ts, g.paid_pid, g.paid_cpu = cols[C_TS, r], p, cols[C_CPU, r]
                    outcome = PAID if state == OPEN else LATE
                    if not own:
                        outcome = FOREIGN
                    elif outcome == PAID and task.too_short == index + 1:
                        outcome = TOO_SMALL
                    elif outcome == LATE and g.use_ts != 0:
                        outcome = UNPAID
                    _close(g, outcome, index, debts, debt_count)
                    _drop(active, active_count, k)
                else:
                    g.foreign_n, g.foreign_ts, g.foreign_pid = g.n, cols[C_TS, r], p
                    k += 1
            task.too_short = 0
        elif kind == FLUSH_RANGE:
            seen[2] += 1
            first, last = slots[i, 1], plus(slots[i, 1], slots[i, 2])
            k = 0
            while k < active_count[0]:
                index = active[k]
                g = ref(groups[index])
                if (v not in (0, g.vm)) or g.state > OVERDUE or g.pid != p:
                    k += 1
                    continue
                for n in range(g.first, debt_count[0]):
                    d = ref(debts[n])
                    span = 1 << (9 * (min(d.level, 5) - 1))
                    if d.group == index and d.covered == 0 and first <= d.gfn and plus(d.gfn, span) <= last:
                        d.covered = 1
                        g.covered += 1
                if g.covered == g.n:
                    _close(g, PAID if g.state == OPEN else LATE, index, debts, debt_count)
                    g.paid_ts, g.paid_pid, g.paid_cpu = cols[C_TS, r], p, cols[C_CPU, r]
                    _drop(active, active_count, k)
                else:
                    if g.flow >= NOTIFIER:
                        task.too_short = index + 1
                    k += 1
        elif kind == UNLOCK:
            lock = slots[i, 0]
            for k in range(active_count[0]):
                g = ref(groups[active[k]])
                if (
                    g.state == OPEN
                    and g.pid == p
                    and ((g.mmu == lock and g.flow >= NOTIFIER) or (g.slots == lock and g.flow != RING_RESET))
                ):
                    if g.slots == lock and task.ring != 0 and g.flow < NOTIFIER:
                        continue
                    g.state, g.soft_ts = OVERDUE, cols[C_TS, r]
            task.too_short = 0
        elif kind in (ENTER, EXIT, GUEST, HVA, END, SRCU_UNLOCK):
            if kind == SRCU_UNLOCK and held[i, SRCU_DEPTH] > task.depth:
                continue
            if task.group != 0 or kind == GUEST:
                k = 0
                while k < active_count[0]:
                    index = active[k]
                    g = ref(groups[index])
                    ends = g.state <= OVERDUE and g.pid == p
                    if kind == HVA:
                        ends = ends and g.flow == NOTIFIER and g.state == OVERDUE
                    elif kind == SRCU_UNLOCK:  # of a kernel thread's work there is no other end
                        ends = ends and g.flow >= NOTIFIER and g.state == OVERDUE
                    if ends:
                        if g.foreign_n == g.n:
                            _close(g, FOREIGN, index, debts, debt_count)
                            g.paid_ts, g.paid_pid = g.foreign_ts, g.foreign_pid
                            _drop(active, active_count, k)
                            continue
                        _end(g, cols[C_TS, r], cols[C_CPU, r], p, cols[C_OP, r])
                    k += 1
            if kind == ENTER:
                task.call, task.arg, task.hva, task.ring = slots[i, 0], slots[i, 2], 0, 0
            elif kind == EXIT:
                task.call, task.arg, task.hva, task.ring = -1, 0, 0, 0
            elif kind == HVA:
                task.hva, task.depth = slots[i, 2] + 1, held[i, SRCU_DEPTH]
            else:
                task.hva = 0
        elif kind == RING:
            task.ring = 1
            for k in range(active_count[0]):
                g = ref(groups[active[k]])
                if g.pid == p and g.flow == DIRTY_LOG and g.state == OPEN:
                    g.flow = RING_RESET
        elif kind == DYING:
            dying[v] = 1
            k = 0
            while k < active_count[0]:
                index = active[k]
                if v != 0 and groups[index].vm == v:
                    if groups[index].state != UNPAID:
                        _close(ref(groups[index]), HARMLESS, index, debts, debt_count)
                    _drop(active, active_count, k)
                else:
                    k += 1
        if (kind in (GUEST, GUEST_EXIT)) and v != 0:
            for k in range(active_count[0]):
                g = ref(groups[active[k]])
                if g.vm != v:
                    continue
                # A zapped page may be given away from the moment on at which mmu_lock is given up, also for a while.
                exposed = g.state == OVERDUE and g.code == 302 and g.pid != p and g.use_ts == 0
                if g.state == ENDED or exposed:
                    g.use_ts, g.use_cpu, g.use_pid = cols[C_TS, r], cols[C_CPU, r], p
                if g.state == ENDED:
                    g.state = UNPAID
