"""SPTE histories: each SPTE's last value and who set it, and what does not fit it, as rows.

Two views of one SPTE: by place (VM, address space, level, gfn), which the TDP MMU's event names, and by the address of
the SPTE itself, which kvm_mmu_set_spte, the fast page fault and the legacy MMU's probes name.
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
    mix,
    number,
)  # fmt: skip
from lockscope.kernels.outer import outer
from lockscope.kernels.views import matrix, vector

# Columns of a change: its values, what they say, and whether a fast page fault succeeded.
C_OLD, C_NEW, C_OLD_SAYS, C_NEW_SAYS, C_FIXED = range(C_OWN, C_OWN + 5)
C_WIDTH = C_OWN + 5
# What a row is to this loop.
(TDP, SET, FAST, UPDATE_ENTRY, UPDATE, MMIO, PAGE, ZAP_ALL, FAULT, DIRTY, HVA, QUIET, CALL, GUEST,
 GUEST_EXIT) = range(15)  # fmt: skip
# What an SPTE's value says, as bits.
PRESENT, LEAF, W, M, H, TRACKED, LARGE = 1, 2, 4, 8, 16, 32, 64
# Columns of a task: since when its locks are known, start of its page fault, last gfn it marked dirty, role and level
# of the shadow page it last got, when it marked that gfn; srcu depth at which its last unmapping notifier began + 1.
T_WHOLE, T_FAULT, T_DIRTY, T_ROLE, T_LEVEL, T_DIRTY_TS, T_NOTIFIER = range(7)
# Columns of an SPTE by address.
(P_GFN, P_LEVEL, P_VM, P_VALUE, P_TS, P_WAS_GFN, P_MOVED_TS, P_MOVED_PID, P_FAST_TS, P_FAST_PID, P_IN_TS, P_IN_PID,
 P_IN_OLD, P_FAST_CPU, P_MOVED_CPU, P_SEEN, P_DOUBTFUL, P_FAST_OLD) = range(18)  # fmt: skip
# Columns of a page of SPTEs: what kind of shadow page it is, and since when that is known.
S_KIND, S_TS = range(2)
ANY, DIRECT, INDIRECT, INDIRECT_BY_INDEX = range(4)
# Columns of an SPTE by place.
(L_VALUE, L_TS, L_CPU, L_PID, L_FAST_TS, L_FAST_CPU, L_FAST_PID, L_FAST_OLD, L_LOGGED_TS, L_SEEN,
 L_DOUBTFUL) = range(11)  # fmt: skip
# Columns of a VM: roots made, roots in doubt, TDP events, shadow pages, last zap of an indirect page, of all pages.
V_ROOTS, V_DOUBT, V_TDP, V_PAGES, V_UNSHADOWED, V_OBSOLETE = range(6)
# What was met, and its columns.
(
    NO_LOCK,
    WRONG_MODE,
    SET_UNDER_READ,
    NOT_WRITABLE,
    LARGE_LOGGED,
    INDIRECT_FIXED,
    ABA,
    LOST_BIT,
    LOST_IN_UPDATE,
    BAD_SAVE,
    BAD_RESTORE,
    W_ON_READ,
    SHADOWED,
    NOTIFIER_READ,
) = range(14)
(F_WHAT, F_TS, F_SEQ, F_CPU, F_PID, F_FLAGS, F_OP, F_VM, F_GFN, F_LEVEL, F_OLD, F_NEW, F_SPTEP, F_SINCE, F_OTHER_TS,
 F_OTHER_CPU, F_OTHER_PID, F_EXTRA, F_DOUBT) = range(19)  # fmt: skip
WIDTH = 19
MOST = 4096  # rows kept of each kind; count[FIRST_KIND + kind] goes on
FIRST_KIND, KINDS = 1, 14
UNDECIDED = FIRST_KIND + KINDS  # count[UNDECIDED]: lost bits, were it known which root an SPTE is of
# Options.
(O_SAVED, O_NO_LARGE, O_AGING_LOCKLESS, O_BASE, O_UPDATE_FLUSHES, O_NOISE, O_SLACK, O_SAVED_BITS,
 O_SAVED_MASK) = range(9)  # fmt: skip
MMU_LOCK, SLOTS_LOCK, MODE, SRCU_DEPTH = 1, 3, 16, 17
SHADOW = 99  # in place of an address space: the shadow pages of a gfn
HAS_NO_GPTES = 1 << 7 | 1 << 18  # role: direct, passthrough (sp_has_gptes)
PFN = ((1 << 52) - 1) & ~0xFFF
AGED = np.int64(~((1 << 5) | (1 << 6) | (1 << 8) | (1 << 9)))  # all but the A and D bits of either layout


@helper("void(matrix, vector, i8, matrix, i8, i8, i8, i8, i8, i8)")
def _meet(found: Any, count: Any, what: Any, cols: Any, r: Any, gfn: Any, level: Any, sptep: Any, since: Any,
          extra: Any) -> None:  # fmt: skip
    """Note what was met; ``count``: rows used, then how often each kind was met."""
    count[FIRST_KIND + what] += 1
    if count[FIRST_KIND + what] > MOST:
        return
    f = found[count[0]]
    count[0] += 1
    f[F_WHAT] = what
    f[F_TS], f[F_SEQ], f[F_CPU], f[F_PID] = cols[C_TS, r], cols[C_SEQ, r], cols[C_CPU, r], cols[C_PID, r]
    f[F_FLAGS], f[F_OP], f[F_VM] = cols[C_FLAGS, r], cols[C_OP, r], cols[C_VM, r]
    f[F_GFN], f[F_LEVEL], f[F_OLD], f[F_NEW], f[F_SPTEP] = gfn, level, cols[C_OLD, r], cols[C_NEW, r], sptep
    f[F_SINCE], f[F_EXTRA], f[F_DOUBT] = since, extra, 0
    f[F_OTHER_TS], f[F_OTHER_CPU], f[F_OTHER_PID] = 0, -1, -1


@helper("void(matrix, vector, i8, i8, i8, i8)")
def _against(found: Any, count: Any, what: Any, ts: Any, cpu: Any, pid: Any) -> None:
    """The event that what was just met collides with."""
    if count[FIRST_KIND + what] <= MOST:
        f = found[count[0] - 1]
        f[F_OTHER_TS], f[F_OTHER_CPU], f[F_OTHER_PID] = ts, cpu, pid


@helper("i8(i8, i8, i8, i8)")
def place_key(vm: Any, address_space: Any, level: Any, gfn: Any) -> Any:
    """The key of an SPTE by place."""
    return mix(mix(mix(mix(vm, 0), address_space), level), gfn)  # small numbers: not one xor the other


@helper("void(row, matrix, i8, i8, i8, i8)")
def _doubt(s: Any, found: Any, ts: Any, pid: Any, began: Any, noise: Any) -> None:
    """What the event printed as the new value may be somebody else's, who was at it at the same time."""
    if s[P_DOUBTFUL] == 0:
        return
    f = found[s[P_DOUBTFUL] - 1]
    if f[F_PID] != pid and (began <= f[F_TS] or ts - f[F_TS] <= noise):
        f[F_DOUBT] = 1
    s[P_DOUBTFUL] = 0


@helper("void(matrix, matrix, matrix, i8, row, vector, matrix, vector)")
def _lock(cols: Any, slots: Any, held: Any, r: Any, task: Any, options: Any, found: Any, count: Any) -> None:
    """Is mmu_lock held as this change needs it?"""
    i, kind = cols[C_ROW, r], cols[C_HOW, r]
    o, n, os, ns = cols[C_OLD, r], cols[C_NEW, r], cols[C_OLD_SAYS, r], cols[C_NEW_SAYS, r]
    by_place = kind == TDP or kind == SET
    gfn = slots[i, 0] if by_place else np.int64(-1)
    level = slots[i, 3] if by_place else np.int64(0)
    if held[i, MMU_LOCK] == 0:
        if task[T_WHOLE] != 0:
            aging = (
                kind == TDP and os & LEAF != 0 and ns & PRESENT != 0 and ((o & AGED) == (n & AGED) or ns & TRACKED != 0)
            )
            if not (aging and options[O_AGING_LOCKLESS] != 0):
                _meet(found, count, NO_LOCK, cols, r, gfn, level, 0, task[T_WHOLE], 0)
    elif held[i, MODE] == 1 and (kind == UPDATE_ENTRY or kind == UPDATE):
        _meet(found, count, WRONG_MODE, cols, r, gfn, level, slots[i, 0], cols[C_TS, r], 0)
    elif held[i, MODE] == 1 and kind == SET:
        _meet(found, count, SET_UNDER_READ, cols, r, gfn, level, slots[i, 2], cols[C_TS, r], 0)
    elif held[i, MODE] == 1 and kind == TDP and os & LEAF and not ns & PRESENT:
        # __kvm_handle_hva_range() takes its read section behind the event, and mmu_lock for write inside it.
        if task[T_NOTIFIER] != 0 and held[i, SRCU_DEPTH] >= task[T_NOTIFIER]:
            _meet(found, count, NOTIFIER_READ, cols, r, gfn, level, 0, cols[C_TS, r], 0)


@helper("void(matrix, i8, i8, i8, i8, vector, matrix, vector)")
def _saved(cols: Any, r: Any, gfn: Any, level: Any, sptep: Any, options: Any, found: Any, count: Any) -> None:
    """Were R and X, and nothing else, saved where access tracking took them away?"""
    o, n, os, ns = cols[C_OLD, r], cols[C_NEW, r], cols[C_OLD_SAYS, r], cols[C_NEW_SAYS, r]
    if os & LEAF and ns & TRACKED and not os & TRACKED and (o & PFN) == (n & PFN):
        kept = (n >> options[O_SAVED]) & options[O_SAVED_MASK]
        if kept != (o & options[O_SAVED_BITS]):
            _meet(found, count, BAD_SAVE, cols, r, gfn, level, sptep, cols[C_TS, r], kept)


@helper("void(matrix, matrix, matrix, i8, vector, matrix, row, matrix, vector)")
def _by_place(cols: Any, slots: Any, held: Any, r: Any, options: Any, vms: Any, e: Any, found: Any, count: Any) -> None:
    """A change that the TDP MMU's event shows."""
    i, ts, p, v = cols[C_ROW, r], cols[C_TS, r], cols[C_PID, r], cols[C_VM, r]
    o, n, os, ns = cols[C_OLD, r], cols[C_NEW, r], cols[C_OLD_SAYS, r], cols[C_NEW_SAYS, r]
    gfn, level = slots[i, 0], slots[i, 3]
    vms[v, V_TDP] += 1
    lost = e[L_FAST_TS] > e[L_TS] and e[L_FAST_PID] != p and e[L_FAST_OLD] == o and n != o
    if lost and not os & W and (v == 0 or vms[v, V_DOUBT]):
        count[UNDECIDED] += 1
    elif lost and not os & W:
        _meet(found, count, LOST_BIT, cols, r, gfn, level, 0, e[L_TS] if e[L_TS] != 0 else e[L_FAST_TS], e[L_CPU])
        _against(found, count, LOST_BIT, e[L_FAST_TS], e[L_FAST_CPU], e[L_FAST_PID])
    _saved(cols, r, gfn, level, 0, options, found, count)
    if e[L_DOUBTFUL] != 0:
        f = found[e[L_DOUBTFUL] - 1]
        if f[F_PID] != p and ts - f[F_TS] <= options[O_NOISE]:
            f[F_DOUBT] = 1
        e[L_DOUBTFUL] = 0
    e[L_SEEN], e[L_VALUE], e[L_TS], e[L_CPU], e[L_PID], e[L_FAST_TS] = 1, n, ts, cols[C_CPU, r], p, 0
    same = (o & PFN) == (n & PFN)
    if os & LEAF and ns & LEAF and same and os & W and not ns & W and level > 1 and held[i, SLOTS_LOCK] != 0:
        e[L_LOGGED_TS] = ts
    elif not ns & LEAF or ns & W:
        e[L_LOGGED_TS] = 0


@helper("void(matrix, matrix, i8, i8, row, row, row)")
def _set(cols: Any, slots: Any, r: Any, sptep: Any, task: Any, s: Any, page: Any) -> None:
    """kvm_mmu_set_spte: what an SPTE maps from now on, and what kind of page it is in."""
    i, ts = cols[C_ROW, r], cols[C_TS, r]
    gfn, level = slots[i, 0], slots[i, 3]
    if s[P_SEEN] != 0 and s[P_GFN] != gfn:
        s[P_WAS_GFN], s[P_MOVED_TS], s[P_MOVED_PID], s[P_MOVED_CPU] = s[P_GFN], ts, cols[C_PID, r], cols[C_CPU, r]
    s[P_SEEN], s[P_GFN], s[P_LEVEL], s[P_VM], s[P_VALUE], s[P_TS] = 1, gfn, level, cols[C_VM, r], cols[C_NEW, r], ts
    if task[T_LEVEL] == level and level != 0:
        page[S_KIND] = DIRECT if task[T_ROLE] & 0x80 else INDIRECT
        page[S_TS] = ts
        task[T_LEVEL] = 0
    elif page[S_KIND] == ANY and level > 0:
        if ((gfn >> (9 * (min(level, 5) - 1))) & 511) != (sptep & 0xFFF) >> 3:
            page[S_KIND], page[S_TS] = INDIRECT_BY_INDEX, ts


@helper("void(matrix, matrix, i8, i8, i8, vector, row, matrix, vector)")
def _update(cols: Any, slots: Any, r: Any, gfn: Any, level: Any, options: Any, s: Any, found: Any, count: Any) -> None:
    """mmu_spte_update() returns: what its caller will flush, against what the fast path did meanwhile."""
    i, p, n, ns = cols[C_ROW, r], cols[C_PID, r], cols[C_NEW, r], cols[C_NEW_SAYS, r]
    raced = s[P_IN_TS] != 0 and s[P_IN_PID] == p and s[P_FAST_TS] > s[P_IN_TS] and s[P_FAST_PID] != p
    raced = raced and s[P_FAST_OLD] == s[P_IN_OLD] and s[P_IN_OLD] != n
    # It asks for a flush where an MMU-writable SPTE ends up without W, by the value that it really replaced.
    if raced and options[O_UPDATE_FLUSHES] and slots[i, 2] == 0 and ns & LEAF and ns & M and not ns & W:
        cols[C_OLD, r] = s[P_IN_OLD]
        _meet(found, count, LOST_IN_UPDATE, cols, r, gfn, level, slots[i, 0], s[P_IN_TS], 0)
        _against(found, count, LOST_IN_UPDATE, s[P_FAST_TS], s[P_FAST_CPU], s[P_FAST_PID])
    s[P_IN_TS] = 0


@helper("void(matrix, matrix, i8, i8, i8, i8, vector, row, row, i8, row, matrix, vector)")
def _may_fix(
    cols: Any,
    slots: Any,
    r: Any,
    gfn: Any,
    level: Any,
    memory_ts: Any,
    options: Any,
    s: Any,
    page: Any,
    unshadowed: Any,
    e: Any,
    found: Any,
    count: Any,
) -> None:
    """Was the fast path allowed to touch this SPTE?"""
    i, ts, os = cols[C_ROW, r], cols[C_TS, r], cols[C_OLD_SAYS, r]
    write, sptep = slots[i, 2] & 2, slots[i, 3]
    if write and not os & W and not (os & M and os & H):
        _meet(found, count, NOT_WRITABLE, cols, r, gfn, level, sptep, ts, os)
    if os & LARGE and write and not os & W and not os & TRACKED:
        if options[O_NO_LARGE]:
            _meet(found, count, LARGE_LOGGED, cols, r, gfn, level, sptep, ts, 1)
        elif s[P_SEEN] != 0 and e[L_LOGGED_TS] != 0 and memory_ts != 0 and memory_ts < e[L_LOGGED_TS]:
            _meet(found, count, LARGE_LOGGED, cols, r, gfn, level, sptep, e[L_LOGGED_TS], 0)
    kind, since = page[S_KIND], page[S_TS]
    elsewhere = s[P_SEEN] != 0 and slots[i, 1] >> 12 != gfn
    if (kind == INDIRECT and (unshadowed <= since or elsewhere)) or (kind == INDIRECT_BY_INDEX and elsewhere):
        _meet(found, count, INDIRECT_FIXED, cols, r, gfn, level, sptep, since, kind)


@helper("void(matrix, matrix, i8, i8, i8, vector, row, row, row, matrix, vector)")
def _fixed(cols: Any, slots: Any, r: Any, gfn: Any, level: Any, options: Any, task: Any, s: Any, e: Any, found: Any,
           count: Any) -> None:  # fmt: skip
    """A fast page fault succeeded: the races around it, and what access tracking gave back."""
    i, ts, p, cpu = cols[C_ROW, r], cols[C_TS, r], cols[C_PID, r], cols[C_CPU, r]
    o, n, os, ns = cols[C_OLD, r], cols[C_NEW, r], cols[C_OLD_SAYS, r], cols[C_NEW_SAYS, r]
    write, sptep = slots[i, 2] & 2, slots[i, 3]
    since = task[T_FAULT] if task[T_FAULT] != 0 else ts
    moved = s[P_SEEN] != 0 and s[P_MOVED_TS] > since + options[O_SLACK] and s[P_MOVED_PID] != p
    if task[T_DIRTY] >= 0 and task[T_DIRTY_TS] <= s[P_MOVED_TS]:
        moved = False  # the gfn is marked after the cmpxchg: the SPTE was moved only then
    if moved and (s[P_VALUE] & PFN) == (o & PFN):
        stale = s[P_WAS_GFN] if task[T_DIRTY] == s[P_WAS_GFN] or task[T_DIRTY] < 0 else np.int64(-1)
        _meet(found, count, ABA, cols, r, gfn, level, sptep, since, stale)
        _against(found, count, ABA, s[P_MOVED_TS], s[P_MOVED_CPU], s[P_MOVED_PID])
    if os & TRACKED and ns & LEAF and not ns & TRACKED and (o & PFN) == (n & PFN):
        kept = (o >> options[O_SAVED]) & options[O_SAVED_BITS]
        before = max(s[P_FAST_TS], s[P_TS], e[L_TS], e[L_FAST_TS])
        what = np.int64(-1)
        if (n & options[O_SAVED_BITS]) != kept:
            what = np.int64(BAD_RESTORE)
        elif ns & W and not write:
            what = np.int64(W_ON_READ)
        if what >= 0 and before + options[O_NOISE] < since:
            _meet(found, count, what, cols, r, gfn, level, sptep, since, kept)
            s[P_DOUBTFUL] = count[0] if count[FIRST_KIND + what] <= MOST else 0
    s[P_FAST_TS], s[P_FAST_PID], s[P_FAST_CPU], s[P_FAST_OLD] = ts, p, cpu, o
    # The event comes after the cmpxchg, maybe long after: a change in between would look as if it came before.
    began = task[T_FAULT] if task[T_FAULT] != 0 else ts - options[O_NOISE]
    if level > 0 and (e[L_TS] == 0 or e[L_TS] + options[O_SLACK] < began):
        e[L_DOUBTFUL] = s[P_DOUBTFUL]
        e[L_FAST_TS], e[L_FAST_CPU], e[L_FAST_PID], e[L_FAST_OLD] = ts, cpu, p, o


@helper("void(matrix, matrix, i8, i8, i8, row, matrix, vector)")
def _shadows(cols: Any, slots: Any, r: Any, obsolete: Any, fault: Any, shadow: Any, found: Any, count: Any) -> None:
    """Did the fast path make a page writable that holds a guest page table, shadowed since before the fault began?

    ``shadow``: live shadow pages of level 2 and above of this gfn (L_SEEN), the last one made when (L_TS).
    """
    i, os = cols[C_ROW, r], cols[C_OLD_SAYS, r]
    since = fault if fault != 0 else cols[C_TS, r]
    if shadow[L_SEEN] > 0 and obsolete < shadow[L_TS] and shadow[L_TS] < since and slots[i, 2] & 2 and not os & W:
        _meet(found, count, SHADOWED, cols, r, slots[i, 1] >> 12, 1, slots[i, 3], shadow[L_TS], 0)


@helper("void(matrix, matrix, i8, matrix, row, row)")
def _page(cols: Any, slots: Any, r: Any, vms: Any, task: Any, shadow: Any) -> None:
    """A shadow page comes or goes. Only the lowest level may go out of sync (mmu_try_to_unsync_pages)."""
    i, v = cols[C_ROW, r], cols[C_VM, r]
    role = slots[i, 2]
    if slots[i, 0] == 0:
        task[T_ROLE], task[T_LEVEL] = role, role & 15
        if v != 0 and slots[i, 5] != 0:
            vms[v, V_PAGES] += 1
            if role & 15 >= 4 and slots[i, 1] == 0:
                vms[v, V_ROOTS] += 1
                if vms[v, V_ROOTS] > 1:
                    vms[v, V_DOUBT] = 1
            if role & 15 >= 2 and not role & HAS_NO_GPTES:
                shadow[L_SEEN], shadow[L_TS] = shadow[L_SEEN] + 1, cols[C_TS, r]
    elif slots[i, 0] == 1 and not role & 0x80:
        vms[v, V_UNSHADOWED] = cols[C_TS, r]
        if role & 15 >= 2:
            shadow[L_SEEN] = max(shadow[L_SEEN] - 1, 0)


@outer(
    "void(i8[:, ::1], i8[:, ::1], i8[:, ::1], i8[::1], i8[:, ::1], i8[::1], i8[:, ::1], i8[::1], i8[:, ::1], "
    "i8[::1], i8[:, ::1], i8[::1], i8[:, ::1], i8[:, ::1], i8[::1], i8[::1], i8[::1])"
)
def follow(
    cols: Any, slots: Any, held: Any, options: Any, vms: Any, task_table: Any, tasks: Any, spte_table: Any, sptes: Any,
    page_table: Any, pages: Any, place_table: Any, places: Any, found: Any, count: Any, memory_ts: Any, seen: Any,
) -> None:  # fmt: skip
    """Walk the rows. ``memory_ts[0]``: last memslot ioctl. ``seen`` counts transitions, those judged for the lock, fast
    page faults and those that succeeded."""
    rows = cols.shape[1]
    cols, slots, held, options = matrix(cols), matrix(slots), matrix(held), vector(options)
    vms, task_table, tasks, spte_table = matrix(vms), vector(task_table), matrix(tasks), vector(spte_table)
    sptes, page_table, pages, place_table = (
        matrix(sptes),
        vector(page_table),
        matrix(pages),
        vector(place_table),
    )
    places, found, count, memory_ts = matrix(places), matrix(found), vector(count), vector(memory_ts)
    seen = vector(seen)
    for r in range(rows):
        if cols[C_FLAGS, r] & IN_INTERRUPT:
            continue
        i, kind, ts, p, v = cols[C_ROW, r], cols[C_HOW, r], cols[C_TS, r], cols[C_PID, r], cols[C_VM, r]
        task = tasks[number(task_table, p)]
        if kind >= QUIET:
            task[T_WHOLE], task[T_NOTIFIER] = ts, 0
            if kind == GUEST_EXIT:
                task[T_FAULT], task[T_DIRTY], task[T_LEVEL] = ts, -1, 0
            elif kind == CALL:
                memory_ts[0] = ts
        elif kind == FAULT:
            task[T_FAULT], task[T_DIRTY] = ts, -1
        elif kind == HVA:
            unmaps = slots[i, 2] == 0 or slots[i, 2] == 3
            task[T_NOTIFIER] = held[i, SRCU_DEPTH] + 1 if unmaps else np.int64(0)
        elif kind == DIRTY:
            task[T_DIRTY], task[T_DIRTY_TS] = slots[i, 2], ts
        elif kind == PAGE:
            _page(cols, slots, r, vms, task, places[number(place_table, place_key(v, SHADOW, 0, slots[i, 1]))])
        elif kind == ZAP_ALL:
            vms[v, V_DOUBT], vms[v, V_OBSOLETE] = 1, ts
        else:
            if kind != FAST:
                seen[0] += 1
                if held[i, MMU_LOCK] != 0 or task[T_WHOLE] != 0:
                    seen[1] += 1
                _lock(cols, slots, held, r, task, options, found, count)
            if kind == TDP:
                at = place_key(v, slots[i, 4], slots[i, 3], slots[i, 0])
                _by_place(cols, slots, held, r, options, vms, places[number(place_table, at)], found, count)
                continue
            # The rest name the SPTE by its address: physical in kvm_mmu_set_spte, virtual elsewhere.
            sptep = slots[i, 2] if kind == SET else (slots[i, 3] if kind == FAST else slots[i, 0]) - options[O_BASE]
            s = sptes[number(spte_table, mix(sptep, 3))]
            page = pages[number(page_table, mix(sptep >> 12, 5))]
            began = task[T_FAULT] if kind == FAST and task[T_FAULT] != 0 else ts
            _doubt(s, found, ts, p, began, options[O_NOISE])
            if kind == SET:
                _set(cols, slots, r, sptep, task, s, page)
                continue
            gfn, level = np.int64(-1), np.int64(0)
            if s[P_SEEN] != 0:
                gfn, level = s[P_GFN], s[P_LEVEL]
            elif kind == FAST and v != 0 and vms[v, V_TDP] != 0:  # the TDP MMU faults by guest physical address
                level = np.int64(2) if cols[C_OLD_SAYS, r] & LARGE else np.int64(1)
                gfn = (slots[i, 1] >> 12) & ~((np.int64(1) << (9 * (level - 1))) - 1)
            if kind == UPDATE_ENTRY:
                s[P_IN_TS], s[P_IN_PID], s[P_IN_OLD] = ts, p, cols[C_OLD, r]
                _saved(cols, r, gfn, level, slots[i, 0], options, found, count)
            elif kind == UPDATE:
                _update(cols, slots, r, gfn, level, options, s, found, count)
            elif kind == FAST:
                seen[2] += 1
                if cols[C_FIXED, r]:
                    seen[3] += 1
                    e = places[number(place_table, place_key(v, 0, level, gfn))]
                    _may_fix(
                        cols,
                        slots,
                        r,
                        gfn,
                        level,
                        memory_ts[0],
                        options,
                        s,
                        page,
                        vms[v, V_UNSHADOWED],
                        e,
                        found,
                        count,
                    )
                    _fixed(cols, slots, r, gfn, level, options, task, s, e, found, count)
                    if v != 0 and vms[v, V_TDP] != 0:  # the fault's address is a guest physical one
                        shadow = places[number(place_table, place_key(v, SHADOW, 0, slots[i, 1] >> 12))]
                        _shadows(cols, slots, r, vms[v, V_OBSOLETE], task[T_FAULT], shadow, found, count)
