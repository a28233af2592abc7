"""Where KVM keeps what in an SPTE: by kernel version and kind of MMU.

Each number is from that version's source: arch/x86/kvm/mmu.c (v4.14), arch/x86/kvm/mmu/spte.h and spte.c (v5.10, v5.12,
v5.15, v6.1, v6.12, v7.3.4), arch/x86/include/asm/vmx.h for EPT; of what came between 6.12 and 7.2, from the commits and
merge messages named below. SVM's nested paging and shadow paging share one layout: the
masks that ``kvm_mmu_reset_all_pte_masks()`` sets, which only ``kvm_mmu_set_ept_masks()`` replaces; PAE shadow pages
hold the same 64-bit entries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


def _bit(*numbers: int) -> int:
    return sum(1 << n for n in numbers)


def _span(low: int, high: int) -> int:
    return ((1 << (high - low + 1)) - 1) << low


WRITABLE = _bit(1)  # PT_WRITABLE_MASK, VMX_EPT_WRITABLE_MASK
LARGE = _bit(7)  # PT_PAGE_SIZE_MASK
PFN = _span(12, 51)  # PT64_BASE_ADDR_MASK


@dataclass(frozen=True, slots=True)
class Layout:
    """Masks of one generation of one kind. 0 where the generation has no such bit.

    ``present``: a bit that says so, or 0 for "not zero and not MMIO". ``ad_mask``: what tells whether the CPU keeps A/D
    bits for this SPTE; ``ad_disabled`` its value where it does not. ``track``: the permission bits that access tracking
    clears, ``saved_bits`` those of them that it keeps, shifted left by ``saved``; ``saved_mask`` is ``saved_bits`` with
    W where the place to which W would go has no other meaning. ``software_accessed``: the A bit tells whether a page
    was accessed also where the CPU does not set it. MMIO: ``value & mmio_mask == mmio_value``. ``known``: every bit
    that a present SPTE may have.
    """

    name: str
    since: tuple[int, int]  # first kernel version
    title: str
    ept: bool
    readable: int
    executable: int  # 0: see no_execute
    no_execute: int
    user: int
    accessed: int
    dirty: int
    host_writable: int
    mmu_writable: int
    present: int
    ad_mask: int
    ad_disabled: int
    ad_write_protect: int
    track: int
    saved: int
    saved_bits: int
    saved_mask: int
    mmio_mask: int
    mmio_value: int
    initial: int
    frozen: int  # 0: the generation has none
    known: int
    user_executable: int = 0  # EPT with mode-based execute control: executable by the guest's user mode
    software_accessed: bool = False


_EPT_BITS = _span(0, 9) | PFN | _bit(63)  # RWX, memory type, IPAT, large, A, D; suppress #VE
_NPT_BITS = _span(0, 8) | PFN | _bit(63)  # P W U PWT PCD A D large G; NX

# v4.14 mmu.c: SPTE_SPECIAL_MASK is bit 62, PT_FIRST_AVAIL_BITS_SHIFT 10, PT64_SECOND_AVAIL_BITS_SHIFT 52.
_EPT_414 = Layout(
    "ept-4.14", (4, 11), "EPT, 4.11 to 5.3", ept=True, readable=_bit(0), executable=_bit(2), no_execute=0, user=0,
    accessed=_bit(8), dirty=_bit(9), host_writable=_bit(10), mmu_writable=_bit(11), present=0,
    ad_mask=_bit(62), ad_disabled=_bit(62), ad_write_protect=0, track=_bit(0, 1, 2), saved=52,
    saved_bits=_bit(0, 2), saved_mask=_bit(0, 1, 2),
    mmio_mask=_bit(62, 2, 1, 0), mmio_value=_bit(62, 2, 1), initial=0, frozen=0,
    known=_EPT_BITS | _bit(10, 11, 52, 54, 62),
)  # fmt: skip
_NPT_414 = Layout(
    "npt-4.14", (4, 11), "NPT, shadow and PAE, 4.11 to 5.3", ept=False, readable=_bit(0), executable=0,
    no_execute=_bit(63), user=_bit(2), accessed=_bit(5), dirty=_bit(6), host_writable=_bit(10), mmu_writable=_bit(11),
    present=0, ad_mask=0, ad_disabled=0, ad_write_protect=0, track=0, saved=52,
    saved_bits=0, saved_mask=0,
    mmio_mask=_bit(62, 0), mmio_value=_bit(62, 0), initial=0, frozen=0, known=_NPT_BITS | _bit(10, 11),
)  # fmt: skip

# 6eeb4ef049e7 (KVM: x86: assign two bits to track SPTE kinds), v5.4: bits 53:52; the second available bits from 54.
_SPECIAL = _bit(52, 53)
_EPT_54 = replace(
    _EPT_414, name="ept-5.10", since=(5, 4), title="EPT, 5.4 to 5.11", ad_mask=_SPECIAL, ad_disabled=_bit(52),
    ad_write_protect=_bit(53), saved=54, mmio_mask=_SPECIAL, mmio_value=_SPECIAL,
    known=_EPT_BITS | _bit(10, 11, 52, 53, 54, 56),
)  # fmt: skip
_NPT_54 = replace(
    _NPT_414, name="npt-5.10", since=(5, 4), title="NPT, shadow and PAE, 5.4 to 5.11",
    mmio_mask=_SPECIAL, mmio_value=_SPECIAL, saved=54,
)  # fmt: skip

# v5.12: REMOVED_SPTE, for faults that run under mmu_lock held for read.
_EPT_512 = replace(_EPT_54, name="ept-5.12", since=(5, 12), title="EPT, 5.12", frozen=_bit(59))
_NPT_512 = replace(_NPT_54, name="npt-5.12", since=(5, 12), title="NPT, shadow and PAE, 5.12", frozen=_bit(59))

# v5.13: SPTE_MMU_PRESENT_MASK, {DEFAULT,EPT}_SPTE_{HOST,MMU}_WRITABLE, REMOVED_SPTE 0x5a0.
_EPT_513 = replace(
    _EPT_512, name="ept-5.13", since=(5, 13), title="EPT, 5.13 to 6.9", host_writable=_bit(57), mmu_writable=_bit(58),
    present=_bit(11), mmio_mask=_bit(0, 1, 2), mmio_value=_bit(1, 2), frozen=0x5A0,
    known=_EPT_BITS | _bit(11, 52, 53, 54, 56, 57, 58),
)  # fmt: skip
_NPT_513 = replace(
    _NPT_512, name="npt-5.13", since=(5, 13), title="NPT, shadow and PAE, 5.13 to 6.9", host_writable=_bit(9),
    mmu_writable=_bit(10), present=_bit(11), mmio_mask=_bit(0), mmio_value=_bit(0), frozen=0x5A0,
    known=_NPT_BITS | _bit(9, 10, 11),
)  # fmt: skip

# v6.10: SHADOW_NONPRESENT_VALUE is bit 63 on x86-64 (suppress #VE), and part of the frozen value.
_EPT_610 = replace(
    _EPT_513, name="ept-6.10", since=(6, 10), title="EPT, 6.10 to 6.12", mmio_mask=_bit(63, 0, 1, 2),
    initial=_bit(63), frozen=_bit(63) | 0x5A0,
)  # fmt: skip
_NPT_610 = replace(
    _NPT_513, name="npt-6.10", since=(6, 10), title="NPT, shadow and PAE, 6.10 to 7.1",
    initial=_bit(63), frozen=_bit(63) | 0x5A0,
)  # fmt: skip

# v6.13 (merge c59de1413391, "KVM x86 MMU changes for 6.13"): where EPT has no A and D bits the same bits are kept by
# software: is_accessed_spte() is the A bit, and mark_spte_for_access_track() clears it with R, W and X.
_EPT_613 = replace(_EPT_610, name="ept-6.13", since=(6, 13), title="EPT, 6.13 to 7.1", software_accessed=True)

# v7.2: be4e45f360a2 (KVM: x86/mmu: shuffle high bits of SPTEs in preparation for MBEC) and the series it is of, which
# was still under review on top of 7.1-rc2; 6.18.15 has the old bits, 7.2.13 and 7.3.4 the new ones. XU (bit 10) is set
# together with X but for nested guests; the MMIO generation ends at bit 9, and the frozen value lost bit 10.
_EPT_72 = replace(
    _EPT_613, name="ept-7.2", since=(7, 2), title="EPT, 7.2 and later", host_writable=_bit(53), mmu_writable=_bit(55),
    ad_mask=_bit(60, 61), ad_disabled=_bit(60), ad_write_protect=_bit(61), track=_bit(0, 1, 2, 10), saved=52,
    saved_bits=_bit(0, 2, 10), saved_mask=_bit(0, 2, 10),  # 52 + 1 is host-writable: a saved W would not show
    frozen=_bit(63) | 0x1A0, user_executable=_bit(10),
    known=_EPT_BITS | _bit(10, 11, 52, 53, 54, 55, 60, 61, 62),
)  # fmt: skip
_NPT_72 = replace(
    _NPT_610, name="npt-7.2", since=(7, 2), title="NPT, shadow and PAE, 7.2 and later", frozen=_bit(63) | 0x1A0,
)  # fmt: skip

LAYOUTS: tuple[Layout, ...] = (
    _EPT_414, _NPT_414, _EPT_54, _NPT_54, _EPT_512, _NPT_512, _EPT_513, _NPT_513, _EPT_610, _NPT_610, _EPT_613,
    _EPT_72, _NPT_72,
)  # fmt: skip
