"""SPTE layouts of later kernels in the checks, and values that fit no layout that is known."""

from __future__ import annotations

import pytest

from lockscope.results.findings import Status, Verdict
from tests.builders.kvm import CLEAR_LOG, NONE, PAGE, KvmScript

SPTEP = 0x10565BC00
SPTE_CHECKS = ("LS301", "LS302", "LS303", "LS304", "LS305", "LS306", "LS307")
# EPT of 7.2 and later: RWX and XU, write-back, present, host-writable 53, MMU-writable 55; A/D type 60:61.
H, M, XU, A, NO_AD = 1 << 53, 1 << 55, 1 << 10, 1 << 8, 1 << 60
RW = 1 << 63 | M | H | 0x104FB8 << 12 | 1 << 11 | XU | A | 6 << 3 | 7
RO, SHADOWED = RW & ~2, RW & ~2 & ~M
PLAIN = NO_AD | RW
TRACKED = (PLAIN & ~(7 | XU | A)) | 1 << 52 | 1 << 54 | 1 << 62  # R, X and XU saved


def changed(old: int, new: int, *, kernel: str = "7.3.4", fill: int = 8) -> KvmScript:
    """A vCPU maps some pages as ``old`` is, and one of them changes to ``new`` under mmu_lock."""
    script = KvmScript(kernel)
    script.vcpu.leave()
    with script.vcpu.srcu(), script.vcpu.mmu_lock(read=True):
        for gfn in range(0x180, 0x180 + fill):
            value = old + (gfn - 0x180) * PAGE
            script.vcpu.spte(gfn, NONE, value).set_spte(gfn, value, SPTEP + 8 * (gfn - 0x180))
    script.vcpu.enter()
    script.at(script.now + 100_000_000)
    with script.qemu.mmu_lock():
        script.qemu.spte(0x180, old, new)
    return script


@pytest.mark.parametrize("code", SPTE_CHECKS)
def test_values_of_no_known_layout_are_no_ground_for_a_verdict(code):
    """MMU-writable in bit 56: of no release. Whatever the checks would read there, they say that they cannot."""
    strange = RW ^ M ^ 1 << 56
    script = changed(strange, strange & ~2)
    script.vcpu.leave().fault(0x181).fast(0x181, strange + PAGE, strange + PAGE, SPTEP + 8)
    (run,), found = script.judged(code)
    assert (run.status, run.verdict, found) == (Status.SKIPPED, Verdict.UNKNOWN, [])
    assert "this host's SPTE layout is not known: 1 of 10 values fit" in (run.reason or "")


def test_write_protection_of_7_3_is_a_debt():
    script = KvmScript("7.3.4")
    with script.qemu.ioctl(CLEAR_LOG), script.qemu.slots_lock(), script.qemu.mmu_lock():
        for gfn in range(0x180, 0x190):
            script.qemu.spte(gfn, RW + gfn * PAGE, RO + gfn * PAGE)
    script.vcpu.enter()
    assert script.loud() == ["LS301"]


@pytest.mark.parametrize(("old", "codes"), [(SHADOWED, ["LS304"]), (RO, [])])
def test_the_fast_path_asks_bits_53_and_55(old, codes):
    script = changed(old, old & ~A)
    script.vcpu.leave().fault(0x181).fast(0x181, old + PAGE, RW + PAGE, SPTEP + 8)
    assert script.loud("LS304") == codes


@pytest.mark.parametrize(
    ("new", "codes"),
    [(TRACKED, []), (TRACKED & ~(1 << 54), ["LS307"]), (TRACKED & ~(1 << 62), ["LS307"]),
     (TRACKED & ~(1 << 52), ["LS307"])],
)  # fmt: skip
def test_what_access_tracking_saves(new, codes):
    """R to bit 52, X to 54, XU to 62; bit 53 is host-writable and says nothing of W."""
    assert changed(PLAIN, new).loud("LS307") == codes


@pytest.mark.parametrize(
    ("new", "codes"),
    [(PLAIN & ~2, []), (PLAIN & ~2 & ~XU, ["LS307"]), (PLAIN & ~6, ["LS307"]), (PLAIN, ["LS307"])],
)
def test_what_access_tracking_gives_back(new, codes):
    script = changed(PLAIN, TRACKED)
    script.at(script.now + 100_000_000)
    script.vcpu.leave().fault(0x180).fast(0x180, TRACKED, new, SPTEP, write=False)
    assert script.loud("LS307") == codes


@pytest.mark.parametrize(("new", "codes"), [(TRACKED, []), (RW & ~A, []), (NONE, ["LS303"]), (RO, ["LS303"])])
def test_aging_without_mmu_lock(new, codes):
    """KVM_MMU_LOCKLESS_AGING: A cleared, or access tracking, which clears XU and the A bit of software as well."""
    script = changed(PLAIN if new == TRACKED else RW, RW & ~2)
    with script.vcpu.ioctl(0xAE80):
        script.vcpu.spte(0x183, (PLAIN if new == TRACKED else RW) + 3 * PAGE, new if new == NONE else new + 3 * PAGE)
    assert script.loud("LS303") == codes
