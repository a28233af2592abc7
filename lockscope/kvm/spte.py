"""What an SPTE says: predicates over arrays of 64-bit values, and the same in words.

All functions take ``uint64`` arrays (a number works too) and a ``Layout``; none goes through float or a signed compare.
The words are those of arch/x86/kvm/mmu/spte.h.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockscope.kvm.spte_layouts import LARGE, LAYOUTS, PFN, WRITABLE, Layout

Values = NDArray[np.uint64]
Flags = NDArray[np.bool_]


def _u(value: int) -> np.uint64:
    return np.uint64(value)


def _flags(answers: Any) -> Flags:
    return np.asarray(answers, np.bool_)


def _has(values: Values, mask: int) -> Flags:
    return _flags((values & _u(mask)) != 0)


def _are(values: Values, mask: int, wanted: int) -> Flags:
    return _flags((values & _u(mask)) == _u(wanted))


_ALL = (1 << 64) - 1
_NO_SPTE = "no SPTE in the trace"


def is_initial(values: Values, layout: Layout) -> Flags:
    """Nothing was ever there, or it was zapped."""
    return _are(values, _ALL, layout.initial)


def is_frozen(values: Values, layout: Layout) -> Flags:
    """In the middle of a change by a task that holds ``mmu_lock`` for read (REMOVED_SPTE, since 6.10 FROZEN_SPTE)."""
    return _are(values, _ALL, layout.frozen) & bool(layout.frozen)


def is_mmio(values: Values, layout: Layout) -> Flags:
    """Stands for a gfn without memory behind it."""
    hit = _are(values, layout.mmio_mask, layout.mmio_value)
    if layout.present:
        hit &= ~_has(values, layout.present)
    return hit & ~is_frozen(values, layout) & ~is_initial(values, layout)


def is_present(values: Values, layout: Layout) -> Flags:
    """``is_shadow_present_pte()``: backed by memory or by a page table, if not present to the hardware."""
    if layout.present:
        return _has(values, layout.present)
    return _has(values, _ALL) & ~is_mmio(values, layout) & ~is_frozen(values, layout)


def is_leaf(values: Values, layout: Layout, level: NDArray[np.int64] | int) -> Flags:
    """``is_last_spte()`` of a present one: maps memory, not a page table."""
    return is_present(values, layout) & _flags((np.asarray(level) == 1) | _has(values, LARGE))


def is_writable(values: Values, layout: Layout) -> Flags:
    """Present, and the hardware lets the guest write."""
    return is_present(values, layout) & _has(values, WRITABLE)


def is_host_writable(values: Values, layout: Layout) -> Flags:
    """The host's mapping lets the guest write."""
    return is_present(values, layout) & _has(values, layout.host_writable)


def is_mmu_writable(values: Values, layout: Layout) -> Flags:
    """The fast page fault path may set W: ``is_mmu_writable_spte()``, before 5.13 both bits together."""
    both = layout.mmu_writable | (0 if layout.present else layout.host_writable)
    return is_present(values, layout) & _are(values, both, both)


def is_ad_disabled(values: Values, layout: Layout) -> Flags:
    """The CPU keeps no A and D bits for it."""
    return is_present(values, layout) & _are(values, layout.ad_mask, layout.ad_disabled) & bool(layout.ad_mask)


def is_access_tracked(values: Values, layout: Layout) -> Flags:
    """Its permissions are taken away so that the next access faults; R and X are kept in ignored bits."""
    return is_ad_disabled(values, layout) & ~_has(values, layout.track) & bool(layout.track)


def is_accessed(values: Values, layout: Layout) -> Flags:
    """``is_accessed_spte()``."""
    set_ = _has(values, layout.accessed)
    if layout.software_accessed:
        return is_present(values, layout) & set_
    off = is_ad_disabled(values, layout)
    return is_present(values, layout) & np.where(off, ~is_access_tracked(values, layout), set_)


def is_dirty(values: Values, layout: Layout) -> Flags:
    """``is_dirty_spte()``: where no D bit is kept, W stands for it."""
    off = is_ad_disabled(values, layout)
    return is_present(values, layout) & np.where(off, _has(values, WRITABLE), _has(values, layout.dirty))


def pfn(values: Values) -> NDArray[np.uint64]:
    """The page frame, with an encryption bit if the host sets one."""
    return (values & _u(PFN)) >> _u(12)


def saved_access(values: Values, layout: Layout) -> NDArray[np.uint64]:
    """R (bit 0), X (bit 2) and XU (bit 10) as access tracking saved them."""
    return (values >> _u(layout.saved)) & _u(layout.saved_bits)


class Found(NamedTuple):
    """A layout, and why this one. ``doubt``: why it is no ground for a verdict, "" where it is one."""

    layout: Layout
    why: str
    doubt: str = ""

    @property
    def told(self) -> str:
        """In one line: the layout and how many values fit it, or that none is known that they do."""
        if self.doubt:
            return f"none that is known ({self.layout.name} is the nearest: {self.why})"
        return _NO_SPTE if self.why.startswith(_NO_SPTE) else f"{self.layout.name} ({self.layout.title}): {self.why}"


def version(kernel: str | None) -> tuple[int, int] | None:
    """``6.12.117-amd64`` -> (6, 12)."""
    match = re.match(r"(\d+)\.(\d+)", kernel or "")
    return (int(match[1]), int(match[2])) if match else None


def _foreign(values: Values, layout: Layout) -> Flags:
    """Which values have bits that this layout does not know, or stand for nothing that it knows."""
    present = is_present(values, layout)
    absent = ~present & ~is_initial(values, layout) & ~is_frozen(values, layout) & ~is_mmio(values, layout)
    known = layout.known | (layout.saved_mask << layout.saved)  # a W that should not have been saved is a bug
    return (present & _has(values, ~known & _ALL)) | absent


def _at_odds(values: Values, layout: Layout) -> Flags:
    """Which values have W, MMU- and host-writable, what was saved, or what the hardware reads, at odds."""
    present = is_present(values, layout)
    h, m, w = (_has(values, bits) for bits in (layout.host_writable, layout.mmu_writable, WRITABLE))
    odd = present & ((m & ~h) | (w & (h ^ m)))  # a page table has neither bit; a leaf with W has both
    # restore_acc_track_spte() clears what mark_spte_for_access_track() saved, and warns of bits that are set before
    odd |= present & _has(values, layout.saved_bits << layout.saved) & ~is_access_tracked(values, layout)
    if layout.ept:
        odd |= present & ~_has(values, layout.readable) & w  # misconfigured: no EPT entry is writable, not readable
        # vmx_get_mt_mask(): where the guest's PAT is ignored, the type is write-back or uncached
        odd |= present & _has(values, 1 << 6) & ~_are(values, 7 << 3, 6 << 3) & ~_are(values, 7 << 3, 0)
    elif not layout.present:
        odd |= present & ~_has(values, layout.readable)
    return odd


def misfits(values: Values, layout: Layout) -> int:
    """How many of the values no SPTE of this layout can have: unknown bits, or W, MMU- and host-writable at odds."""
    return int(np.count_nonzero(_foreign(values, layout) | _at_odds(values, layout)))


def doubts(values: Values, layout: Layout) -> str:
    """Why this layout is no ground for a verdict on these (different) values; "" where it is one.

    Bits that it does not know tell more than bits at odds, which a bug can set; of those it takes more than half.
    """
    foreign, wrong = int(np.count_nonzero(_foreign(values, layout))), misfits(values, layout)
    if 4 * foreign <= len(values) and 2 * wrong <= len(values):
        return ""
    return (
        f"this host's SPTE layout is not known: {len(values) - wrong} of {len(values)} values fit the best that is "
        f"({layout.name}: {layout.title}); 'lockscope spte VALUE' says what fits a value"
    )


def find_layout(kernel: str | None, sample: Values, isa: int | None) -> Found:
    """The layout of a trace, by the values in it; its kernel's version and ``kvm_exit``'s isa only break ties.

    A distribution's 4.18 may have the MMU of 6.x; what a later release has replaced is taken only where nothing newer
    fits. ``sample``: any SPTEs (old and new values); ``isa``: 1 VMX, 2 SVM.
    """
    values = np.unique(np.asarray(sample, np.uint64))
    named = version(kernel)
    wrong = {lay.name: misfits(values, lay) for lay in LAYOUTS}

    def rank(lay: Layout) -> tuple[int, bool, bool, tuple[int, int]]:
        fits_isa = isa is None or lay.ept == (isa == 1)
        too_new = named is not None and lay.since > named
        newest = lay.since if not too_new else (-lay.since[0], -lay.since[1])
        return -wrong[lay.name], fits_isa, not too_new, newest

    best = max((lay for lay in LAYOUTS if not _replaced(lay, named)), key=rank)
    if doubts(values, best):
        best = max(LAYOUTS, key=rank)
    fit = f"{len(values) - wrong[best.name]} of {len(values)} values fit" if len(values) else _NO_SPTE
    alone = sum(1 for n in wrong.values() if n == wrong[best.name]) == 1
    by = "" if alone else f"; by {'kernel ' + kernel if kernel else 'default, newest first'}"
    return Found(best, fit + by + (f"; isa {isa}" if isa else ""), doubts(values, best))


def _replaced(layout: Layout, named: tuple[int, int] | None) -> bool:
    """Whether a kernel of this version has a later layout than this one."""
    later = (lay for lay in LAYOUTS if lay.ept == layout.ept and lay.since > layout.since)
    return named is not None and any(lay.since <= named for lay in later)


def layout_named(name: str) -> Layout | None:
    """A layout by name or a kernel's version: ``ept-6.10``, ``ept-6.12``. ``shadow-`` and ``pae-`` are ``npt-``."""
    kind, _, rest = name.partition("-")
    kind = {"shadow": "npt", "pae": "npt"}.get(kind, kind)
    asked = version(rest)
    fitting = [lay for lay in LAYOUTS if lay.name.startswith(f"{kind}-") and asked and lay.since <= asked]
    return fitting[-1] if fitting else None


def _kind(value: Values, layout: Layout, level: int | None) -> list[str]:
    if is_initial(value, layout)[0] or value[0] == 0:
        return ["nothing mapped"]
    if is_frozen(value, layout)[0]:
        return ["frozen: a change is under way"]
    if is_mmio(value, layout)[0]:
        return ["MMIO", f"access {'W' if value[0] & _u(WRITABLE) else '-'}"]
    if not is_present(value, layout)[0]:
        return ["not present"]
    leaf = bool(is_leaf(value, layout, level or 0)[0]) if level is not None else bool(_has(value, LARGE)[0])
    if leaf:
        return ["present", "leaf" if level in (None, 1) and not _has(value, LARGE)[0] else "large leaf"]
    return ["present", "leaf or page table (level not given)" if level is None else "page table"]


def decode(value: int, layout: Layout, level: int | None = None) -> list[str]:
    """An SPTE in words. ``level``: 1 = 4 KiB; without it a page table cannot be told from a 4 KiB leaf."""
    v = np.array([value & _ALL], np.uint64)
    words = _kind(v, layout, level)
    if words[0] != "present":
        return words
    words.append(f"pfn 0x{int(pfn(v)[0]):x}")
    runs = _has(v, layout.executable)[0] if layout.executable else not _has(v, layout.no_execute)[0]
    allowed = (("R" if layout.ept else "P", _has(v, layout.readable)[0]), ("W", _has(v, WRITABLE)[0]), ("X", runs))
    words.append("".join(letter if there else "-" for letter, there in allowed))
    for mask, yes, no in (
        (layout.host_writable, "host-writable", "not host-writable"),
        (layout.mmu_writable, "MMU-writable", "not MMU-writable"),
        (layout.user, "user", "supervisor"),
    ):
        if mask:
            words.append(yes if _has(v, mask)[0] else no)
    words.append("accessed" if is_accessed(v, layout)[0] else "not accessed")
    words.append("dirty" if is_dirty(v, layout)[0] else "clean")
    if is_ad_disabled(v, layout)[0]:
        words.append("A/D disabled")
    elif layout.ad_write_protect and (v & _u(layout.ad_mask))[0] == _u(layout.ad_write_protect):
        words.append("A/D: write-protect only")
    if is_access_tracked(v, layout)[0]:
        saved = int(saved_access(v, layout)[0])
        user = "" if not layout.user_executable else "U" if saved & layout.user_executable else "-"
        words.append(f"access-tracked, saved {'R' if saved & 1 else '-'}{'X' if saved & 4 else '-'}{user}")
    elif layout.user_executable and _has(v, layout.user_executable)[0] != runs:  # nested, under a guest's own MBEC
        words.append(f"executable in {'supervisor' if runs else 'user'} mode only")
    if layout.ept:
        words.append(f"memory type {int((v[0] >> _u(3)) & _u(7))}{' IPAT' if v[0] & _u(64) else ''}")
    strange = int(v[0]) & ~layout.known & _ALL
    if strange:
        words.append(f"bits unknown to {layout.name}: 0x{strange:x}")
    return words
