"""VM identity: distances learned, several VMs side by side, addresses used again."""

from __future__ import annotations

from lockscope.evidence.gather import GatherOptions
from lockscope.facts.vms import Vms
from lockscope.kvm.locks import Role
from lockscope.tables.events import Stream
from lockscope.tables.ops import Op
from lockscope.tables.tape import TapeBatch
from tests.builders.kvm import SET_MEMORY, KvmScript, Vm


def vms_and_rows(script: KvmScript) -> tuple[Vms, list[tuple[Op, int, int]]]:
    """The VMs, and (operation, pid, VM number) of every row that has one."""
    rows: list[tuple[Op, int, int]] = []

    def keep(batch: TapeBatch) -> None:
        assert batch.vm is not None
        interesting = batch.of(Op.SPTE_TDP, Op.REQUEST, Op.KVM_ENTRY, Op.MEMSLOT, Op.DESTROY_VM)
        rows.extend(zip(map(Op, batch.op[interesting].tolist()), batch.pid[interesting].tolist(),
                        batch.vm[interesting].tolist(), strict=True))  # fmt: skip

    found = script.gathered(GatherOptions(("vms",), tape=keep))
    return found.evidence.facts["vms"], rows


def test_distances_between_a_vms_locks_are_learned():
    script = KvmScript()
    vms, _ = vms_and_rows(script)
    assert vms.distances[Role.SLOTS_LOCK] == 24 - 184
    assert vms.distances[Role.SRCU] == 24 - 8976
    assert vms.kvm_distance == 24
    numbers = {vms.vm_of(lock) for lock in (script.vm.mmu_lock, script.vm.slots_lock, script.vm.srcu + 16)}
    assert numbers == {1}
    assert vms.vm_of(script.other.slots_lock) == 2
    assert vms.vm_of(0xFFFF888100000000) is None


def test_every_row_has_its_vm():
    script = KvmScript()
    with script.stranger.ioctl(SET_MEMORY), script.stranger.slots_lock(), script.stranger.mmu_lock():
        script.stranger.zap(1)
    script.qemu.request()
    with script.vcpu.srcu():
        script.vcpu.access()
    script.vcpu.enter()
    vms, rows = vms_and_rows(script)
    assert [vm.kvm & (1 << 64) - 1 for vm in vms.vms] == [script.vm.kvm, script.other.kvm]
    assert rows[-4:] == [(Op.SPTE_TDP, 200, 2), (Op.REQUEST, 100, 1), (Op.MEMSLOT, 101, 1), (Op.KVM_ENTRY, 101, 1)]
    assert vms.label(1) == f"VM 1 (kvm at {script.vm.kvm:#x})"
    assert vms.label(0) == "an unknown VM"


def test_an_address_used_again_is_another_vm():
    script = KvmScript()
    qemu = script.qemu
    qemu.event("lockscope:kvm_destroy_vm", kvm=script.vm.kvm)
    with qemu.srcu(), qemu.mmu_lock():
        qemu.zap(1)
    qemu.sys_exit(3)
    qemu.event("lockscope:lockdep_init", lock=script.vm.mmu_lock, key=0x7001, name="&(kvm)->mmu_lock")
    with qemu.ioctl(SET_MEMORY), qemu.slots_lock(), qemu.mmu_lock():
        qemu.zap(1)
    vms, rows = vms_and_rows(script)
    zaps = [vm for op, _, vm in rows if op is Op.SPTE_TDP]
    assert zaps == [1, 3]
    assert vms.vms[0].died_ns > 0
    assert vms.vms[2].born_ns > vms.vms[0].died_ns


def test_without_lockdep_init_the_return_of_the_destroying_call_ends_a_vm():
    script = KvmScript(without=("lockdep_init",))
    script.qemu.event("lockscope:kvm_destroy_vm", kvm=script.vm.kvm).sys_exit(3)
    with script.qemu.ioctl(SET_MEMORY), script.qemu.slots_lock(), script.qemu.mmu_lock():
        script.qemu.zap(1)
    _, rows = vms_and_rows(script)
    assert [vm for op, _, vm in rows if op in (Op.SPTE_TDP, Op.DESTROY_VM)] == [1, 3]


def test_without_any_lock_the_probes_argument_tells_vms_apart():
    script = KvmScript(without=("lock_acquire", "lock_acquired", "lock_release", "lockdep_acquire"))
    vms, rows = vms_and_rows(script)
    assert len(vms.vms) == 2
    assert {(pid, vm) for op, pid, vm in rows if op is Op.REQUEST} == {(100, 1), (200, 2)}


def test_locks_never_held_with_a_probe_are_placed_by_nearness():
    script = KvmScript()
    script.rows.clear()
    script.vm = Vm(0xFFFFC90000021000)
    script.qemu.vm = script.vm
    script.qemu.request()
    with script.qemu.mmu_lock():
        script.qemu.zap(1)
    vms, rows = vms_and_rows(script)
    assert len(vms.vms) == 1
    assert rows == [(Op.REQUEST, 100, 1), (Op.SPTE_TDP, 100, 1)]


def test_gaps_reach_back_to_the_cpus_last_event():
    script = KvmScript()
    script.vcpu.enter()
    last = script.now - 1000
    script.at(last + 5000)
    script.loss(1)
    vms, _ = vms_and_rows(script)
    assert [(gap.start_ns, gap.end_ns, gap.cpu) for gap in vms.gaps] == [(last, last + 5000, 1)]
    assert not vms.complete(last + 1000, last + 2000)
    assert vms.complete(last - 3000, last - 1)
    assert not vms.complete(last - 3000, last - 1, slack_ns=1000)
    assert vms.complete(last + 6000, last + 7000)


def test_a_buffer_without_any_event_follows_nobody():
    """trace-cmd convert to version 6 writes an empty top buffer, and all of KVM's checks could not tell for it."""
    script = KvmScript()
    reader = script.reader()
    reader.info.streams.append(Stream(0, "empty"))
    script.reader = lambda: reader
    vms, _ = vms_and_rows(script)
    assert vms.unevenly is False
