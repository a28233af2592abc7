"""Losses make verdicts partial, not false: stretches of events are dropped from a correct host's trace."""

from __future__ import annotations

import random

import pytest

from lockscope.results.findings import Status
from tests.builders.kvm import CLEAR_LOG, GET_LOG, NONE, RO, RW, SET_MEMORY, KvmScript, ro, rw
from tests.builders.records import Row

GFNS = range(0x180, 0x188)
SEEDS, DROPS = range(60), 4


def host() -> KvmScript:
    """A correct host: faults, dirty logging, the fast path, notifiers, memslot changes; two vCPUs and a second VM."""
    script = KvmScript()
    qemu, vcpus = script.qemu, (script.vcpu, script.vcpu2)
    for turn in range(6):
        for n, vcpu in enumerate(vcpus):
            with vcpu.ioctl(0xAE80), vcpu.srcu():
                for gfn in GFNS:
                    at = 0x10565B000 + 8 * (gfn & 511)
                    vcpu.fault(gfn).access(gfn)
                    if n == 0 and turn in (0, 4):
                        with vcpu.mmu_lock(read=True):
                            vcpu.spte(gfn, NONE, rw(gfn)).set_spte(gfn, rw(gfn), at)
                    elif n == 0:
                        vcpu.event("lockscope:mark_page_dirty_in_slot", kvm=script.vm.kvm, gfn=gfn)
                        vcpu.fast(gfn, ro(gfn), rw(gfn), at)
                vcpu.read_unlock().enter().leave().read_lock()
        if turn == 3:
            qemu.event("raw_syscalls:sys_enter", id=11)
            qemu.event("kvm:kvm_unmap_hva_range", start=0x7F0000000000, end=0x7F0000003000)
            with qemu.srcu(), qemu.mmu_lock():
                qemu.zap(*GFNS).request()
            qemu.sys_exit(11)
            continue
        with qemu.ioctl(GET_LOG if turn % 2 else CLEAR_LOG), qemu.slots_lock():
            with qemu.mmu_lock():
                qemu.protect(*GFNS)
            qemu.request()
        with script.stranger.ioctl(SET_MEMORY), script.stranger.slots_lock():
            with script.stranger.mmu_lock():
                script.stranger.protect(turn)
            script.stranger.request()
        script.stranger.enter().leave()
    return script


def dropped(script: KvmScript, seed: int) -> None:
    """Some stretches of one CPU's events become a loss before its next event."""
    rng = random.Random(seed)
    for _ in range(DROPS):
        cpu = rng.randrange(2)
        places = [i for i, row in enumerate(script.rows) if row.cpu == cpu and row.name]
        length = int(2 ** rng.uniform(0, 6))
        begin = rng.randrange(len(places) - length - 1)
        gone, after = set(places[begin : begin + length]), places[begin + length]
        loss = Row("", script.rows[after].ts_ns, cpu, values={"count": length})
        script.rows = [
            row for i, old in enumerate(script.rows) if i not in gone for row in ((loss, old) if i == after else (old,))
        ]


def test_the_host_is_correct():
    runs, found = host().judged("LS2", "LS3")
    assert found == []
    assert {run.code for run in runs if run.status is not Status.RAN} == set()


@pytest.mark.parametrize("seed", SEEDS)
def test_losses_raise_no_alarm(seed):
    script = host()
    dropped(script, seed)
    runs, _ = script.judged("LS2", "LS3")
    assert script.loud("LS2", "LS3") == []
    assert {run.status for run in runs} <= {Status.PARTIAL, Status.SKIPPED}


def test_the_same_bug_is_found_beside_losses():
    script = host()
    script.at(script.now + 1_000_000_000)
    with script.qemu.ioctl(CLEAR_LOG), script.qemu.slots_lock(), script.qemu.mmu_lock():
        script.qemu.spte(0x180, RW, RO)
    script.vcpu.enter()
    rows = list(script.rows)
    for seed in range(5):
        script.rows = rows[:-8]
        dropped(script, seed)
        script.rows += rows[-8:]
        assert script.loud("LS301") == ["LS301"]
