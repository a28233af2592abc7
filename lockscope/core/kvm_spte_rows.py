"""What is known of SPTEs, and of what does not fit: the rows of ``kvm_spte``, and the numbers in them."""

from __future__ import annotations

from lockscope.core.c_types import Grid, Ints, Row, Rows, ref, step
from lockscope.core.kvm_tables import C_CPU, C_FLAGS, C_OP, C_OWN, C_PID, C_SEQ, C_TS, C_VM
from lockscope.core.machine import mix

# Columns of a change: its values, what they say, and whether a fast page fault succeeded.
C_OLD, C_NEW, C_OLD_SAYS, C_NEW_SAYS, C_FIXED = range(C_OWN, C_OWN + 5)
C_WIDTH = C_OWN + 5
# What a row is to this loop.
(TDP, SET, FAST, UPDATE_ENTRY, UPDATE, MMIO, PAGE, ZAP_ALL, FAULT, DIRTY, HVA, QUIET, CALL, GUEST,
 GUEST_EXIT) = range(15)  # fmt: skip
# What an SPTE's value says, as bits.
PRESENT, LEAF, W, M, H, TRACKED, LARGE = 1, 2, 4, 8, 16, 32, 64
# What kind of shadow page a page of SPTEs is.
ANY, DIRECT, INDIRECT, INDIRECT_BY_INDEX = range(4)
# What was met.
(
    NO_LOCK, WRONG_MODE, SET_UNDER_READ, NOT_WRITABLE, LARGE_LOGGED, INDIRECT_FIXED, ABA, LOST_BIT, LOST_IN_UPDATE,
    BAD_SAVE, BAD_RESTORE, W_ON_READ, SHADOWED, NOTIFIER_READ,
) = range(14)  # fmt: skip
MOST = 4096  # rows kept of each kind; count[FIRST_KIND + kind] goes on
FIRST_KIND, KINDS = 1, 14
UNDECIDED = FIRST_KIND + KINDS  # count[UNDECIDED]: lost bits, were it known which root an SPTE is of
# Options.
(O_SAVED, O_NO_LARGE, O_AGING, O_BASE, O_UPDATE_FLUSHES, O_NOISE, O_SLACK, O_SAVED_BITS,
 O_SAVED_MASK, O_ACCESSED) = range(10)  # fmt: skip
# How the kernel ages SPTEs: holding mmu_lock, without it, or nobody knows which.
AGES_LOCKED, AGES_LOCKLESS, AGES_SOMEHOW = range(3)
MMU_LOCK, SLOTS_LOCK, MODE, SRCU_DEPTH = 1, 3, 16, 17
SHADOW = 99  # in place of an address space: the shadow pages of a gfn
HAS_NO_GPTES = 1 << 7 | 1 << 18  # role: direct, passthrough (sp_has_gptes)
PFN = ((1 << 52) - 1) & ~0xFFF


class SpteTask(Row):
    """A task."""

    whole: int  # since when its locks are known
    fault: int  # start of its page fault
    dirty: int  # last gfn it marked dirty
    role: int  # of the shadow page it last got
    level: int  # of that page
    dirty_ts: int  # when it marked that gfn
    notifier: int  # srcu depth at which its last unmapping notifier began, + 1


class Spte(Row):
    """An SPTE by address."""

    gfn: int
    level: int
    vm: int
    value: int
    ts: int
    was_gfn: int
    moved_ts: int
    moved_pid: int
    fast_ts: int
    fast_pid: int
    in_ts: int
    in_pid: int
    in_old: int
    fast_cpu: int
    moved_cpu: int
    seen: int
    doubtful: int
    fast_old: int


class Page(Row):
    """A page of SPTEs: what kind of shadow page it is, and since when that is known."""

    kind: int
    ts: int


class Place(Row):
    """An SPTE by place."""

    value: int
    ts: int
    cpu: int
    pid: int
    fast_ts: int
    fast_cpu: int
    fast_pid: int
    fast_old: int
    logged_ts: int
    seen: int
    doubtful: int


class SpteVm(Row):
    """A VM."""

    roots: int  # made
    doubt: int  # whether roots are in doubt
    tdp: int  # events of the TDP MMU
    pages: int  # shadow pages
    unshadowed: int  # last zap of an indirect page
    obsolete: int  # last zap of all pages


class SpteFinding(Row):
    """What was met."""

    what: int
    ts: int
    seq: int
    cpu: int
    pid: int
    flags: int
    op: int
    vm: int
    gfn: int
    level: int
    old: int
    new: int
    sptep: int
    since: int
    other_ts: int
    other_cpu: int
    other_pid: int
    extra: int
    doubt: int


@step
def meet(
    found: Rows[SpteFinding], count: Ints, what: int, cols: Grid, r: int, gfn: int, level: int, sptep: int, since:
    int, extra: int,
) -> None:  # fmt: skip
    """Note what was met; ``count``: rows used, then how often each kind was met."""
    count[FIRST_KIND + what] += 1
    if count[FIRST_KIND + what] > MOST:
        return
    f = ref(found[count[0]])
    count[0] += 1
    f.what = what
    f.ts, f.seq, f.cpu, f.pid = cols[C_TS, r], cols[C_SEQ, r], cols[C_CPU, r], cols[C_PID, r]
    f.flags, f.op, f.vm = cols[C_FLAGS, r], cols[C_OP, r], cols[C_VM, r]
    f.gfn, f.level, f.old, f.new, f.sptep = gfn, level, cols[C_OLD, r], cols[C_NEW, r], sptep
    f.since, f.extra, f.doubt = since, extra, 0
    f.other_ts, f.other_cpu, f.other_pid = 0, -1, -1


@step
def against(found: Rows[SpteFinding], count: Ints, what: int, ts: int, cpu: int, pid: int) -> None:
    """The event that what was just met collides with."""
    if count[FIRST_KIND + what] <= MOST:
        f = ref(found[count[0] - 1])
        f.other_ts, f.other_cpu, f.other_pid = ts, cpu, pid


@step
def place_key(vm: int, address_space: int, level: int, gfn: int) -> int:
    """The key of an SPTE by place."""
    return mix(mix(mix(mix(vm, 0), address_space), level), gfn)  # small numbers: not one xor the other
