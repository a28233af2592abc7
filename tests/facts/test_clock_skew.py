"""How far CPUs' clocks are apart, from what must have happened in order."""

from __future__ import annotations

import pytest

from lockscope.results.findings import Status
from tests.builders.kvm import NONE, RO, RW, KvmScript

LOCK = ("&kvm->slots_lock", 0xFFFFC900000010B8)
SHARED = ("&(kvm)->mmu_lock", 0xFFFFC90000001018)
OTHER = ("&rq->__lock", 0xFFFF888100000018)  # not one of KVM's


def handed_over(script: KvmScript, to_one: int = 2_000, to_zero: int = 3_000, lock: tuple[str, int] = LOCK) -> None:
    """A lock that is waited for goes from CPU 0 to CPU 1 and back, in so many ns."""
    qemu, vcpu = script.qemu, script.vcpu
    qemu.take(*lock)
    for holder, waiter, step in ((qemu, vcpu, to_one), (vcpu, qemu, to_zero)):
        waiter.acquire(*lock).contended(*lock)
        holder.release(*lock)
        waiter.acquired(*lock, at=script.now - 1_000 + step)
    qemu.release(*lock)


@pytest.mark.parametrize(
    ("clock", "how", "bound"),
    [
        ("local", {}, 3_000),
        ("local", {"to_one": 9_000}, 9_000),
        ("local", {"lock": SHARED}, None),
        ("local", {"lock": OTHER}, 3_000),
        (None, {}, 3_000),
        ("mono", {}, 0),
    ],
)
def test_hand_overs_bound_it_on_both_sides(clock, how, bound):
    script = KvmScript(clock=clock)
    handed_over(script, **how)
    assert script.fact("clock_skew").bound_ns == bound


def test_one_way_is_not_enough():
    script = KvmScript(clock="local")
    script.qemu.take(*LOCK)
    script.vcpu.acquire(*LOCK).contended(*LOCK)
    script.qemu.release(*LOCK)
    script.vcpu.acquired(*LOCK).release(*LOCK)
    skew = script.fact("clock_skew")
    assert (skew.bound_ns, skew.steps) == (None, 1)


def test_migrations_bound_it_too():
    script = KvmScript(clock="local")
    wanderer, other = script.task("wanderer", 300, 0), script.task("other", 301, 1)
    for there, back in ((0, 1), (1, 0)):
        wanderer.on(there).switch_to(other.on(there))
        script.at(script.now + 4_000)
        other.on(back).switch_to(wanderer.on(back))
    assert script.fact("clock_skew").bound_ns == 5_000


@pytest.mark.parametrize("clock", ["local", None])  # None: a clock that is not named may be the local one
@pytest.mark.parametrize(("known", "status"), [(True, Status.RAN), (False, Status.PARTIAL)])
def test_a_race_is_judged_in_full_where_the_clocks_are_close(known, status, clock):
    script = KvmScript(clock=clock)
    if known:
        handed_over(script)
    vcpu, sptep = script.vcpu, 0x10565BC00
    vcpu.leave()
    with vcpu.srcu(), vcpu.mmu_lock(read=True):
        vcpu.spte(0x180, NONE, RO).set_spte(0x180, RO, sptep)
    vcpu.enter()
    script.at(script.now + 100_000)
    vcpu.leave().fault(0x180).fast(0x180, RO, RW, sptep)
    with script.qemu.mmu_lock():
        script.qemu.spte(0x180, RO, NONE)
    (run,), (finding,) = script.judged("LS306")
    assert (run.status, finding.confidence) == (status, "certain" if known else "likely")


def test_cpus_that_never_met_are_bounded_by_way_of_a_third():
    script = KvmScript(clock="local")
    handed_over(script, 2_000, 3_000)  # between CPUs 0 and 1
    third, lock = script.task("third", 302, 2), ("&kvm->lock", 0xFFFFC90000002408)
    script.vcpu.take(*lock)
    for holder, waiter, step in ((script.vcpu, third, 4_000), (third, script.vcpu, 5_000)):
        waiter.acquire(*lock).contended(*lock)
        holder.release(*lock)
        waiter.acquired(*lock, at=script.now - 1_000 + step)
    script.vcpu.release(*lock)
    assert script.fact("clock_skew").bound_ns == 3_000 + 5_000  # from CPU 2 to CPU 0
