"""What else works on a VM: TSC writes, irqfds, interrupts that are injected."""

from __future__ import annotations

from collections.abc import Callable

from lockscope.simulate.engine import locks, srcu
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.host import IOCTL
from lockscope.simulate.kvm.vm import Vcpu, Vm

SET_MSRS = 0x4008AE89
_MASK = (1 << 64) - 1


def write_tsc(t: Task, vcpu: Vcpu, *, first: bool = False, locked: bool = True) -> Work:
    """kvm_synchronize_tsc(): under the raw tsc_write_lock, with interrupts off. ``locked=False`` is a defect."""
    vm, host = vcpu.vm, vcpu.vm.host
    host.at(t, "kvm_synchronize_tsc")
    lock = vm.locks["tsc_write_lock"]
    before = locks.irqs_off(t)
    if locked:
        yield from locks.spin_lock(t, lock)
    offset = -(host.machine.now * 3) & _MASK
    yield host.write(t, "kvm_write_tsc_offset", vcpu.number, vcpu.tsc_offset, offset)
    vcpu.tsc_offset = offset
    if "pvclock_lock" in vm.locks:
        yield from host.locked(t, vm.locks["pvclock_lock"])
    yield host.write(t, "kvm_track_tsc", vcpu.number, 0 if first else len(vm.vcpus) - 1, len(vm.vcpus), not first, 1)
    if locked:
        yield from locks.spin_unlock(t, lock)
    locks.irqs_back(t, before)


def set_tsc(t: Task, vcpu: Vcpu, *, locked: bool = True) -> Work:
    """KVM_SET_MSRS with the TSC, from user space: vcpu->mutex, then kvm->srcu."""
    vm, host = vcpu.vm, vcpu.vm.host
    yield from host.sys_enter(t, IOCTL, 5 + vcpu.number, SET_MSRS)
    host.at(t, "kvm_vcpu_ioctl")
    yield from locks.mutex_lock(t, vcpu.mutex)
    yield from host.srcu_section(t, vm.srcu, write_tsc(t, vcpu, locked=locked))
    yield from locks.mutex_unlock(t, vcpu.mutex)
    yield from host.sys_exit(t, IOCTL, 1)


def device_interrupt(vm: Vm) -> Callable[[Task], Work]:
    """The host's interrupt that an eventfd makes the guest's: irqfd_wakeup() under the wait queue's lock."""

    def handler(t: Task) -> Work:
        host = vm.host
        if vm.dead:
            return
        yield host.write(t, "irq_handler_entry", 24, "vfio-msix")
        host.at(t, "eventfd_signal")
        yield from locks.spin_lock(t, vm.wqh)
        host.at(t, "irqfd_wakeup")
        index = yield from srcu.read_lock(t, vm.irq_srcu)
        yield host.write(t, "kvm_set_irq", 24, 1, 0)
        yield from srcu.read_unlock(t, vm.irq_srcu, index)
        yield from locks.spin_unlock(t, vm.wqh)
        yield host.write(t, "irq_handler_exit", 24, 1)
        t.cpu.softirqs.append(lambda it: _softirq(it, vm))

    return handler


def _softirq(t: Task, vm: Vm) -> Work:
    host = vm.host
    yield host.write(t, "softirq_entry", 4)
    yield 500
    yield host.write(t, "softirq_exit", 4)


def assign_irqfd(t: Task, vm: Vm) -> Work:
    """KVM_IRQFD: an eventfd is joined to a route. irqfds.lock is taken with interrupts off: handlers want it."""
    host = vm.host
    yield from host.sys_enter(t, IOCTL, 4, 0x4020AE76)
    host.at(t, "kvm_irqfd_assign")
    before = locks.irqs_off(t)
    yield from locks.spin_lock(t, vm.locks["irqfds_lock"])
    index = yield from srcu.read_lock(t, vm.irq_srcu)
    yield from srcu.read_unlock(t, vm.irq_srcu, index)
    yield from locks.spin_unlock(t, vm.locks["irqfds_lock"])
    locks.irqs_back(t, before)
    yield from host.sys_exit(t, IOCTL)
