"""KVM_RUN: a vCPU goes in and out of the guest, and what it comes out for is handled (arch/x86/kvm/x86.c).

What the guest does is a program: an iterator of actions. ``("r", gfn)`` and ``("w", gfn)`` are accesses, ``("c", ns)``
computing, ``("mmio", address)`` an access to a device in the kernel, ``("io", port)`` one that user space handles,
``("hlt", ns)`` waiting for an interrupt that comes after so long, ``("call", function)`` whatever a scenario wants
done inside the vCPU's kvm->srcu section.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

from lockscope.simulate.engine import locks, srcu
from lockscope.simulate.engine.tasks import BLOCK, SLEEPING, Task, Work
from lockscope.simulate.kvm import faults, requests, tlb
from lockscope.simulate.kvm.host import IOCTL
from lockscope.simulate.kvm.vm import Vcpu

RUN = 0xAE80
Action = tuple[str, Any]
Program = Iterator[Action]
# Exit reasons, VMX and SVM (arch/x86/include/uapi/asm/vmx.h, svm.h).
_REASONS = {"fault": (48, 0x400), "interrupt": (1, 0x60), "hlt": (12, 0x78), "io": (30, 0x7B), "mmio": (48, 0x400),
            "call": (10, 0x72)}  # fmt: skip
_EXIT_IO, _EXIT_INTR = 2, 10


def run(t: Task, vcpu: Vcpu, program: Program, *, between: Callable[[Task, Vcpu], Work] | None = None) -> Work:
    """Run ioctl after ioctl until the program ends. ``between``: what user space does between two."""
    vcpu.task = t
    if t.leaving is None:
        t.leaving = _preempt_notifier(vcpu)
    while True:
        left = yield from _ioctl(t, vcpu, program)
        if not left:
            return
        yield 2_000
        if between is not None:
            yield from between(t, vcpu)


def _preempt_notifier(vcpu: Vcpu) -> Callable[[Task, bool], list[bytes]]:
    """kvm_sched_out(): steal time is told to the guest, by its memory: a short kvm->srcu section (6.x)."""
    s, host = vcpu.vm.srcu, vcpu.vm.host

    def records(t: Task, out: bool) -> list[bytes]:
        if not out or host.kernel.version < (5, 10) or vcpu.vm.dead:
            return []
        t_ip, t.ip = t.ip, host.symbols["kvm_arch_vcpu_put"] + 0x52
        section = srcu.moment(t, s)
        t.ip = t_ip
        return section

    return records


def _ioctl(t: Task, vcpu: Vcpu, program: Program) -> Generator[int, None, bool]:
    vm, host = vcpu.vm, vcpu.vm.host
    yield from host.sys_enter(t, IOCTL, 5 + vcpu.number, RUN)
    host.at(t, "kvm_vcpu_ioctl")
    yield from locks.mutex_lock(t, vcpu.mutex)
    yield host.write(t, "kvm_arch_vcpu_ioctl_run", host.symbols["kvm_arch_vcpu_ioctl_run"] + 4, vcpu.addr, vm.kvm)
    yield host.write(t, "kvm_fpu", 1)
    host.at(t, "kvm_arch_vcpu_ioctl_run")
    index = yield from srcu.read_lock(t, vm.srcu)
    if not vcpu.runs:
        yield from _first_run(t, vcpu)
    vcpu.runs += 1
    left, reason = True, _EXIT_INTR
    while True:
        if vcpu.tables is None or not vcpu.tables.valid:
            yield from faults.load_root(t, vcpu)
        yield from requests.serve(t, vcpu)
        if vcpu.tables is None:
            continue
        why, value = yield from _guest(t, vcpu, program, index)
        host.at(t, "vcpu_enter_guest")
        index = yield from srcu.read_lock(t, vm.srcu)
        if why == "end":
            left = False
            break
        if why == "io":
            reason = _EXIT_IO
            yield host.write(t, "kvm_pio", 0, int(value), 1, 1, 0)
            break
        index = yield from _handle(t, vcpu, why, value, index)
        if t.wakes:  # a signal
            t.wakes = 0
            break
    yield host.write(t, "kvm_fpu", 0)
    yield from srcu.read_unlock(t, vm.srcu, index)
    yield host.write(t, "kvm_userspace_exit", reason, 0)
    yield from locks.mutex_unlock(t, vcpu.mutex)
    yield from host.sys_exit(t, IOCTL, 0 if reason == _EXIT_IO else -4)
    return left


def _handle(t: Task, vcpu: Vcpu, why: str, value: Any, index: int) -> Generator[int, None, int]:
    """What the guest came out for."""
    vm, host = vcpu.vm, vcpu.vm.host
    if why == "fault":
        gfn, write = value
        yield from faults.page_fault(t, vcpu, gfn, write=write)
    elif why == "mmio":
        host.at(t, "kvm_io_bus_write")
        yield host.write(t, "kvm_io_bus_write", host.symbols["kvm_io_bus_write"] + 4, vcpu.addr, 0, int(value))
        yield from _ioapic(t, vcpu)
    elif why == "call":
        vcpu.index = index
        yield from value(t, vcpu)
        index = vcpu.index
    elif why == "hlt":
        # vcpu_block(): kvm->srcu is given up while the vCPU sleeps.
        yield from srcu.read_unlock(t, vm.srcu, index)
        yield from _block(t, vcpu, int(value))
        host.at(t, "vcpu_block")
        index = yield from srcu.read_lock(t, vm.srcu)
    return index


def outside_srcu(t: Task, vcpu: Vcpu, work: Work) -> Work:
    """Work for which a vCPU's task gives its kvm->srcu section up, inside of a "call"."""
    yield from srcu.read_unlock(t, vcpu.vm.srcu, vcpu.index)
    yield from work
    vcpu.index = yield from srcu.read_lock(t, vcpu.vm.srcu)


def _ioapic(t: Task, vcpu: Vcpu) -> Work:
    vm = vcpu.vm
    vm.host.at(t, "ioapic_mmio_write")
    lock = vm.locks["ioapic_lock"]
    yield from locks.spin_lock(t, lock)
    index = yield from srcu.read_lock(t, vm.irq_srcu)
    yield from srcu.read_unlock(t, vm.irq_srcu, index)
    yield from locks.spin_unlock(t, lock)


def _first_run(t: Task, vcpu: Vcpu) -> Work:
    """Clock and interrupt controller are set up: kvm->arch.hyperv.hv_lock, tsc_write_lock, the I/O APIC's lock."""
    vm, host = vcpu.vm, vcpu.vm.host
    host.at(t, "kvm_guest_time_update")
    yield from host.locked(t, vm.locks["hv_lock"])
    if vcpu.number == 0:
        lock = vm.locks["tsc_write_lock"]
        before = locks.irqs_off(t)
        yield from locks.spin_lock(t, lock)
        if "pvclock_lock" in vm.locks:
            yield from host.locked(t, vm.locks["pvclock_lock"])
        yield host.write(t, "kvm_update_master_clock", True, 1, True)
        yield from locks.spin_unlock(t, lock)
        locks.irqs_back(t, before)
    yield from _ioapic(t, vcpu)


def _guest(t: Task, vcpu: Vcpu, program: Program, index: int) -> Generator[int, None, tuple[str, Any]]:
    """Into the guest, and out again: returns why, and what with. Interrupts are off but inside the guest."""
    vm, host = vcpu.vm, vcpu.vm.host
    machine = host.machine
    before = locks.irqs_off(t)
    host.at(t, "vcpu_enter_guest")
    yield from srcu.read_unlock(t, vm.srcu, index)
    cpu = t.cpu
    vcpu.where = cpu
    took = (
        host.write(t, "kvm_entry", vcpu.number, vcpu.rip, False, *((0, 0) if host.kernel.version >= (7, 2) else ()))
        if host.kernel.version >= (6, 1)
        else host.write(t, "kvm_entry", vcpu.number)
    )
    yield took
    why, value = "interrupt", None
    if machine.exploring:
        t.point = ((vm, "requests"),), "looks for requests, in guest mode"
        yield 0
    if not vcpu.requests:
        while not cpu.pending and not vcpu.kicked:
            if vcpu.again is not None and not vm.stopping:
                action, vcpu.again = vcpu.again, None
            else:
                action = next(program, ("end", None))
            kind, value = action
            if kind in ("r", "w"):
                write = kind == "w"
                if machine.exploring:
                    t.point = (
                        ((vm, value), (vm, "requests")),
                        f"the guest {'writes' if write else 'reads'} gfn {value:#x}",
                    )
                    yield 0
                if tlb.access(vcpu, value, write=write):
                    yield 60 + machine.jitter()
                    continue
                vcpu.again = action
                why, value = "fault", (value, write)
                break
            if kind == "c":
                yield int(value)
                continue
            why = kind
            break
    vcpu.rip = 0x400000 + (vcpu.rip * 5 + 0x1B0 & 0xFFFF)
    yield _exit_event(t, vcpu, why)
    vcpu.where = None
    requests.left_guest(vcpu)
    locks.irqs_back(t, before)
    yield 60
    return why, value


def _exit_event(t: Task, vcpu: Vcpu, why: str) -> int:
    host = vcpu.vm.host
    reason = _REASONS.get(why, _REASONS["interrupt"])[0 if host.intel else 1]
    isa = 1 if host.intel else 2
    if host.kernel.version >= (5, 10):
        later = (0,) if host.kernel.version >= (7, 2) else ()  # requests
        return host.write(t, "kvm_exit", reason, vcpu.rip, isa, 0, 0, 0, 0, vcpu.number, *later)
    return host.write(t, "kvm_exit", reason, vcpu.rip, isa, 0, 0)


def _block(t: Task, vcpu: Vcpu, ns: int) -> Work:
    """kvm_vcpu_halt(): the vCPU's task sleeps. With a device assigned, the interrupt that wakes it is a posted one:
    the vCPU puts itself on its CPU's list, where the handler finds it (vmx/posted_intr.c)."""
    vm, host = vcpu.vm, vcpu.vm.host
    machine = host.machine
    if vm.assigned:
        host.at(t, "pi_enable_wakeup_handler")
        before = locks.irqs_off(t)
        lock = host.per_cpu["wakeup"][t.cpu.number]
        yield from locks.spin_lock(t, lock)
        yield 100
        yield from locks.spin_unlock(t, lock)
        locks.irqs_back(t, before)
        cpu = t.cpu
        machine.after(ns, lambda: machine.interrupt(cpu, lambda it: _posted(it, vcpu)))
    else:
        machine.after(ns, lambda: machine.wake(t))
    host.at(t, "kvm_vcpu_block")
    t.state = SLEEPING
    yield BLOCK
    t.state = 0


def _posted(t: Task, vcpu: Vcpu) -> Work:
    """The posted-interrupt wakeup handler, in hardirq."""
    host = vcpu.vm.host
    host.at(t, "pi_wakeup_handler")
    lock = host.per_cpu["wakeup"][t.cpu.number]
    yield from locks.spin_lock(t, lock)
    if vcpu.task is not None:
        host.machine.wake(vcpu.task)
    yield 150
    yield from locks.spin_unlock(t, lock)
