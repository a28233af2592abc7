"""SRCU read sections, task by task and irq context by irq context; what goes wrong with them, as rows."""

from __future__ import annotations

from lockscope.core.c_types import Grid, Ints, Row, Rows, inline, loop, ref, step
from lockscope.core.hashing import known, number
from lockscope.core.kvm_tables import C_CPU, C_FLAGS, C_HOW, C_OP, C_PID, C_ROW, C_SEQ, C_TS, C_VM
from lockscope.core.machine import mix, plus

DEPTH = 12  # open sections of a task that are followed
AT_USER, AT_GUEST = 1, 2  # Section.told
# What a row is to this loop.
(ENTRY, LOCK, UNLOCK, SYNC, ENTER, EXIT, GUEST, END, ACCESS, TAKEN, ZAP, MMU_LOCK_TAKEN, GIVEN, VCPU_ACCESS,
 RUN, OWN_LOCK) = range(16)  # fmt: skip
# What was met.
(WRONG_INDEX, NOT_OPEN, OPEN_AT_GUEST, OPEN_AT_END, OPEN_AT_USER, SYNC_INSIDE, UNPROTECTED, LOCK_INSIDE, NEVER_LEFT,
 SYNCED, GUARDED) = range(11)  # fmt: skip
MOST = 4096  # rows kept of each kind; count[FIRST_KIND + kind] goes on
FIRST_KIND, KINDS = 1, 11
# What an srcu_struct is (``kinds``).
UNKNOWN, KVM_SRCU, KVM_IRQ_SRCU, FOREIGN = range(4)
MMU_LOCK, SRCU, SLOTS_LOCK, FIRST_LOCK, LAST_LOCK = 1, 2, 3, 3, 10
# What alone guards an access (SrcuTask.guard).
BY_SSP, BY_MAP, BY_SLOTS_LOCK = range(3)
ZAP_RANGE = 68  # tables.ops.Op.ZAP_RANGE
KVM_CREATE_VM = 0xAE01  # include/uapi/linux/kvm.h


class SrcuTask(Row):
    """A task in one irq context."""

    depth: int  # open sections
    whole: int  # since when all of them are known
    pending: int  # srcu of a lock call not yet returned from
    call: int  # the system call it is in
    arg: int  # with its second argument
    locks: int  # the KVM locks it held at its last row
    zap: int
    vcpu: int  # the vCPU it runs in this call
    kvm: int  # and that vCPU's kvm
    guard: int  # what _guard() found
    own: int  # the srcu that SRCU's own code entered a section of


class Section(Row):
    """An open section: DEPTH of them for each task."""

    ssp: int
    idx: int
    ts: int
    seq: int
    cpu: int
    told: int


class Met(Row):
    """What was met; ``since``: from when on nothing may be missing for it to be true."""

    what: int
    ts: int
    seq: int
    cpu: int
    pid: int
    flags: int
    ssp: int
    idx: int
    open_ts: int
    open_cpu: int
    since: int
    vm: int
    call: int
    arg: int
    detail: int
    op: int
    kvm: int


class Guard(Row):
    """How often a guard lay so far from its VM's kvm."""

    by: int
    distance: int
    times: int


@step
def _meet(
    found: Rows[Met], count: Ints, what: int, cols: Grid, r: int, task: SrcuTask, sections: Rows[Section], section:
    int, since: int, detail: int,
) -> None:  # fmt: skip
    """Note what was met at row ``r``; ``section`` is the section it is about, or -1."""
    count[FIRST_KIND + what] += 1
    if count[FIRST_KIND + what] > MOST:
        return
    f = ref(found[count[0]])
    count[0] += 1
    f.what, f.ts, f.seq, f.cpu, f.pid, f.flags = (
        what, cols[C_TS, r], cols[C_SEQ, r], cols[C_CPU, r], cols[C_PID, r], cols[C_FLAGS, r],
    )  # fmt: skip
    f.vm, f.since, f.call, f.arg, f.detail, f.op = (
        cols[C_VM, r], since, task.call, task.arg, detail, cols[C_OP, r],
    )  # fmt: skip
    f.ssp, f.idx, f.open_ts, f.open_cpu, f.kvm = 0, -1, 0, -1, 0
    if section >= 0:
        f.ssp, f.idx = sections[section].ssp, sections[section].idx
        f.open_ts, f.open_cpu = sections[section].ts, sections[section].cpu


@inline
def _section(task: SrcuTask, sections: Rows[Section], base: int, ssp: int, idx: int) -> int:
    """The last opened section of this SRCU and index (-1: any); -1 if there is none. ``base``: a task's first."""
    for k in range(task.depth - 1, -1, -1):
        if sections[base + k].ssp == ssp and (idx < 0 or sections[base + k].idx == idx):
            return base + k
    return -1


@step
def _close(task: SrcuTask, sections: Rows[Section], base: int, section: int) -> None:
    """Take a section out of the open ones."""
    for k in range(section, base + task.depth - 1):
        sections[k] = sections[k + 1]
    task.depth -= 1


@step
def _open_kvm(task: SrcuTask, sections: Rows[Section], base: int, known_srcu: Ints, kinds: Ints, sure: int) -> int:
    """The innermost open section of a kvm->srcu (``sure``: of nothing else), -1 if none."""
    for k in range(task.depth - 1, -1, -1):
        at = known(known_srcu, sections[base + k].ssp)
        kind = kinds[at] if at >= 0 else UNKNOWN
        if kind == KVM_SRCU or (kind == UNKNOWN and not sure):
            return base + k
    return -1


@step
def _guard(
    task: SrcuTask, sections: Rows[Section], base: int, srcu_map: int, slots_lock: int, known_srcu: Ints, kinds: Ints
) -> int:
    """The one thing that guards an access (``SrcuTask.guard`` says what it is); 0: none, -1: several."""
    one = 0
    for s in range(base, base + task.depth):
        at = known(known_srcu, sections[s].ssp)
        kind = kinds[at] if at >= 0 else UNKNOWN
        if kind not in (KVM_SRCU, UNKNOWN):
            continue
        if one != 0 and one != sections[s].ssp:
            return -1
        one, task.guard = sections[s].ssp, BY_SSP
    if one == 0 and srcu_map != 0:
        one, task.guard = srcu_map, BY_MAP
    if slots_lock != 0:
        if one != 0:
            return -1
        one, task.guard = slots_lock, BY_SLOTS_LOCK
    return one


@step
def _rare(guards: Rows[Guard], by: int, distance: int) -> int:
    """Count how far from its VM's kvm a guard lies; whether that is new, or another one is more frequent."""
    most, ours = 0, -1
    for k in range(len(guards)):
        if guards[k].times == 0:
            if ours < 0:
                ours = k
                guards[k].by, guards[k].distance = by, distance
            break
        if guards[k].by == by:
            if guards[k].distance == distance:
                ours = k
            elif guards[k].times > most:
                most = guards[k].times
    if ours < 0:
        return 0  # more distances than there can be VMs at once that share a task: their places are not known
    guards[ours].times += 1
    return guards[ours].times == 1 or guards[ours].times <= most


@loop
def follow(
    cols: Grid, slots: Grid, held: Grid, dead: Ints, known_srcu: Ints, kinds: Ints, task_table: Ints, tasks:
    Rows[SrcuTask], sections: Rows[Section], found: Rows[Met], count: Ints, seen: Ints, guards: Rows[Guard],
) -> None:  # fmt: skip
    """Walk the rows. ``dead``: by VM number, when it was destroyed (0: not). ``seen`` counts sections, accesses,
    synchronisations, judged accesses, and sections of SRCU's own code that were seen to be left. ``guards``: see
    ``Guard``."""
    rows = cols.shape[1]
    for r in range(rows):
        i = cols[C_ROW, r]
        kind = cols[C_HOW, r]
        context = 0
        if cols[C_FLAGS, r] & 0x40:
            context = 3
        elif cols[C_FLAGS, r] & 0x08:
            context = 2
        elif cols[C_FLAGS, r] & 0x10:
            context = 1
        who = cols[C_PID, r] if cols[C_PID, r] != 0 else -1 - cols[C_CPU, r]
        t = number(task_table, mix(mix(who, 0), context))  # not who ^ context: that is another task's
        task, base = ref(tasks[t]), t * DEPTH
        if kind == ENTRY:
            task.pending = slots[i, 0]
        elif kind == LOCK:
            ssp = slots[i, 0] if slots[i, 0] != 0 else task.pending
            task.pending = 0
            if ssp == 0:
                continue
            task.own = 0
            seen[0] += 1
            if task.depth == DEPTH:
                _close(task, sections, base, base)
            s = base + task.depth
            sections[s].ssp, sections[s].idx, sections[s].ts = ssp, slots[i, 1], cols[C_TS, r]
            sections[s].seq, sections[s].cpu, sections[s].told = cols[C_SEQ, r], cols[C_CPU, r], 0
            task.depth += 1
        elif kind == OWN_LOCK:
            task.own = slots[i, 0] if slots[i, 0] != 0 else task.pending
            task.pending = 0
        elif kind == UNLOCK:
            # What SRCU's own code entered it leaves at once, by an unlock that may be inlined there and leave no event.
            alone = _section(task, sections, base, slots[i, 0], -1) < 0
            if task.own == slots[i, 0] and task.own != 0 and (alone or seen[4] > 0):
                task.own = 0
                seen[4] += 1
                continue
            s = _section(task, sections, base, slots[i, 0], slots[i, 1])
            if s < 0:
                s = _section(task, sections, base, slots[i, 0], -1)
                if s >= 0:
                    _meet(found, count, WRONG_INDEX, cols, r, task, sections, s, sections[s].ts,
                          slots[i, 1])  # fmt: skip
                elif task.whole != 0:
                    _meet(found, count, NOT_OPEN, cols, r, task, sections, -1, task.whole, 0)
                    if count[FIRST_KIND + NOT_OPEN] <= MOST:
                        found[count[0] - 1].ssp, found[count[0] - 1].idx = slots[i, 0], slots[i, 1]
            if s >= 0:
                _close(task, sections, base, s)
        elif kind == SYNC:
            seen[2] += 1
            s = _section(task, sections, base, slots[i, 0], -1)
            if s >= 0:
                _meet(found, count, SYNC_INSIDE, cols, r, task, sections, s, sections[s].ts, slots[i, 1])
            locks = 0
            for role in range(FIRST_LOCK, LAST_LOCK + 1):
                if held[i, role] != 0:
                    locks |= 1 << role
            if locks != 0:
                _meet(found, count, SYNCED, cols, r, task, sections, -1, cols[C_TS, r], locks)
                if count[FIRST_KIND + SYNCED] <= MOST:
                    found[count[0] - 1].ssp = slots[i, 0]
        elif kind == ENTER:
            task.call, task.arg, task.vcpu, task.own = slots[i, 0], slots[i, 2], 0, 0
            if context == 0:
                task.whole = cols[C_TS, r]
        elif kind == EXIT:
            if context != 0:
                continue
            for s in range(base, base + task.depth):
                if not sections[s].told & AT_USER:
                    _meet(found, count, OPEN_AT_USER, cols, r, task, sections, s, sections[s].ts, 0)
                    sections[s].told |= AT_USER
            task.whole = cols[C_TS, r]
            task.call, task.zap, task.vcpu, task.own = -1, 0, 0, 0
        elif kind == GUEST:
            if context != 0:
                continue
            task.zap = 0
            s = _open_kvm(task, sections, base, known_srcu, kinds, 1)
            if s >= 0 and not sections[s].told & AT_GUEST:
                _meet(found, count, OPEN_AT_GUEST, cols, r, task, sections, s, sections[s].ts, 0)
                sections[s].told |= AT_GUEST
            if task.depth == 0:
                task.whole = cols[C_TS, r]
        elif kind == END:
            for s in range(base, base + task.depth):
                _meet(found, count, OPEN_AT_END, cols, r, task, sections, s, sections[s].ts, 0)
            task.depth, task.whole = 0, 0
        elif kind == RUN:
            task.vcpu, task.kvm = slots[i, 0], slots[i, 1]
        elif kind in (ACCESS, VCPU_ACCESS, ZAP):
            seen[1] += 1
            if context != 0 or task.whole == 0 or (dead[cols[C_VM, r]] != 0 and dead[cols[C_VM, r]] <= cols[C_TS, r]):
                continue
            seen[3] += 1
            kvm = 0
            if kind == ACCESS:
                kvm = slots[i, 0]
            elif kind == VCPU_ACCESS and task.vcpu == slots[i, 0]:
                kvm = task.kvm
            guard = (
                _guard(task, sections, base, held[i, SRCU], held[i, SLOTS_LOCK], known_srcu, kinds) if kvm != 0 else 0
            )
            if guard not in (0, -1) and _rare(guards, task.guard, plus(guard, -kvm)):
                _meet(found, count, GUARDED, cols, r, task, sections, -1, task.whole, plus(guard, -kvm))
                if count[FIRST_KIND + GUARDED] <= MOST:
                    f = ref(found[count[0] - 1])
                    f.ssp, f.idx, f.kvm = guard, task.guard, kvm
            if held[i, SRCU] != 0 or held[i, SLOTS_LOCK] != 0:
                continue
            if _open_kvm(task, sections, base, known_srcu, kinds, 0) < 0:
                if kind == ZAP:
                    # b59a87c1ba3c: it takes SRCU itself, and then mmu_lock to look at memslots
                    task.zap = cols[C_TS, r]
                else:
                    _meet(found, count, UNPROTECTED, cols, r, task, sections, -1, task.whole, task.depth)
        elif kind == GIVEN:
            locks = 0
            for role in range(FIRST_LOCK, LAST_LOCK + 1):
                if held[i, role] != 0:
                    locks |= 1 << role
            task.locks = locks
        elif kind in (TAKEN, MMU_LOCK_TAKEN):
            if task.zap != 0 and held[i, MMU_LOCK] != 0 and context == 0:
                bare = (
                    held[i, SRCU] == 0 and held[i, SLOTS_LOCK] == 0 and _open_kvm(task, sections, base, known_srcu,
                    kinds, 0) < 0
                )  # fmt: skip
                if bare and count[FIRST_KIND + UNPROTECTED] < MOST:
                    _meet(found, count, UNPROTECTED, cols, r, task, sections, -1, task.whole, task.depth)
                    found[count[0] - 1].op, found[count[0] - 1].ts = ZAP_RANGE, task.zap
                task.zap = 0
            if kind == MMU_LOCK_TAKEN:
                continue
            locks = 0
            for role in range(FIRST_LOCK, LAST_LOCK + 1):
                if held[i, role] != 0:
                    locks |= 1 << role
            fresh = locks & ~task.locks
            task.locks = locks
            if fresh != 0 and context == 0:
                s = _open_kvm(task, sections, base, known_srcu, kinds, 1)
                if s >= 0:
                    _meet(found, count, LOCK_INSIDE, cols, r, task, sections, s, sections[s].ts, fresh)


@loop
def still_open(task_table: Ints, tasks: Rows[SrcuTask], sections: Rows[Section], found: Rows[Met], count: Ints) -> None:
    """Sections told of at a return to user space that the whole trace never saw left."""
    for t in range(task_table[0]):
        for s in range(t * DEPTH, t * DEPTH + tasks[t].depth):
            if sections[s].told & AT_USER and count[FIRST_KIND + NEVER_LEFT] < MOST:
                count[FIRST_KIND + NEVER_LEFT] += 1
                f = ref(found[count[0]])
                count[0] += 1
                f.what, f.ssp, f.idx, f.open_ts = (
                    NEVER_LEFT, sections[s].ssp, sections[s].idx, sections[s].ts,
                )  # fmt: skip
                f.seq, f.open_cpu, f.since = sections[s].seq, sections[s].cpu, sections[s].ts
