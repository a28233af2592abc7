"""Page tables of a VM, and the TLB entries of them that CPUs keep.

A page table entry is a 64-bit value as ``lockscope.kvm.spte_layouts`` describes it; every entry has an address in a
page of its own. A TLB entry is a copy: nothing takes it away but a flush, so that it can outlive what it was copied
from. That is why KVM has to flush, and what the truth of a scenario is told by.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lockscope.kvm.spte_layouts import LARGE, LAYOUTS, WRITABLE, Layout

PAGE_OFFSET = 0xFFFF888000000000
DIRECT = 1 << 7


def layout_named(name: str) -> Layout:
    """A layout by its name."""
    return next(layout for layout in LAYOUTS if layout.name == name)


@dataclass(slots=True)
class Sptes:
    """How a VM's kernel makes and reads SPTEs. ``ad``: whether the CPU keeps A and D bits."""

    layout: Layout
    ad: bool = True

    def leaf(
        self, pfn: int, *, writable: bool, host_writable: bool = True, large: bool = False, execute: bool = True
    ) -> int:
        """A leaf that maps a page: accessed, and dirty where it is writable (make_spte())."""
        lay = self.layout
        value = lay.present | pfn << 12 | lay.readable | lay.user
        if lay.ept:
            value |= (6 << 3) | (1 << 6) | (lay.executable | lay.user_executable if execute else 0)
            value |= lay.initial  # suppress #VE
        if not self.ad:
            value |= lay.ad_disabled | (lay.accessed if lay.software_accessed else 0)
        else:
            value |= lay.accessed | (lay.dirty if writable else 0)
        if host_writable:
            value |= lay.host_writable | lay.mmu_writable
        if large:
            value |= LARGE
        return value | (WRITABLE if writable else 0)

    def table(self, page: int) -> int:
        """An entry that points to a page table."""
        lay = self.layout
        value = lay.present | page | lay.readable | lay.user | WRITABLE | lay.executable | lay.user_executable
        return value | (lay.accessed if not lay.ept else lay.initial)

    def present(self, value: int) -> bool:
        """is_shadow_present_pte()."""
        lay = self.layout
        return bool(value & lay.present) if lay.present else value not in (0, lay.initial)

    def readable(self, value: int) -> bool:
        """Whether the hardware lets the guest read by it."""
        return self.present(value) and bool(value & self.layout.readable)

    def tracked(self, value: int) -> bool:
        """is_access_track_spte()."""
        lay = self.layout
        off = bool(lay.track) and value & lay.ad_mask == lay.ad_disabled
        return off and not value & lay.track and self.present(value)

    def track(self, value: int) -> int:
        """mark_spte_for_access_track(): R, X, XU saved, RWX and XU cleared, and the A bit where software keeps it."""
        lay = self.layout
        gone = lay.track | (lay.accessed if lay.software_accessed else 0)
        return value & ~gone | (value & lay.saved_bits) << lay.saved

    def restore(self, value: int) -> int:
        """restore_acc_track_spte(): what was saved is back, without W; fast_page_fault() sets A where software does."""
        lay = self.layout
        saved = value >> lay.saved & lay.saved_bits
        young = lay.accessed if lay.software_accessed else 0
        return value & ~(lay.saved_bits << lay.saved) & ~lay.track | saved | young


@dataclass(slots=True)
class Tables:
    """Page tables of a VM under one root: entries by (level, gfn), pages of entries by (level, gfn of their first).

    ``role``: of the pages, for the events that show it. ``indirect``: pages shadow the guest's own page tables, and
    entries are by what the guest calls the page.
    """

    first_page: int
    role: int = DIRECT
    entries: dict[tuple[int, int], int] = field(default_factory=dict)
    pages: dict[tuple[int, int], int] = field(default_factory=dict)
    valid: bool = True

    def page_of(self, level: int, gfn: int) -> tuple[int, bool]:
        """The physical address of the page that holds an entry, and whether it had to be made."""
        key = level, gfn >> 9 * level
        page = self.pages.get(key)
        if page is not None:
            return page, False
        page = self.first_page + (len(self.pages) << 12)
        self.pages[key] = page
        return page, True

    def sptep(self, level: int, gfn: int) -> int:
        """The physical address of an entry."""
        return self.page_of(level, gfn)[0] + 8 * (gfn >> 9 * (level - 1) & 511)
