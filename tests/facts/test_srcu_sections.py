"""SRCU read sections: nesting, indices, interrupts, and what is met in them."""

from __future__ import annotations

import pytest

from lockscope.evidence.gather import GatherOptions, gather
from lockscope.facts.srcu_sections import SrcuSections, roles_in
from lockscope.kvm.locks import Role
from lockscope.rules.load import choose
from lockscope.tables.ops import Op
from lockscope.tables.symbols import Symbols
from tests.builders.kvm import RUN, SET_MEMORY, KvmScript
from tests.builders.script import HARDIRQ

STATIC_SRCU, KVM_LOCK = 0xFFFFFFFF82F00000, 0xFFFFFFFFC0A00000


def met(script: KvmScript) -> list[tuple[str, int]]:
    return [(event.what, event.pid) for event in sections(script).events if event.what != "synced"]


def sections(script: KvmScript) -> SrcuSections:
    found = script.fact("srcu_sections")
    assert isinstance(found, SrcuSections)
    return found


def test_names_by_lockdep_map():
    script = KvmScript()
    with script.vcpu.ioctl(RUN):
        script.vcpu.read_lock(0, script.vm.irq_srcu).read_unlock(0, script.vm.irq_srcu)
    found = sections(script)
    assert found.name(script.vm.srcu) == "&kvm->srcu"
    assert found.name(script.vm.irq_srcu) == "&kvm->irq_srcu"
    assert found.name(0x1234) == "srcu_struct at 0x1234"


def test_without_lockdep_the_busiest_inside_struct_kvm_is_kvms():
    script = KvmScript(without=("lock_acquire", "lock_acquired", "lock_release", "lockdep_acquire"))
    for _ in range(5):
        with script.vcpu.srcu():
            script.vcpu.access()
    script.vcpu.event("lockscope:srcu_read_lock", ssp=script.vm.irq_srcu, idx=0)
    script.vcpu.event("lockscope:srcu_read_unlock", ssp=script.vm.irq_srcu, idx=0)
    assert sections(script).names[script.vm.srcu] == "&kvm->srcu"


def test_static_ones_without_lockdep_are_called_by_their_symbols():
    """Two files' static variables may have one name: they are two, in the lock graph too."""
    script = KvmScript("7.3.4-amd64", without=("lock_acquire", "lock_acquired", "lock_release", "lockdep_acquire"))
    statics = STATIC_SRCU, STATIC_SRCU + 0x400
    script.qemu.event("lockscope:mutex_lock_entry", lock=KVM_LOCK).event("lockscope:mutex_lock")
    for ssp in (*statics, STATIC_SRCU + 0x800):
        script.qemu.event("lockscope:srcu_read_lock", ssp=ssp, idx=0)
        script.qemu.event("lockscope:srcu_read_unlock", ssp=ssp, idx=0)
    script.qemu.event("lockscope:mutex_unlock", lock=KVM_LOCK)
    reader = script.reader()
    symbols = f"{KVM_LOCK:x} d kvm_lock\t[kvm]\n{statics[0]:x} d srcu\n{statics[1]:x} d srcu.2\t[x]\n"
    reader.info.symbols = lambda: Symbols.parse(symbols.encode())
    evidence = gather(reader, choose(None)[0], GatherOptions(("srcu_sections",))).evidence
    found = evidence.facts["srcu_sections"]
    assert [found.name(ssp) for ssp in statics] == ["srcu", "srcu"]
    assert found.name(STATIC_SRCU + 0x800) == f"srcu_struct at {STATIC_SRCU + 0x800:#x}"
    chains = (evidence.chains[i] for i in range(len(evidence.chains)))
    inside = {
        c.next.cls: evidence.label(c.next.cls)
        for c in chains
        if [evidence.label(e.cls) for e in c.held] == ["kvm_lock"]
    }
    assert sorted(inside.values()) == ["srcu", "srcu", f"srcu_struct at {STATIC_SRCU + 0x800:#x}"]


def test_nested_sections_with_different_indices_in_any_order():
    script = KvmScript()
    with script.vcpu.ioctl(RUN):
        script.vcpu.read_lock(0).read_lock(1).read_unlock(0).read_lock(1).read_unlock(1).read_unlock(1)
    assert met(script) == []


def test_wrong_index():
    script = KvmScript()
    with script.vcpu.ioctl(RUN):
        script.vcpu.read_lock(0).read_unlock(1)
    event = sections(script).of("wrong-index")[0]
    assert (event.idx, event.detail, event.ssp & (1 << 64) - 1) == (0, 1, script.vm.srcu)
    assert met(script) == [("wrong-index", 101)]


def test_an_interrupt_has_sections_of_its_own():
    script = KvmScript()
    with script.vcpu.ioctl(RUN), script.vcpu.srcu(), script.vcpu.context(HARDIRQ):
        script.vcpu.read_lock(1, script.vm.irq_srcu).read_unlock(1, script.vm.irq_srcu)
    assert met(script) == []


def test_left_without_being_entered_only_where_all_sections_are_known():
    script = KvmScript()
    with script.vcpu.ioctl(RUN):
        script.vcpu.read_unlock(0)
    assert met(script) == [("not-open", 101)]
    script = KvmScript()
    stray = script.worker("stray", 300, 1)
    stray.read_unlock(0)
    assert met(script) == []


def test_open_on_return_to_user_space_and_never_left():
    script = KvmScript()
    with script.vcpu.ioctl(RUN):
        script.vcpu.read_lock(0)
    assert met(script) == [("open-at-user", 101), ("never-left", 0)]
    with script.vcpu.ioctl(RUN):
        script.vcpu.read_unlock(0)
    assert met(script) == [("open-at-user", 101)]


def test_open_when_the_guest_is_entered():
    script = KvmScript()
    with script.vcpu.ioctl(RUN), script.vcpu.srcu():
        script.vcpu.enter().leave()
    assert met(script) == [("open-at-guest", 101)]


def test_another_srcu_may_be_open_when_the_guest_is_entered():
    script = KvmScript()
    with script.vcpu.ioctl(RUN):
        script.vcpu.read_lock(0, script.vm.irq_srcu).enter().leave().read_unlock(0, script.vm.irq_srcu)
    assert met(script) == []


def test_open_when_the_task_ends():
    script = KvmScript()
    script.vcpu.event("raw_syscalls:sys_enter", id=16, args=[5, RUN, 0, 0, 0, 0])
    script.vcpu.read_lock(0).exit()
    assert met(script) == [("open-at-end", 101)]


def test_synchronize_inside_its_own_section():
    script = KvmScript()
    with script.qemu.ioctl(SET_MEMORY), script.qemu.srcu():
        script.qemu.event("lockscope:synchronize_srcu_expedited", ssp=script.vm.srcu)
        script.qemu.event("lockscope:synchronize_srcu", ssp=script.vm.irq_srcu)
    event = sections(script).of("sync-inside")[0]
    assert (event.what, event.detail, event.pid) == ("sync-inside", 1, 100)
    assert len(met(script)) == 1


def test_what_is_held_around_a_grace_period():
    found = sections(KvmScript())
    assert [roles_in(event.detail) for event in found.of("synced")] == [[Role.SLOTS_LOCK], [Role.SLOTS_LOCK]]
    assert found.synchronisations == 2


def test_before_6_9_the_return_probe_does_not_know_the_srcu():
    script = KvmScript("6.1.100")
    with script.vcpu.ioctl(RUN):
        script.vcpu.event("lockscope:srcu_read_lock_entry", ssp=script.vm.srcu)
        script.vcpu.event("lockscope:srcu_read_lock", idx=1)
        script.vcpu.event("lockscope:srcu_read_unlock", ssp=script.vm.srcu, idx=0)
    event = sections(script).of("wrong-index")[0]
    assert (event.idx, event.ssp & (1 << 64) - 1) == (1, script.vm.srcu)


def test_accesses():
    script = KvmScript()
    with script.vcpu.ioctl(RUN):
        with script.vcpu.srcu():
            script.vcpu.access()
        script.vcpu.access(0x181)
    with script.qemu.ioctl(SET_MEMORY), script.qemu.slots_lock():
        script.qemu.access()
    found = sections(script)
    assert met(script) == [("unprotected", 101)]
    assert (found.accesses, found.judged_accesses) == (5, 5)


@pytest.mark.parametrize(
    ("held", "what"), [("nothing", [("unprotected", 100)]), ("inside", []), ("outside", []), ("slots_lock", [])]
)
def test_kvm_zap_gfn_range_needs_srcu_where_it_takes_mmu_lock(held, what):
    """b59a87c1ba3c made it enter a section itself: at the function's entry there is none yet."""
    script = KvmScript()
    qemu = script.qemu

    def zap():
        qemu.event("lockscope:kvm_zap_gfn_range", kvm=script.vm.kvm, gfn_start=0, gfn_end=512)
        if held == "inside":
            with qemu.srcu(), qemu.mmu_lock():
                qemu.request()
        else:
            with qemu.mmu_lock():
                qemu.request()

    with qemu.ioctl(0x8004AE98):
        if held == "outside":
            with qemu.srcu():
                zap()
        elif held == "slots_lock":
            with qemu.slots_lock():
                zap()
        else:
            zap()
    assert met(script) == what
    if what:
        assert sections(script).of("unprotected")[0].op == Op.ZAP_RANGE


def test_irq_srcu_does_not_protect_memslots():
    script = KvmScript()
    with script.vcpu.ioctl(RUN):
        script.vcpu.read_lock(0, script.vm.irq_srcu).access().read_unlock(0, script.vm.irq_srcu)
    assert met(script) == [("unprotected", 101)]


def test_a_vm_being_destroyed_needs_no_protection():
    script = KvmScript()
    with script.qemu.ioctl(SET_MEMORY):
        script.qemu.event("lockscope:kvm_destroy_vm", kvm=script.vm.kvm).access()
    assert met(script) == []


def test_a_flood_of_events_is_bounded_and_counted():
    script = KvmScript()
    with script.vcpu.ioctl(RUN):
        for _ in range(4200):
            script.vcpu.access()
    found = sections(script)
    assert len(found.of("unprotected")) == 4096
    assert found.untold == {"unprotected": 104}
