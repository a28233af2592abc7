"""SPTE histories: each SPTE's last value and who set it, and what does not fit it, as rows.

Two views of one SPTE: by place (VM, address space, level, gfn), which the TDP MMU's event names, and by the address of
the SPTE itself, which kvm_mmu_set_spte, the fast page fault and the legacy MMU's probes name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from lockscope.kernels.kvm_tables import mix, number

# What a row is to this loop (``how``).
(TDP, SET, FAST, UPDATE_ENTRY, UPDATE, MMIO, PAGE, ZAP_ALL, FAULT, DIRTY, QUIET, CALL, GUEST, GUEST_EXIT) = range(14)
# What an SPTE's value says, as bits.
PRESENT, LEAF, W, M, H, TRACKED, LARGE = 1, 2, 4, 8, 16, 32, 64
# Columns of a task: since when its locks are known, start of its page fault, last gfn it marked dirty, role and level of
# the shadow page it last got.
T_WHOLE, T_FAULT, T_DIRTY, T_ROLE, T_LEVEL = range(5)
# Columns of an SPTE by address.
(P_GFN, P_LEVEL, P_VM, P_VALUE, P_TS, P_WAS_GFN, P_MOVED_TS, P_MOVED_PID, P_FAST_TS, P_FAST_PID, P_IN_TS, P_IN_PID,
 P_IN_OLD, P_FAST_CPU, P_MOVED_CPU, P_SEEN, P_DOUBTFUL, P_FAST_OLD) = range(18)  # fmt: skip
# Columns of a page of SPTEs: what kind of shadow page it is, and since when that is known.
S_KIND, S_TS = range(2)
ANY, DIRECT, INDIRECT, INDIRECT_BY_INDEX = range(4)
# Columns of an SPTE by place.
(L_VALUE, L_TS, L_CPU, L_PID, L_FAST_TS, L_FAST_CPU, L_FAST_PID, L_FAST_OLD, L_LOGGED_TS, L_SEEN,
 L_DOUBTFUL) = range(11)  # fmt: skip
# Columns of a VM: roots made, roots in doubt, TDP events, shadow pages, last zap of an indirect page.
V_ROOTS, V_DOUBT, V_TDP, V_PAGES, V_UNSHADOWED = range(5)
# What was met, and its columns.
(NO_LOCK, WRONG_MODE, SET_UNDER_READ, NOT_WRITABLE, LARGE_LOGGED, INDIRECT_FIXED, ABA, LOST_BIT, LOST_IN_UPDATE, BAD_SAVE,
 BAD_RESTORE, W_ON_READ) = range(12)  # fmt: skip
(F_WHAT, F_TS, F_SEQ, F_CPU, F_PID, F_FLAGS, F_OP, F_VM, F_GFN, F_LEVEL, F_OLD, F_NEW, F_SPTEP, F_SINCE, F_OTHER_TS,
 F_OTHER_CPU, F_OTHER_PID, F_EXTRA, F_DOUBT) = range(19)  # fmt: skip
WIDTH = 19
# Options.
(O_SAVED, O_NO_LARGE, O_AGING_LOCKLESS, O_BASE, O_UPDATE_FLUSHES, O_NOISE, O_SLACK) = range(7)
MMU_LOCK, SLOTS_LOCK, MODE = 1, 3, 16
PFN = ((1 << 52) - 1) & ~0xFFF
AGED = np.int64(~((1 << 5) | (1 << 6) | (1 << 8) | (1 << 9)))  # all but the A and D bits of either layout


@njit(nogil=True, cache=True, inline="never")
def _meet(found: Any, count: Any, what: Any, i: Any, row: Any, place: Any, since: Any, other: Any, extra: Any) -> None:
    """Note what was met. ``row``: ts, seq, cpu, pid, flags, op, vm; ``place``: gfn, level, old, new, sptep; ``other``:
    ts, cpu, pid of the event it collides with."""
    f = found[count[0]]
    count[0] += 1
    f[F_WHAT] = what
    f[F_TS], f[F_SEQ], f[F_CPU], f[F_PID] = row[0][i], row[1][i], row[2][i], row[3][i]
    f[F_FLAGS], f[F_OP], f[F_VM] = row[4][i], row[5][i], row[6][i]
    f[F_GFN], f[F_LEVEL], f[F_OLD], f[F_NEW], f[F_SPTEP] = place
    f[F_SINCE], f[F_EXTRA], f[F_DOUBT] = since, extra, 0
    f[F_OTHER_TS], f[F_OTHER_CPU], f[F_OTHER_PID] = other


@njit(nogil=True, cache=True, inline="never")
def place_key(vm: Any, address_space: Any, level: Any, gfn: Any) -> Any:
    """The key of an SPTE by place."""
    return mix(mix(mix(vm, address_space), level), gfn)


@njit(nogil=True, cache=True, inline="never")
def _doubt(s: Any, found: Any, ts: Any, pid: Any, began: Any, noise: Any) -> None:
    """What the event printed as the new value may be somebody else's, who was at it at the same time."""
    if s[P_DOUBTFUL] == 0:
        return
    f = found[s[P_DOUBTFUL] - 1]
    if f[F_PID] != pid and (began <= f[F_TS] or ts - f[F_TS] <= noise):
        f[F_DOUBT] = 1
    s[P_DOUBTFUL] = 0


@njit(nogil=True, cache=True)
def follow(
    rows: Any, how: Any, old: Any, new: Any, old_says: Any, new_says: Any, fixed: Any,
    op: Any, ts: Any, seq: Any, cpu: Any, pid: Any, flags: Any, slots: Any, held: Any, vm: Any,
    options: Any, vms: Any,
    task_keys: Any, task_numbers: Any, task_count: Any, tasks: Any,
    spte_keys: Any, spte_numbers: Any, spte_count: Any, sptes: Any,
    page_keys: Any, page_numbers: Any, page_count: Any, pages: Any,
    place_keys: Any, place_numbers: Any, place_count: Any, places: Any,
    found: Any, count: Any, memory_ts: Any, seen: Any,
) -> None:  # fmt: skip
    """Walk the rows. ``old`` to ``fixed`` are by place in ``rows``; ``memory_ts[0]``: last memslot ioctl; ``seen``
    counts [transitions, judged for the lock, fast page faults, fixed ones]."""
    row = (ts, seq, cpu, pid, flags, op, vm)
    nobody = (np.int64(0), np.int64(-1), np.int64(-1))
    for r in range(len(rows)):
        i = rows[r]
        kind = how[r]
        if flags[i] & 0x58:
            continue
        p, v = pid[i], vm[i]
        task = tasks[number(task_keys, task_numbers, task_count, p)]
        if kind >= QUIET:
            task[T_WHOLE] = ts[i]
            if kind == GUEST_EXIT:
                task[T_FAULT], task[T_DIRTY], task[T_LEVEL] = ts[i], -1, 0
            elif kind == CALL:
                memory_ts[0] = ts[i]
            continue
        if kind == FAULT:
            task[T_FAULT], task[T_DIRTY] = ts[i], -1
            continue
        if kind == DIRTY:
            task[T_DIRTY] = slots[i, 2]
            continue
        if kind == PAGE:
            role = slots[i, 2]
            level = role & 15
            if slots[i, 0] == 0:
                task[T_ROLE], task[T_LEVEL] = role, level
                if v != 0 and slots[i, 5] != 0:
                    vms[v, V_PAGES] += 1
                    if level >= 4 and slots[i, 1] == 0:
                        vms[v, V_ROOTS] += 1
                        vms[v, V_DOUBT] |= vms[v, V_ROOTS] > 1
            elif slots[i, 0] == 1 and not role & 0x80:
                vms[v, V_UNSHADOWED] = ts[i]
            continue
        if kind == ZAP_ALL:
            vms[v, V_DOUBT] = 1
            continue
        o, n = old[r], new[r]
        os, ns = old_says[r], new_says[r]
        same = (o & PFN) == (n & PFN)
        gfn, level, sptep = np.int64(-1), np.int64(0), np.int64(0)
        if kind != FAST:
            seen[0] += 1
            if held[i, MMU_LOCK] == 0:
                gfn, level = np.int64(-1), np.int64(0)
                if kind == TDP or kind == SET:
                    gfn, level = slots[i, 0], slots[i, 3]
                if task[T_WHOLE] != 0:
                    seen[1] += 1
                    aging = kind == TDP and os & LEAF and ns & PRESENT and ((o & AGED) == (n & AGED) or ns & TRACKED)
                    if not (aging and options[O_AGING_LOCKLESS]):
                        _meet(found, count, NO_LOCK, i, row, (gfn, level, o, n, np.int64(0)), task[T_WHOLE], nobody, 0)
            else:
                seen[1] += 1
                if held[i, MODE] == 1 and (kind == UPDATE_ENTRY or kind == UPDATE):
                    _meet(found, count, WRONG_MODE, i, row, (gfn, level, o, n, slots[i, 0]), ts[i], nobody, 0)
                elif held[i, MODE] == 1 and kind == SET:
                    _meet(found, count, SET_UNDER_READ, i, row, (slots[i, 0], slots[i, 3], o, n, slots[i, 2]), ts[i], nobody,
                          0)  # fmt: skip
        if kind == TDP:
            vms[v, V_TDP] += 1
            gfn, level = slots[i, 0], slots[i, 3]
            at = place_key(v, slots[i, 4], level, gfn)
            e = places[number(place_keys, place_numbers, place_count, at)]
            lost = e[L_FAST_TS] > e[L_TS] and e[L_FAST_PID] != p and e[L_FAST_OLD] == o
            if lost and n != o and not os & W and v != 0 and not vms[v, V_DOUBT]:
                _meet(found, count, LOST_BIT, i, row, (gfn, level, o, n, np.int64(0)),
                      e[L_TS] if e[L_TS] != 0 else e[L_FAST_TS], (e[L_FAST_TS], e[L_FAST_CPU], e[L_FAST_PID]),
                      e[L_CPU] if e[L_TS] != 0 else -1)  # fmt: skip
            if os & LEAF and ns & TRACKED and not os & TRACKED and same:
                kept = (n >> options[O_SAVED]) & 7
                if kept != (o & 5):
                    _meet(found, count, BAD_SAVE, i, row, (gfn, level, o, n, np.int64(0)), ts[i], nobody, kept)
            if e[L_DOUBTFUL] != 0:
                f = found[e[L_DOUBTFUL] - 1]
                if f[F_PID] != p and ts[i] - f[F_TS] <= options[O_NOISE]:
                    f[F_DOUBT] = 1
                e[L_DOUBTFUL] = 0
            e[L_SEEN], e[L_VALUE], e[L_TS], e[L_CPU], e[L_PID] = 1, n, ts[i], cpu[i], p
            e[L_FAST_TS] = 0
            if os & LEAF and ns & LEAF and same and os & W and not ns & W and level > 1 and held[i, SLOTS_LOCK] != 0:
                e[L_LOGGED_TS] = ts[i]
            elif not ns & LEAF or ns & W:
                e[L_LOGGED_TS] = 0
            continue
        # The rest name the SPTE by its address: physical in kvm_mmu_set_spte, virtual elsewhere.
        sptep = slots[i, 2] if kind == SET else slots[i, 3] if kind == FAST else slots[i, 0]
        if kind != SET:
            sptep -= options[O_BASE]
        s = sptes[number(spte_keys, spte_numbers, spte_count, mix(sptep, 3))]
        page = pages[number(page_keys, page_numbers, page_count, mix(sptep >> 12, 5))]
        if kind == SET:
            _doubt(s, found, ts[i], p, ts[i], options[O_NOISE])
            gfn, level = slots[i, 0], slots[i, 3]
            if s[P_SEEN] != 0 and s[P_GFN] != gfn:
                s[P_WAS_GFN], s[P_MOVED_TS], s[P_MOVED_PID], s[P_MOVED_CPU] = s[P_GFN], ts[i], p, cpu[i]
            s[P_SEEN], s[P_GFN], s[P_LEVEL], s[P_VM], s[P_VALUE], s[P_TS] = 1, gfn, level, v, n, ts[i]
            if task[T_LEVEL] == level and level != 0:
                page[S_KIND] = DIRECT if task[T_ROLE] & 0x80 else INDIRECT
                page[S_TS] = ts[i]
                task[T_LEVEL] = 0
            elif page[S_KIND] == ANY and level > 0:
                if ((gfn >> (9 * (min(level, 5) - 1))) & 511) != (sptep & 0xFFF) >> 3:
                    page[S_KIND], page[S_TS] = INDIRECT_BY_INDEX, ts[i]
            continue
        if s[P_SEEN] != 0:
            gfn, level = s[P_GFN], s[P_LEVEL]
        elif kind == FAST and v != 0 and vms[v, V_TDP] != 0:  # the TDP MMU faults by guest physical address
            level = np.int64(2 if os & LARGE else 1)
            gfn = (slots[i, 1] >> 12) & ~((np.int64(1) << (9 * (level - 1))) - 1)
        _doubt(s, found, ts[i], p, task[T_FAULT] if kind == FAST and task[T_FAULT] != 0 else ts[i], options[O_NOISE])
        where = (gfn, level, o, n, slots[i, 3] if kind == FAST else slots[i, 0])
        if kind == UPDATE_ENTRY:
            s[P_IN_TS], s[P_IN_PID], s[P_IN_OLD] = ts[i], p, o
            if os & LEAF and ns & TRACKED and not os & TRACKED and same:
                kept = (n >> options[O_SAVED]) & 7
                if kept != (o & 5):
                    _meet(found, count, BAD_SAVE, i, row, where, ts[i], nobody, kept)
        elif kind == UPDATE:
            raced = s[P_IN_TS] != 0 and s[P_IN_PID] == p and s[P_FAST_TS] > s[P_IN_TS] and s[P_FAST_PID] != p
            # mmu_spte_update() asks for a flush where an MMU-writable SPTE ends up without W, by what it really replaced.
            raced = raced and s[P_FAST_OLD] == s[P_IN_OLD] and s[P_IN_OLD] != n
            if raced and options[O_UPDATE_FLUSHES] and slots[i, 2] == 0 and ns & LEAF and ns & M and not ns & W:
                _meet(found, count, LOST_IN_UPDATE, i, row, (gfn, level, s[P_IN_OLD], n, slots[i, 0]), s[P_IN_TS],
                      (s[P_FAST_TS], s[P_FAST_CPU], s[P_FAST_PID]), 0)  # fmt: skip
            s[P_IN_TS] = 0
        elif kind == FAST:
            seen[2] += 1
            if not fixed[r]:
                continue
            seen[3] += 1
            write = slots[i, 2] & 2
            since = task[T_FAULT] if task[T_FAULT] != 0 else ts[i]
            if write and not os & W and not (os & M and os & H):
                _meet(found, count, NOT_WRITABLE, i, row, where, ts[i], nobody, os)
            e = places[number(place_keys, place_numbers, place_count, place_key(v, 0, level, gfn))]
            if os & LARGE and write and not os & W and not os & TRACKED:
                if options[O_NO_LARGE]:
                    _meet(found, count, LARGE_LOGGED, i, row, where, ts[i], nobody, 1)
                elif s[P_SEEN] != 0 and e[L_LOGGED_TS] != 0 and memory_ts[0] != 0 and memory_ts[0] < e[L_LOGGED_TS]:
                    _meet(found, count, LARGE_LOGGED, i, row, where, e[L_LOGGED_TS], nobody, 0)
            stale = v != 0 and vms[v, V_UNSHADOWED] > page[S_TS]
            elsewhere = s[P_SEEN] != 0 and slots[i, 1] >> 12 != gfn
            if (page[S_KIND] == INDIRECT and (not stale or elsewhere)) or (page[S_KIND] == INDIRECT_BY_INDEX and elsewhere):
                _meet(found, count, INDIRECT_FIXED, i, row, where, page[S_TS], nobody, page[S_KIND])
            moved = s[P_SEEN] != 0 and s[P_MOVED_TS] > since and s[P_MOVED_PID] != p
            if moved and (s[P_VALUE] & PFN) == (o & PFN):
                _meet(found, count, ABA, i, row, where, since, (s[P_MOVED_TS], s[P_MOVED_CPU], s[P_MOVED_PID]),
                      s[P_WAS_GFN] if task[T_DIRTY] == s[P_WAS_GFN] or task[T_DIRTY] < 0 else -1)  # fmt: skip
            if os & TRACKED and ns & LEAF and not ns & TRACKED and same:
                kept = (o >> options[O_SAVED]) & 5
                busy = max(e[L_TS], e[L_FAST_TS])
                alone = max(s[P_FAST_TS], max(s[P_TS], busy)) + options[O_NOISE] < since
                if (n & 5) != kept and alone:
                    _meet(found, count, BAD_RESTORE, i, row, where, since, nobody, kept)
                    s[P_DOUBTFUL] = count[0]
                elif ns & W and not write and alone:
                    _meet(found, count, W_ON_READ, i, row, where, since, nobody, kept)
                    s[P_DOUBTFUL] = count[0]
            s[P_FAST_TS], s[P_FAST_PID], s[P_FAST_CPU], s[P_FAST_OLD] = ts[i], p, cpu[i], o
            # The event comes after the cmpxchg, maybe long after: a change in between would look as if it came before.
            began = task[T_FAULT] if task[T_FAULT] != 0 else ts[i] - options[O_NOISE]
            if level > 0 and (e[L_TS] == 0 or e[L_TS] + options[O_SLACK] < began):
                e[L_DOUBTFUL] = s[P_DOUBTFUL]
                e[L_FAST_TS], e[L_FAST_CPU], e[L_FAST_PID], e[L_FAST_OLD] = ts[i], cpu[i], p, o
