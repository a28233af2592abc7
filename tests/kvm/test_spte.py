"""SPTE layouts: the bit patterns of each kernel generation, and finding the generation from values."""

from __future__ import annotations

import numpy as np
import pytest

from lockscope.kvm import spte
from lockscope.kvm.spte_layouts import LAYOUTS

# NPT values of a 6.12 recording: a leaf, the same write-protected for dirty logging, a page table
LEAF, PROTECTED, TABLE = 0x104FB8E67, 0x104FB8E65, 0x105660827
EPT_2M, EPT_2M_HOST_READ_ONLY = 0x860000025E000BF7, 0x800000025E0009F5


def lay(name: str):
    found = spte.layout_named(name)
    assert found is not None
    return found


def v(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def test_npt_leaf_and_its_write_protected_form():
    npt = lay("npt-6.12")
    assert spte.is_present(v(LEAF, PROTECTED, TABLE, 1 << 63), npt).tolist() == [True, True, True, False]
    assert spte.is_writable(v(LEAF, PROTECTED), npt).tolist() == [True, False]
    assert spte.is_mmu_writable(v(LEAF, PROTECTED, TABLE), npt).tolist() == [True, True, False]
    assert spte.is_host_writable(v(LEAF, TABLE), npt).tolist() == [True, False]
    assert spte.is_accessed(v(LEAF), npt).tolist() == [True]
    assert spte.is_dirty(v(LEAF, TABLE), npt).tolist() == [True, False]
    assert spte.pfn(v(LEAF)).tolist() == [0x104FB8]
    assert spte.is_leaf(v(LEAF, TABLE, TABLE), npt, np.array([1, 2, 1])).tolist() == [True, False, True]


def test_ept_keeps_all_64_bits():
    ept = lay("ept-6.12")
    values = v(EPT_2M, EPT_2M_HOST_READ_ONLY)
    assert spte.is_leaf(values, ept, 2).tolist() == [True, True]
    assert spte.is_writable(values, ept).tolist() == [True, False]
    assert spte.is_host_writable(values, ept).tolist() == [True, False]
    assert spte.is_mmu_writable(values, ept).tolist() == [True, False]
    assert spte.pfn(values).tolist() == [0x25E000, 0x25E000]


@pytest.mark.parametrize(
    ("name", "h", "m"),
    [("npt-4.14", 10, 11), ("ept-4.14", 10, 11), ("npt-5.10", 10, 11), ("ept-5.12", 10, 11), ("npt-5.15", 9, 10),
     ("ept-5.13", 57, 58), ("ept-6.12", 57, 58), ("ept-7.1", 57, 58), ("ept-7.2", 53, 55), ("npt-7.3", 9, 10)],
)  # fmt: skip
def test_host_and_mmu_writable_moved(name, h, m):
    layout = lay(name)
    present = 1 | (1 << 11 if layout.present else 0)
    both = v(present | 1 << h | 1 << m, present | 1 << h, present)
    assert spte.is_host_writable(both, layout).tolist() == [True, True, False]
    assert spte.is_mmu_writable(both, layout).tolist() == [True, False, False]


def test_before_5_13_mmu_writable_needs_host_writable():
    layout = lay("npt-4.14")
    assert spte.is_mmu_writable(v(1 | 1 << 11), layout).tolist() == [False]


@pytest.mark.parametrize(
    ("name", "initial", "frozen"),
    [("npt-5.10", 0, None), ("npt-5.12", 0, 1 << 59), ("npt-6.1", 0, 0x5A0), ("ept-6.12", 1 << 63, 0x80000000000005A0),
     ("npt-7.1", 1 << 63, 0x80000000000005A0), ("npt-7.3", 1 << 63, 0x80000000000001A0),
     ("ept-7.2", 1 << 63, 0x80000000000001A0)],
)  # fmt: skip
def test_values_of_nothing(name, initial, frozen):
    layout = lay(name)
    assert spte.is_initial(v(initial), layout).tolist() == [True]
    assert spte.is_present(v(initial), layout).tolist() == [False]
    if frozen is None:
        assert not layout.frozen
    else:
        assert spte.is_frozen(v(frozen, initial), layout).tolist() == [True, False]
        assert spte.is_present(v(frozen), layout).tolist() == [False]
        assert spte.is_mmio(v(frozen), layout).tolist() == [False]


@pytest.mark.parametrize(
    ("name", "value"),
    [("ept-4.14", 1 << 62 | 0xFEE00 << 12 | 6), ("npt-4.14", 1 << 62 | 1 << 51 | 0xFEE00 << 12 | 1),
     ("ept-5.10", 3 << 52 | 0xFEE00 << 12 | 6), ("ept-6.1", 1 << 60 | 0xFEE00 << 12 | 6 | 0x7F8),
     ("npt-6.12", 1 << 51 | 0xFEE00 << 12 | 1 | 0x7F8), ("ept-6.12", 0xFEE00 << 12 | 6),
     ("ept-7.3", 1 << 53 | 1 << 60 | 0xFEE00 << 12 | 6 | 0x3F8)],
)  # fmt: skip
def test_mmio(name, value):
    assert spte.is_mmio(v(value), lay(name)).tolist() == [True]
    assert spte.is_present(v(value), lay(name)).tolist() == [False]


@pytest.mark.parametrize(
    ("name", "tag", "saved"),
    [("ept-4.14", 1 << 62, 52), ("ept-5.10", 1 << 52, 54), ("ept-6.12", 1 << 52 | 1 << 11, 54)],
)
def test_access_tracking(name, tag, saved):
    layout = lay(name)
    tracked = tag | 0x25E000 << 12 | 0b101 << saved
    assert spte.is_access_tracked(v(tracked, tracked | 1), layout).tolist() == [True, False]
    assert spte.is_present(v(tracked), layout).tolist() == [True]
    assert spte.saved_access(v(tracked, tag | 1 << saved), layout).tolist() == [0b101, 0b001]
    assert spte.is_accessed(v(tracked, tracked | 1), layout).tolist() == [False, True]


EPT73 = 1 << 63 | 1 << 55 | 1 << 53 | 0x25E000 << 12 | 1 << 11 | 1 << 10 | 1 << 8 | 6 << 3 | 7
EPT73_NO_AD = 1 << 60 | EPT73
EPT73_TRACKED = (EPT73_NO_AD & ~(7 | 1 << 10 | 1 << 8)) | 1 << 52 | 1 << 54 | 1 << 62
EPT73_TABLE = 1 << 63 | 0x25F000 << 12 | 1 << 11 | 1 << 10 | 1 << 8 | 7


def test_ept_of_7_2_keeps_r_x_and_xu_in_bits_52_54_and_62():
    """arch/x86/kvm/mmu/spte.h of 7.3.4: the saved bits lie around the host-writable one."""
    ept = lay("ept-7.3")
    values = v(EPT73, EPT73_NO_AD, EPT73_TRACKED)
    assert spte.misfits(values, ept) == 0
    assert spte.is_ad_disabled(values, ept).tolist() == [False, True, True]
    assert spte.is_access_tracked(values, ept).tolist() == [False, False, True]
    assert spte.is_access_tracked(v(EPT73_TRACKED | 1 << 10), ept).tolist() == [False]  # XU is a permission too
    assert spte.saved_access(values, ept).tolist() == [0, 0, 1 << 10 | 5]
    assert spte.is_host_writable(values, ept).tolist() == [True, True, True]


@pytest.mark.parametrize(("name", "accessed"), [("ept-6.12", [True, False]), ("ept-6.13", [False, True])])
def test_the_accessed_bit_is_kept_by_software_from_6_13_on(name, accessed):
    """c59de1413391: is_accessed_spte() is the A bit, whether or not the CPU sets it."""
    readable = 1 << 52 | 1 << 11 | 0x25E000 << 12
    assert spte.is_accessed(v(readable | 1, readable | 1 << 8), lay(name)).tolist() == accessed


@pytest.mark.parametrize("kernel", ["7.3.4+deb13-amd64", "6.12.117", None])
def test_values_of_7_3_are_no_older_ones(kernel):
    found = spte.find_layout(kernel, v(EPT73, EPT73 & ~2, EPT73_NO_AD, EPT73_TRACKED, EPT73_TABLE, 1 << 63), 1)
    assert (found.layout.name, found.doubt) == ("ept-7.2", "")
    found = spte.find_layout("7.3.4", v(EPT_2M, EPT_2M_HOST_READ_ONLY), 1)
    assert found.layout.name == "ept-6.13"  # a distribution may keep the old MMU


def test_the_frozen_value_tells_npt_generations_apart():
    assert spte.find_layout(None, v(LEAF, 0x80000000000001A0), 2).layout.name == "npt-7.2"
    assert spte.find_layout("7.3.4", v(LEAF, 0x80000000000005A0), 2).layout.name == "npt-6.10"
    assert spte.find_layout("7.3.4", v(LEAF), 2).layout.name == "npt-7.2"


def test_a_layout_that_most_values_do_not_fit_is_in_doubt():
    moved = [EPT73 ^ n << 12 ^ 1 << 55 ^ 1 << 56 for n in range(6)]  # MMU-writable where no release has it
    found = spte.find_layout("7.9.1", v(*moved, EPT73_TABLE), 1)
    assert "1 of 7 values fit" in found.doubt
    assert spte.find_layout("7.3.4", v(*moved[:2], *(EPT73 ^ n << 12 for n in range(6))), 1).doubt == ""


def test_bits_at_odds_are_a_bug_and_no_other_layout():
    """A writable SPTE that is not MMU-writable is what LS304 looks for: it fits no layout, and is no doubt of one."""
    assert spte.find_layout("6.12.1", v(LEAF, LEAF & ~(1 << 10)), 2).doubt == ""


def test_npt_is_never_access_tracked():
    assert spte.is_access_tracked(v(1 << 11, 1 << 52 | 1 << 11), lay("npt-6.12")).tolist() == [False, False]


def test_values_decide_the_layout_not_the_version_string():
    found = spte.find_layout("4.18.0-553.el8", v(LEAF, PROTECTED, TABLE, 0), None)
    assert found.layout.name == "npt-5.13"
    found = spte.find_layout("5.10.0", v(LEAF, TABLE, 1 << 63, 0x80000000000005A0), 2)
    assert found.layout.name == "npt-6.10"


def test_version_and_isa_break_ties():
    assert spte.find_layout("6.1.0-18", v(LEAF, TABLE), 2).layout.name == "npt-5.13"
    assert spte.find_layout("6.12.3", v(LEAF, TABLE), 2).layout.name == "npt-6.10"
    assert spte.find_layout("4.14.336", v(), 1).layout.name == "ept-4.14"
    assert spte.find_layout(None, v(EPT_2M, EPT_2M_HOST_READ_ONLY), None).layout.name == "ept-6.13"
    assert spte.find_layout("5.15.0", v(EPT_2M), 1).layout.name == "ept-5.13"


def test_shadow_paging_on_vmx_is_found_by_its_values():
    assert spte.find_layout("6.12.1", v(LEAF, PROTECTED, TABLE, 1 << 63), 1).layout.name == "npt-6.10"


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda one: one.name)
def test_decode_never_fails(layout):
    for value in (0, 1, 0x5A0, 1 << 63, (1 << 64) - 1, LEAF, EPT_2M, 6):
        for level in (None, 1, 2, 5):
            words = spte.decode(value, layout, level)
            assert words
            assert all(isinstance(word, str) for word in words)


def test_decode_words():
    assert spte.decode(PROTECTED, lay("npt-6.12"), 1) == [
        "present", "leaf", "pfn 0x104fb8", "P-X", "host-writable", "MMU-writable", "user", "accessed", "dirty",
    ]  # fmt: skip
    assert spte.decode(1 << 63, lay("npt-6.12")) == ["nothing mapped"]
    assert spte.decode(0x80000000000005A0, lay("ept-6.12")) == ["frozen: a change is under way"]
    tracked = 1 << 52 | 1 << 11 | 0x25E000 << 12 | 1 << 54
    assert spte.decode(tracked, lay("ept-6.12"), 1)[-2:] == ["access-tracked, saved R-", "memory type 0"]


def test_decode_words_of_7_3():
    assert spte.decode(EPT73_TRACKED, lay("ept-7.3"), 1)[-2:] == ["access-tracked, saved RXU", "memory type 6"]
    assert "executable in supervisor mode only" in spte.decode(EPT73 & ~(1 << 10), lay("ept-7.3"), 1)
    assert spte.decode(0x80000000000001A0, lay("npt-7.3")) == ["frozen: a change is under way"]


def test_unknown_layout_names():
    assert spte.layout_named("ept") is None
    assert spte.layout_named("arm-6.1") is None
    assert lay("shadow-6.12") is lay("npt-6.10")
    assert lay("pae-4.19").name == "npt-4.14"


@pytest.mark.parametrize(
    ("kernel", "values", "told"),
    [
        ("7.3.4", v(LEAF), "npt-7.2 (NPT, shadow and PAE, 7.2 and later): 1 of 1 values fit; by kernel 7.3.4; isa 2"),
        (
            "6.12.1",
            v(LEAF, 0x80000000000005A0),
            "npt-6.10 (NPT, shadow and PAE, 6.10 to 7.1): 2 of 2 values fit; isa 2",
        ),
        ("7.3.4", v(), "no SPTE in the trace"),
        (
            "7.9.1",
            v(EPT73 ^ 1 << 55 ^ 1 << 56, EPT73 ^ 3 << 55 ^ 1 << 12),
            "none that is known (npt-7.2 is the nearest: 0 of 2 values fit; by kernel 7.9.1; isa 2)",
        ),
    ],
)
def test_the_layout_is_told_in_one_line(kernel: str, values: np.ndarray, told: str) -> None:
    assert spte.find_layout(kernel, values, 2).told == told
