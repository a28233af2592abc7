"""Requests to vCPUs, kicks, and the TLB flushes that they are for (virt/kvm/kvm_main.c)."""

from __future__ import annotations

from lockscope.simulate.engine.tasks import SPIN, Task, Work
from lockscope.simulate.kvm import tlb
from lockscope.simulate.kvm.vm import Slot, Vcpu, Vm

FLUSH = 0x300  # KVM_REQ_TLB_FLUSH with WAIT and NO_WAKEUP; request 0
_NUMBER, _WAIT = 0xFF, 0x200
_IPI_NS = 900


def make_all_cpus_request(t: Task, vm: Vm, request: int) -> Work:
    """kvm_make_all_cpus_request(): every vCPU gets it; those in guest mode are kicked out, and waited for."""
    host = vm.host
    machine = host.machine
    if machine.exploring:
        t.point = ((vm, "requests"),), f"asks all vCPUs: request {request:#x}"
        yield 0
    yield host.write(t, "kvm_make_all_cpus_request", host.symbols["kvm_make_all_cpus_request"] + 4, vm.kvm, request)
    away = []
    for vcpu in vm.vcpus:
        vcpu.requests.add(request & _NUMBER)
        if vcpu.where is not None and vcpu.where is not t.cpu:
            away.append(vcpu)
    for vcpu in away:
        vcpu.kicked = True
        if request & _WAIT:
            vcpu.waiting.append(t.cpu)
        if not machine.exploring:
            assert vcpu.where is not None
            machine.at(machine.now + _IPI_NS, vcpu.where)
    if away and request & _WAIT:
        t.pc += 1
        while any(t.cpu in vcpu.waiting for vcpu in away):
            t.cpu.spinning = True
            yield SPIN
        t.pc -= 1
    yield 60


def left_guest(vcpu: Vcpu) -> None:
    """A vCPU is out of guest mode: whoever waits for that goes on."""
    vcpu.kicked = False
    if vcpu.waiting:
        waiting, vcpu.waiting = vcpu.waiting, []
        for cpu in waiting:
            if cpu.spinning:
                vcpu.vm.host.machine.resume(cpu)


def flush_all(t: Task, vm: Vm) -> Work:
    """kvm_flush_remote_tlbs(). In 6.12 it is inlined where it is called, and only the request shows."""
    host = vm.host
    if host.kernel.version < (5, 10):
        yield host.write(t, "kvm_flush_remote_tlbs", host.symbols["kvm_flush_remote_tlbs"] + 4, vm.kvm)
    yield from make_all_cpus_request(t, vm, FLUSH)


def flush_slot(t: Task, vm: Vm, slot: Slot) -> Work:
    """kvm_flush_remote_tlbs_memslot(), which flushes everything; in 4.14 kvm_flush_remote_tlbs()."""
    host = vm.host
    probe = host.symbols["kvm_flush_remote_tlbs_memslot"] + 4
    yield host.write(t, "kvm_flush_remote_tlbs_memslot", probe, vm.kvm, slot.address)
    yield from flush_all(t, vm)


def serve(t: Task, vcpu: Vcpu) -> Work:
    """The requests that a vCPU finds before it enters the guest."""
    vm = vcpu.vm
    if vcpu.last is not t.cpu:  # it moved: whatever this CPU has of the VM is of unknown age
        tlb.flush(t.cpu, vm)
        vcpu.last = t.cpu
    requests = vcpu.requests
    if vm.host.machine.exploring:
        t.point = ((vm, "requests"),), "looks for requests"
        yield 0
    if not requests:
        return
    if 0 in requests:
        tlb.flush(t.cpu, vm)
    if vm.host.kernel.free_roots & _NUMBER in requests:
        vcpu.tables = None
        tlb.flush(t.cpu, vm)
    requests.clear()
    yield 40
