"""Two locks are taken the wrong way round."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from lockscope.simulate.engine import locks
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.explore import Scene
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.parameters import KERNEL_NAMES
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import RECENT, give, ioctl, nest, planted, take
from lockscope.simulate.world import Mix, World

_ALWAYS = (0, 0)


@dataclass(frozen=True, slots=True)
class _Order:
    """``inner`` is taken inside ``outer`` (see ``lock_of``) in ``function``; ``shown`` are the two in the same order.

    ``cycle_from``: the kernel from which on somebody here takes them the right way round, so that there is a cycle
    too; None: nobody does, the rule alone says that it is wrong. ``path``: where ``outer`` is, if that is more to say.
    """

    name: str
    function: str
    outer: str
    inner: str
    shown: tuple[str, str]
    rule: str
    cycle_from: tuple[int, int] | None = None
    kernels: tuple[str, ...] = KERNEL_NAMES
    path: str = ""


_ORDERS = (
    # A vCPU that runs takes hv_lock inside its mutex, and inside kvm->srcu. From 6.4 on lockdep stops at the read
    # section in between, and sees no cycle; there is one all the same.
    _Order(
        "hv-lock-then-vcpu-mutex",
        "kvm_hv_setup_tsc_page",
        "hv_lock",
        "mutex",
        ("hv_lock", "vcpu->mutex"),
        "1. Acquisition Orders: On x86, vcpu->mutex is taken outside kvm->arch.hyperv.hv_lock",
        cycle_from=_ALWAYS,
        path="kvm->arch.hyperv.hv_lock",
    ),
    _Order(
        "irq-lock-then-kvm-lock",
        "kvm_set_irq_routing",
        "irq_lock",
        "lock",
        ("kvm->irq_lock", "kvm->lock"),
        "1. Acquisition Orders: kvm->lock is taken outside kvm->slots_lock and kvm->irq_lock",
        cycle_from=_ALWAYS,  # setting routes at creation
    ),
    _Order(
        "irq-lock-then-slots-lock",
        "kvm_set_irq_routing",
        "irq_lock",
        "slots_lock",
        ("kvm->irq_lock", "kvm->slots_lock"),
        "1. Acquisition Orders: kvm->slots_lock is taken outside kvm->irq_lock",
    ),
    _Order(
        "slots-arch-lock-then-slots-lock",
        "kvm_set_memslot",
        "slots_arch_lock",
        "slots_lock",
        ("kvm->slots_arch_lock", "kvm->slots_lock"),
        "1. Acquisition Orders (5.14 and later): slots_arch_lock is for what is inside slots_lock or inside kvm->srcu",
        cycle_from=_ALWAYS,  # every change of a memslot
        kernels=RECENT,
    ),
    _Order(
        "slots-lock-then-kvm-lock",
        "kvm_vm_ioctl_enable_cap",
        "slots_lock",
        "lock",
        ("kvm->slots_lock", "kvm->lock"),
        "1. Acquisition Orders: kvm->lock is taken outside kvm->slots_lock and kvm->irq_lock",
        cycle_from=_ALWAYS,  # KVM_CREATE_IRQCHIP
    ),
    _Order(
        "slots-lock-then-vcpu-mutex",
        "kvm_vm_ioctl_set_memory_region",
        "slots_lock",
        "mutex",
        ("kvm->slots_lock", "vcpu->mutex"),
        "KVM takes slots_lock inside vcpu->mutex (kvm_inhibit_apic_access_page()): the other way round must not be",
        kernels=RECENT,
    ),
    _Order(
        "vcpu-mutex-then-kvm-lock",
        "kvm_xen_vcpu_set_attr",
        "mutex",
        "lock",
        ("vcpu->mutex", "kvm->lock"),
        "1. Acquisition Orders: kvm->lock is taken outside vcpu->mutex",
        cycle_from=(6, 3),  # creating a vCPU
    ),
)


def _plant(order: _Order, world: World) -> None:
    outer, inner = order.shown
    cycle = order.cycle_from is not None and world.host.kernel.version >= order.cycle_from
    found = [("LS102", ()), *([("LS101", ())] if cycle else [])]
    nest(world, order.function, order.outer, order.inner, f"{inner} inside {outer}", *found)


def _scene(order: _Order, stage: Scene) -> None:
    """A task takes ``inner`` under ``outer``, which is wrong, and another one ``outer`` under ``inner``; in the near
    miss the first one takes one after the other.
    """
    found = stage.vcpu().locks | stage.vm.locks

    def nested(t: Task, first: str, second: str) -> Work:
        apart = stage.near and first == order.outer
        yield from take(t, found[first])
        if apart:
            yield from give(t, found[first])
        yield from take(t, found[second])
        yield from give(t, found[second])
        if not apart:
            yield from give(t, found[first])

    stage.task("one task", lambda t: nested(t, order.outer, order.inner))
    stage.task("another task", lambda t: nested(t, order.inner, order.outer))


def _plant_hotplug(world: World) -> None:
    """A walk over vm_list does something complex."""
    host = world.host

    def body(t: Task, vm: Vm) -> Work:
        del vm
        outer, inner = host.globals["kvm_lock"], host.globals["hotplug"]
        pair = (outer.cls.name, inner.cls.name)
        if world.near:  # the right way round
            yield from locks.down_read(t, inner)
            yield from host.locked(t, outer)
            yield from locks.up_read(t, inner)
            return
        yield from locks.mutex_lock(t, outer)
        with planted(world, t, "cpus_read_lock() inside kvm_lock", ("LS102", pair)):
            yield from locks.down_read(t, inner)
            yield from locks.up_read(t, inner)
        yield from locks.mutex_unlock(t, outer)

    ioctl(world, "kvm_dev_ioctl", body)


SCENARIOS = (
    *(
        Scenario(
            f"order-{order.name}",
            f"{order.shown[1]} is taken inside {order.path or order.shown[0]}",
            order.rule,
            partial(_plant, order),
            Mix(),
            near="the two are taken one after the other",
            kernels=order.kernels,
            explore=partial(_scene, order),
        )
        for order in _ORDERS
    ),
    # No row of the table: a reader is inside, both are the host's, and what looks like it is the right way round.
    Scenario(
        "order-kvm-lock-then-cpus-read-lock",
        "cpus_read_lock() is taken inside kvm_lock",
        "1. Acquisition Orders (6.3 and later): cpus_read_lock() is taken outside kvm_lock",
        _plant_hotplug,
        Mix(),
        near="cpus_read_lock() is taken first",
        kernels=RECENT,
    ),
)
