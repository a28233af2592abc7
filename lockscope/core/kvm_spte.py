"""SPTE histories: each SPTE's last value and who set it, and what does not fit it, as rows.

Two views of one SPTE: by place (VM, address space, level, gfn), which the TDP MMU's event names, and by the address of
the SPTE itself, which kvm_mmu_set_spte, the fast page fault and the legacy MMU's probes name.
"""

from __future__ import annotations

from lockscope.core.c_types import Grid, Ints, Rows, loop, ref, step
from lockscope.core.hashing import number
from lockscope.core.kvm_spte_rows import (
    ABA, AGES_LOCKED, AGES_SOMEHOW, ANY, BAD_RESTORE, BAD_SAVE, C_FIXED, C_NEW, C_NEW_SAYS, C_OLD, C_OLD_SAYS,
    CALL, DIRECT, DIRTY, FAST, FAULT, FIRST_KIND, GUEST_EXIT, HAS_NO_GPTES, HVA, INDIRECT, INDIRECT_BY_INDEX,
    INDIRECT_FIXED, LARGE, LARGE_LOGGED, LEAF, LOST_BIT, LOST_IN_UPDATE, MMU_LOCK, MODE, MOST, NO_LOCK,
    NOT_WRITABLE, NOTIFIER_READ, O_ACCESSED, O_AGING, O_BASE, O_NO_LARGE, O_NOISE, O_SAVED, O_SAVED_BITS,
    O_SAVED_MASK, O_SLACK, O_UPDATE_FLUSHES, PAGE, PFN, PRESENT, QUIET, SET, SET_UNDER_READ, SHADOW, SHADOWED,
    SLOTS_LOCK, SRCU_DEPTH, TDP, TRACKED, UNDECIDED, UPDATE, UPDATE_ENTRY, W_ON_READ, WRONG_MODE, ZAP_ALL, H, M,
    Page, Place, Spte, SpteFinding, SpteTask, SpteVm, W, against, meet, place_key,
)  # fmt: skip
from lockscope.core.kvm_tables import C_CPU, C_FLAGS, C_HOW, C_PID, C_ROW, C_TS, C_VM, IN_INTERRUPT
from lockscope.core.machine import mix


@step
def _doubt(s: Spte, found: Rows[SpteFinding], ts: int, pid: int, began: int, noise: int) -> None:
    """What the event printed as the new value may be somebody else's, who was at it at the same time."""
    if s.doubtful == 0:
        return
    f = ref(found[s.doubtful - 1])
    if f.pid != pid and (began <= f.ts or ts - f.ts <= noise):
        f.doubt = 1
    s.doubtful = 0


@step
def _ages_bare(cols: Grid, held: Grid, r: int, accessed: int) -> int:
    """Whether the TDP MMU aged this SPTE without mmu_lock: nothing but A cleared, or access tracking begun.

    kvm_tdp_mmu_age_spte(), arch/x86/kvm/mmu/tdp_mmu.c, 7.3.4.
    """
    o, n, os, ns = cols[C_OLD, r], cols[C_NEW, r], cols[C_OLD_SAYS, r], cols[C_NEW_SAYS, r]
    if cols[C_HOW, r] != TDP or held[cols[C_ROW, r], MMU_LOCK] != 0 or not os & LEAF or not ns & PRESENT:
        return 0
    return (o & ~accessed) == n or (ns & TRACKED != 0 and (o & PFN) == (n & PFN))


@step
def _lock(cols: Grid, slots: Grid, held: Grid, r: int, task: SpteTask, found: Rows[SpteFinding], count: Ints) -> None:
    """Is mmu_lock held as this change needs it?"""
    i, kind = cols[C_ROW, r], cols[C_HOW, r]
    os, ns = cols[C_OLD_SAYS, r], cols[C_NEW_SAYS, r]
    by_place = kind in (TDP, SET)
    gfn = slots[i, 0] if by_place else -1
    level = slots[i, 3] if by_place else 0
    if held[i, MMU_LOCK] == 0:
        if task.whole != 0:
            meet(found, count, NO_LOCK, cols, r, gfn, level, 0, task.whole, 0)
    elif held[i, MODE] == 1 and (kind in (UPDATE_ENTRY, UPDATE)):
        meet(found, count, WRONG_MODE, cols, r, gfn, level, slots[i, 0], cols[C_TS, r], 0)
    elif held[i, MODE] == 1 and kind == SET:
        meet(found, count, SET_UNDER_READ, cols, r, gfn, level, slots[i, 2], cols[C_TS, r], 0)
    elif held[i, MODE] == 1 and kind == TDP and os & LEAF and not ns & PRESENT:
        # __kvm_handle_hva_range() takes its read section behind the event, and mmu_lock for write inside it.
        unmapping = task.notifier != 0 and held[i, SRCU_DEPTH] >= task.notifier
        if unmapping:
            meet(found, count, NOTIFIER_READ, cols, r, gfn, level, 0, cols[C_TS, r], 0)


@step
def _saved(
    cols: Grid, r: int, gfn: int, level: int, sptep: int, options: Ints, found: Rows[SpteFinding], count: Ints
) -> None:
    """Were R and X, and nothing else, saved where access tracking took them away?"""
    o, n, os, ns = cols[C_OLD, r], cols[C_NEW, r], cols[C_OLD_SAYS, r], cols[C_NEW_SAYS, r]
    if os & LEAF and ns & TRACKED and not os & TRACKED and (o & PFN) == (n & PFN):
        kept = (n >> options[O_SAVED]) & options[O_SAVED_MASK]
        if kept != (o & options[O_SAVED_BITS]):
            meet(found, count, BAD_SAVE, cols, r, gfn, level, sptep, cols[C_TS, r], kept)


@step
def _by_place(
    cols: Grid, slots: Grid, held: Grid, r: int, options: Ints, vms: Rows[SpteVm], e: Place, found:
    Rows[SpteFinding], count: Ints,
) -> None:  # fmt: skip
    """A change that the TDP MMU's event shows."""
    i, ts, p, v = cols[C_ROW, r], cols[C_TS, r], cols[C_PID, r], cols[C_VM, r]
    o, n, os, ns = cols[C_OLD, r], cols[C_NEW, r], cols[C_OLD_SAYS, r], cols[C_NEW_SAYS, r]
    gfn, level = slots[i, 0], slots[i, 3]
    vms[v].tdp += 1
    lost = e.fast_ts > e.ts and e.fast_pid != p and e.fast_old == o and n != o
    if lost and not os & W and (v == 0 or vms[v].doubt):
        count[UNDECIDED] += 1
    elif lost and not os & W:
        meet(found, count, LOST_BIT, cols, r, gfn, level, 0, e.ts if e.ts != 0 else e.fast_ts, e.cpu)
        against(found, count, LOST_BIT, e.fast_ts, e.fast_cpu, e.fast_pid)
    _saved(cols, r, gfn, level, 0, options, found, count)
    if e.doubtful != 0:
        f = ref(found[e.doubtful - 1])
        if f.pid != p and ts - f.ts <= options[O_NOISE]:
            f.doubt = 1
        e.doubtful = 0
    e.seen, e.value, e.ts, e.cpu, e.pid, e.fast_ts = 1, n, ts, cols[C_CPU, r], p, 0
    same = (o & PFN) == (n & PFN)
    if os & LEAF and ns & LEAF and same and os & W and not ns & W and level > 1 and held[i, SLOTS_LOCK] != 0:
        e.logged_ts = ts
    elif not ns & LEAF or ns & W:
        e.logged_ts = 0


@step
def _set(cols: Grid, slots: Grid, r: int, sptep: int, task: SpteTask, s: Spte, page: Page) -> None:
    """kvm_mmu_set_spte: what an SPTE maps from now on, and what kind of page it is in."""
    i, ts = cols[C_ROW, r], cols[C_TS, r]
    gfn, level = slots[i, 0], slots[i, 3]
    if s.seen != 0 and s.gfn != gfn:
        s.was_gfn, s.moved_ts, s.moved_pid, s.moved_cpu = s.gfn, ts, cols[C_PID, r], cols[C_CPU, r]
    s.seen, s.gfn, s.level, s.vm, s.value, s.ts = 1, gfn, level, cols[C_VM, r], cols[C_NEW, r], ts
    if task.level == level and level != 0:
        page.kind = DIRECT if task.role & 0x80 else INDIRECT
        page.ts = ts
        task.level = 0
    elif page.kind == ANY and level > 0 and ((gfn >> (9 * (min(level, 5) - 1))) & 511) != (sptep & 0xFFF) >> 3:
        page.kind, page.ts = INDIRECT_BY_INDEX, ts


@step
def _update(
    cols: Grid, slots: Grid, r: int, gfn: int, level: int, options: Ints, s: Spte, found: Rows[SpteFinding], count: Ints
) -> None:
    """mmu_spte_update() returns: what its caller will flush, against what the fast path did meanwhile."""
    i, p, n, ns = cols[C_ROW, r], cols[C_PID, r], cols[C_NEW, r], cols[C_NEW_SAYS, r]
    raced = s.in_ts != 0 and s.in_pid == p and s.fast_ts > s.in_ts and s.fast_pid != p
    raced = raced and s.fast_old == s.in_old and s.in_old != n
    # It asks for a flush where an MMU-writable SPTE ends up without W, by the value that it really replaced.
    if raced and options[O_UPDATE_FLUSHES] and slots[i, 2] == 0 and ns & LEAF and ns & M and not ns & W:
        cols[C_OLD, r] = s.in_old
        meet(found, count, LOST_IN_UPDATE, cols, r, gfn, level, slots[i, 0], s.in_ts, 0)
        against(found, count, LOST_IN_UPDATE, s.fast_ts, s.fast_cpu, s.fast_pid)
    s.in_ts = 0


@step
def _may_fix(
    cols: Grid, slots: Grid, r: int, gfn: int, level: int, memory_ts: int, options: Ints, s: Spte, page: Page,
    unshadowed: int, e: Place, found: Rows[SpteFinding], count: Ints,
) -> None:  # fmt: skip
    """Was the fast path allowed to touch this SPTE?"""
    i, ts, os = cols[C_ROW, r], cols[C_TS, r], cols[C_OLD_SAYS, r]
    write, sptep = slots[i, 2] & 2, slots[i, 3]
    if write and not os & W and not (os & M and os & H):
        meet(found, count, NOT_WRITABLE, cols, r, gfn, level, sptep, ts, os)
    if os & LARGE and write and not os & W and not os & TRACKED:
        if options[O_NO_LARGE]:
            meet(found, count, LARGE_LOGGED, cols, r, gfn, level, sptep, ts, 1)
        elif s.seen != 0 and e.logged_ts != 0 and memory_ts != 0 and memory_ts < e.logged_ts:
            meet(found, count, LARGE_LOGGED, cols, r, gfn, level, sptep, e.logged_ts, 0)
    kind, since = page.kind, page.ts
    elsewhere = s.seen != 0 and slots[i, 1] >> 12 != gfn
    if (kind == INDIRECT and (unshadowed <= since or elsewhere)) or (kind == INDIRECT_BY_INDEX and elsewhere):
        meet(found, count, INDIRECT_FIXED, cols, r, gfn, level, sptep, since, kind)


@step
def _fixed(
    cols: Grid, slots: Grid, r: int, gfn: int, level: int, options: Ints, task: SpteTask, s: Spte, e: Place, found:
    Rows[SpteFinding], count: Ints,
) -> None:  # fmt: skip
    """A fast page fault succeeded: the races around it, and what access tracking gave back."""
    i, ts, p, cpu = cols[C_ROW, r], cols[C_TS, r], cols[C_PID, r], cols[C_CPU, r]
    o, n, os, ns = cols[C_OLD, r], cols[C_NEW, r], cols[C_OLD_SAYS, r], cols[C_NEW_SAYS, r]
    write, sptep = slots[i, 2] & 2, slots[i, 3]
    since = task.fault if task.fault != 0 else ts
    moved = s.seen != 0 and s.moved_ts > since + options[O_SLACK] and s.moved_pid != p
    if task.dirty >= 0 and task.dirty_ts <= s.moved_ts:
        moved = False  # the gfn is marked after the cmpxchg: the SPTE was moved only then
    if moved and (s.value & PFN) == (o & PFN):
        stale = s.was_gfn if task.dirty == s.was_gfn or task.dirty < 0 else -1
        meet(found, count, ABA, cols, r, gfn, level, sptep, since, stale)
        against(found, count, ABA, s.moved_ts, s.moved_cpu, s.moved_pid)
    if os & TRACKED and ns & LEAF and not ns & TRACKED and (o & PFN) == (n & PFN):
        kept = (o >> options[O_SAVED]) & options[O_SAVED_BITS]
        before = max(s.fast_ts, s.ts, e.ts, e.fast_ts)
        what = -1
        if (n & options[O_SAVED_BITS]) != kept:
            what = BAD_RESTORE
        elif ns & W and not write:
            what = W_ON_READ
        if what >= 0 and before + options[O_NOISE] < since:
            meet(found, count, what, cols, r, gfn, level, sptep, since, kept)
            s.doubtful = count[0] if count[FIRST_KIND + what] <= MOST else 0
    s.fast_ts, s.fast_pid, s.fast_cpu, s.fast_old = ts, p, cpu, o
    # The event comes after the cmpxchg, maybe long after: a change in between would look as if it came before.
    began = task.fault if task.fault != 0 else ts - options[O_NOISE]
    if level > 0 and (e.ts == 0 or e.ts + options[O_SLACK] < began):
        e.doubtful = s.doubtful
        e.fast_ts, e.fast_cpu, e.fast_pid, e.fast_old = ts, cpu, p, o


@step
def _shadows(
    cols: Grid, slots: Grid, r: int, obsolete: int, fault: int, shadow: Place, found: Rows[SpteFinding], count: Ints
) -> None:
    """Did the fast path make a page writable that holds a guest page table, shadowed since before the fault began?

    ``shadow``: live shadow pages of level 2 and above of this gfn (L_SEEN), the last one made when (L_TS).
    """
    i, os = cols[C_ROW, r], cols[C_OLD_SAYS, r]
    since = fault if fault != 0 else cols[C_TS, r]
    if shadow.seen > 0 and obsolete < shadow.ts and shadow.ts < since and slots[i, 2] & 2 and not os & W:
        meet(found, count, SHADOWED, cols, r, slots[i, 1] >> 12, 1, slots[i, 3], shadow.ts, 0)


@step
def _page(cols: Grid, slots: Grid, r: int, vms: Rows[SpteVm], task: SpteTask, shadow: Place) -> None:
    """A shadow page comes or goes. Only the lowest level may go out of sync (mmu_try_to_unsync_pages)."""
    i, v = cols[C_ROW, r], cols[C_VM, r]
    role = slots[i, 2]
    if slots[i, 0] == 0:
        task.role, task.level = role, role & 15
        if v != 0 and slots[i, 5] != 0:
            vms[v].pages += 1
            if role & 15 >= 4 and slots[i, 1] == 0:
                vms[v].roots += 1
                if vms[v].roots > 1:
                    vms[v].doubt = 1
            if role & 15 >= 2 and not role & HAS_NO_GPTES:
                shadow.seen, shadow.ts = shadow.seen + 1, cols[C_TS, r]
    elif slots[i, 0] == 1 and not role & 0x80:
        vms[v].unshadowed = cols[C_TS, r]
        if role & 15 >= 2:
            shadow.seen = max(shadow.seen - 1, 0)


@loop
def follow(
    cols: Grid, slots: Grid, held: Grid, options: Ints, vms: Rows[SpteVm], task_table: Ints, tasks: Rows[SpteTask],
    spte_table: Ints, sptes: Rows[Spte], page_table: Ints, pages: Rows[Page], place_table: Ints, places:
    Rows[Place], found: Rows[SpteFinding], count: Ints, memory_ts: Ints, seen: Ints,
) -> None:  # fmt: skip
    """Walk the rows. ``memory_ts[0]``: last memslot ioctl. ``seen`` counts transitions, those judged for the lock, fast
    page faults, those that succeeded, and agings without the lock that only some kernels do."""
    rows = cols.shape[1]
    for r in range(rows):
        if cols[C_FLAGS, r] & IN_INTERRUPT:
            continue
        i, kind, ts, p, v = cols[C_ROW, r], cols[C_HOW, r], cols[C_TS, r], cols[C_PID, r], cols[C_VM, r]
        task = ref(tasks[number(task_table, p)])
        if kind >= QUIET:
            task.whole, task.notifier = ts, 0
            if kind == GUEST_EXIT:
                task.fault, task.dirty, task.level = ts, -1, 0
            elif kind == CALL:
                memory_ts[0] = ts
        elif kind == FAULT:
            task.fault, task.dirty = ts, -1
        elif kind == HVA:
            unmaps = slots[i, 2] == 0 or slots[i, 2] == 3
            task.notifier = held[i, SRCU_DEPTH] + 1 if unmaps else 0
        elif kind == DIRTY:
            task.dirty, task.dirty_ts = slots[i, 2], ts
        elif kind == PAGE:
            _page(cols, slots, r, vms, task, ref(places[number(place_table, place_key(v, SHADOW, 0, slots[i, 1]))]))
        elif kind == ZAP_ALL:
            vms[v].doubt, vms[v].obsolete = 1, ts
        else:
            if kind != FAST:
                seen[0] += 1
                bare = options[O_AGING] != AGES_LOCKED and _ages_bare(cols, held, r, options[O_ACCESSED])
                if bare and options[O_AGING] == AGES_SOMEHOW:
                    seen[4] += 1
                elif bare or held[i, MMU_LOCK] != 0 or task.whole != 0:
                    seen[1] += 1
                if not bare:
                    _lock(cols, slots, held, r, task, found, count)
            if kind == TDP:
                at = place_key(v, slots[i, 4], slots[i, 3], slots[i, 0])
                _by_place(cols, slots, held, r, options, vms, ref(places[number(place_table, at)]), found, count)
                continue
            # The rest name the SPTE by its address: physical in kvm_mmu_set_spte, virtual elsewhere.
            sptep = slots[i, 2] if kind == SET else (slots[i, 3] if kind == FAST else slots[i, 0]) - options[O_BASE]
            s = ref(sptes[number(spte_table, mix(sptep, 3))])
            page = ref(pages[number(page_table, mix(sptep >> 12, 5))])
            began = task.fault if kind == FAST and task.fault != 0 else ts
            _doubt(s, found, ts, p, began, options[O_NOISE])
            if kind == SET:
                _set(cols, slots, r, sptep, task, s, page)
                continue
            gfn, level = -1, 0
            if s.seen != 0:
                gfn, level = s.gfn, s.level
            elif kind == FAST and v != 0 and vms[v].tdp != 0:  # the TDP MMU faults by guest physical address
                level = 2 if cols[C_OLD_SAYS, r] & LARGE else 1
                gfn = (slots[i, 1] >> 12) & ~((1 << (9 * (level - 1))) - 1)
            if kind == UPDATE_ENTRY:
                s.in_ts, s.in_pid, s.in_old = ts, p, cols[C_OLD, r]
                _saved(cols, r, gfn, level, slots[i, 0], options, found, count)
            elif kind == UPDATE:
                _update(cols, slots, r, gfn, level, options, s, found, count)
            elif kind == FAST:
                seen[2] += 1
                if cols[C_FIXED, r]:
                    seen[3] += 1
                    e = ref(places[number(place_table, place_key(v, 0, level, gfn))])
                    _may_fix(
                        cols, slots, r, gfn, level, memory_ts[0], options, s, page, vms[v].unshadowed, e, found,
                        count,
                    )  # fmt: skip
                    _fixed(cols, slots, r, gfn, level, options, task, s, e, found, count)
                    if v != 0 and vms[v].tdp != 0:  # the fault's address is a guest physical one
                        shadow = ref(places[number(place_table, place_key(v, SHADOW, 0, slots[i, 1] >> 12))])
                        _shadows(cols, slots, r, vms[v].obsolete, task.fault, shadow, found, count)
