"""VMs and vCPUs come and go: KVM_CREATE_VM, KVM_CREATE_IRQCHIP, KVM_CREATE_VCPU, and the last close().

The order of locks is that of recordings of 6.12.117; for 4.14 that of its virt/kvm/kvm_main.c (kvm_create_vm(),
hardware_enable_all(), kvm_vm_ioctl_create_vcpu(), kvm_destroy_vm()).
"""

from __future__ import annotations

from lockscope.simulate.engine import locks, srcu
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm import memslots
from lockscope.simulate.kvm.devices import write_tsc
from lockscope.simulate.kvm.host import CLOSE, IOCTL, Host
from lockscope.simulate.kvm.vm import Vcpu, Vm

CREATE_VM, CREATE_IRQCHIP, CREATE_VCPU = 0xAE01, 0xAE60, 0xAE41
_ENABLE, _DISABLE = 1, -1
_APIC_REQUEST = 0x317


def create_vm(t: Task, host: Host, vm: Vm) -> Work:
    """The ioctl. ``vm`` was made for it and is not known to anybody yet."""
    yield from host.sys_enter(t, IOCTL, 3, CREATE_VM)
    host.at(t, "kvm_dev_ioctl")
    for _ in range(3):
        yield from host.reclaim(t)
    host.at(t, "kvm_dev_ioctl_create_vm")
    for lock in vm.locks.values():
        if lock.addr < vm.kvm + 0x100000:
            yield host.init(t, lock)
    if host.kernel.version >= (6, 0):
        before = locks.irqs_off(t)
        yield from locks.spin_lock(t, vm.locks["tsc_write_lock"])
        yield host.write(t, "kvm_update_master_clock", False, 1, False)
        yield from locks.spin_unlock(t, vm.locks["tsc_write_lock"])
        locks.irqs_back(t, before)
    yield host.write(t, "kvm_apicv_inhibit_changed", 0, True, 1)
    yield from _count(t, host, _ENABLE)
    yield from locks.mutex_lock(t, vm.mmap_lock)  # mmu_notifier_register()
    yield from host.reclaim(t)
    yield 3_000
    yield from locks.mutex_unlock(t, vm.mmap_lock)
    if host.kernel.has("debugfs_lock"):
        yield from host.locked(t, host.globals["debugfs_lock"])
    yield from host.locked(t, host.globals["kvm_lock"], _list(host, vm))
    if host.kernel.version >= (5, 10):
        yield from host.locked(t, host.globals["kvm_lock"])  # kvm_uevent_notify_change()
    yield from host.sys_exit(t, IOCTL, 4)


def _list(host: Host, vm: Vm) -> Work:
    host.vms.append(vm)
    yield 100


def _unlist(host: Host, vm: Vm) -> Work:
    host.vms.remove(vm)
    yield 100


def _count(t: Task, host: Host, by: int) -> Work:
    """kvm_enable_virtualization(), kvm_disable_virtualization(): the first VM switches it on, the last one off."""
    host.at(t, "kvm_create_vm" if by > 0 else "kvm_destroy_vm")
    if host.kernel.has("usage_lock"):
        yield from locks.mutex_lock(t, host.globals["usage_lock"])
        yield from _switch_hardware(t, host, by)
        yield from locks.mutex_unlock(t, host.globals["usage_lock"])
        return
    yield from locks.spin_lock(t, host.globals["count_lock"])
    host.usage += by
    yield 200 * len(host.machine.cpus) if host.usage == (by > 0) else 50
    yield from locks.spin_unlock(t, host.globals["count_lock"])


def _switch_hardware(t: Task, host: Host, by: int) -> Work:
    host.usage += by
    if host.usage == (1 if by > 0 else 0):
        yield from locks.down_read(t, host.globals["hotplug"])
        yield 300 * len(host.machine.cpus)
        yield from locks.up_read(t, host.globals["hotplug"])
    else:
        yield 60


def create_irqchip(t: Task, vm: Vm) -> Work:
    """The interrupt controllers, on the I/O buses, and their routes."""
    host = vm.host
    yield from host.sys_enter(t, IOCTL, 4, CREATE_IRQCHIP)
    host.at(t, "kvm_arch_vm_ioctl")
    yield from locks.mutex_lock(t, vm.lock)
    yield from host.reclaim(t)
    for devices in (3, 1):
        yield from locks.mutex_lock(t, vm.slots_lock)
        for _ in range(devices):
            yield from srcu.synchronize(t, vm.srcu)
        yield from locks.mutex_unlock(t, vm.slots_lock)
    yield from set_routes(t, vm)
    yield from locks.mutex_unlock(t, vm.lock)
    yield from host.sys_exit(t, IOCTL)


def set_routes(t: Task, vm: Vm) -> Work:
    """kvm_set_irq_routing(): new routes, told to the irqfds, then a grace period of irq_srcu without irq_lock."""
    host = vm.host
    host.at(t, "kvm_set_irq_routing")
    yield from locks.mutex_lock(t, vm.irq_lock)
    before = locks.irqs_off(t)
    yield from host.locked(t, vm.locks["irqfds_lock"])
    locks.irqs_back(t, before)
    yield from locks.mutex_unlock(t, vm.irq_lock)
    yield from srcu.synchronize(t, vm.irq_srcu)


def set_routes_ioctl(t: Task, vm: Vm) -> Work:
    """KVM_SET_GSI_ROUTING."""
    yield from vm.host.sys_enter(t, IOCTL, 4, 0x4008AE6A)
    yield from set_routes(t, vm)
    yield from vm.host.sys_exit(t, IOCTL)


def create_vcpu(t: Task, vm: Vm) -> Work:
    """A vCPU: from 6.3 on kvm->lock, then its mutex inside, just so that lockdep knows the order."""
    host = vm.host
    vcpu = Vcpu(vm, len(vm.vcpus))
    yield from host.sys_enter(t, IOCTL, 4, CREATE_VCPU, vcpu.number)
    host.at(t, "kvm_vm_ioctl_create_vcpu")
    yield from host.locked(t, vm.lock)
    yield from host.reclaim(t)
    for lock in vcpu.locks.values():
        yield host.init(t, lock)
    yield from host.locked(t, vm.locks["apic_map_lock"])
    host.at(t, "kvm_arch_vcpu_create")
    if "refresh_lock" in vcpu.locks:
        yield from host.locked(t, vcpu.locks["refresh_lock"])
    yield from host.locked(t, vcpu.locks["async_pf_lock"])
    for _ in range(2):
        index = yield from srcu.read_lock(t, vm.srcu)
        yield from srcu.read_unlock(t, vm.srcu, index)
    host.at(t, "kvm_vm_ioctl_create_vcpu")
    inner = host.locked(t, vcpu.mutex) if host.kernel.version >= (6, 3) else None
    yield from host.locked(t, vm.lock, inner)
    vm.vcpus.append(vcpu)
    yield from host.locked(t, vcpu.mutex, write_tsc(t, vcpu, first=True))
    yield from host.sys_exit(t, IOCTL, 5 + vcpu.number)


def destroy_vm(t: Task, vm: Vm) -> Work:
    """The last close(): off the list, the notifier goes, everything is zapped, the vCPUs are freed."""
    host = vm.host
    yield from host.sys_enter(t, CLOSE, 4)
    host.at(t, "kvm_irqfd_release")
    before = locks.irqs_off(t)
    yield from host.locked(t, vm.locks["irqfds_lock"])
    locks.irqs_back(t, before)
    yield host.write(t, "kvm_destroy_vm", host.symbols["kvm_destroy_vm"] + 4, vm.kvm)
    host.at(t, "kvm_destroy_vm")
    vm.dead = True
    if host.kernel.version >= (5, 10):
        yield from host.locked(t, host.globals["kvm_lock"])
    yield from host.locked(t, host.globals["kvm_lock"], _unlist(host, vm))
    host.at(t, "kvm_mmu_notifier_release")
    yield from host.srcu_section(t, host.mn_srcu, _zap_everything(t, vm))
    yield from srcu.synchronize(t, host.mn_srcu, expedited=False)
    host.at(t, "kvm_arch_destroy_vm")
    yield from host.locked(t, vm.slots_lock)
    for vcpu in vm.vcpus:
        yield from host.locked(t, vcpu.locks["async_pf_lock"])
        if vm.tdp:  # kvm_tdp_mmu_put_root(); the last one unlinks it
            yield from locks.read_lock(t, vm.mmu_lock)
            if vcpu is vm.vcpus[-1]:
                yield from host.locked(t, vm.locks["tdp_mmu_pages_lock"])
            yield from locks.read_unlock(t, vm.mmu_lock)
        else:
            yield from host.locked(t, vm.mmu_lock)  # kvm_mmu_free_roots()
    for vcpu in vm.vcpus:
        if "refresh_lock" in vcpu.locks:
            yield from host.locked(t, vcpu.locks["refresh_lock"])
        index = yield from srcu.read_lock(t, vm.srcu)
        yield from srcu.read_unlock(t, vm.srcu, index)
    yield from host.locked(t, vm.slots_lock)
    if vm.tdp:
        yield from locks.read_lock(t, vm.mmu_lock)  # kvm_mmu_uninit_tdp_mmu()
        yield from locks.read_unlock(t, vm.mmu_lock)
    if vm.vcpus and "refresh_lock" in vm.vcpus[0].locks:  # kvm_xen_destroy_vm(): the shared page's cache
        yield from host.locked(t, vm.vcpus[0].locks["refresh_lock"])
    yield from _count(t, host, _DISABLE)
    yield from host.sys_exit(t, CLOSE)


def _zap_everything(t: Task, vm: Vm) -> Work:
    host = vm.host
    index = yield from srcu.read_lock(t, vm.srcu)
    yield host.write(t, "kvm_arch_flush_shadow_all", host.symbols["kvm_arch_flush_shadow_all"] + 4, vm.kvm)
    yield from locks.spin_lock(t, vm.mmu_lock)
    if vm.tables is not None:
        yield from memslots.zap_tables(t, vm, vm.tables)
    yield from locks.spin_unlock(t, vm.mmu_lock)
    yield from srcu.read_unlock(t, vm.srcu, index)
