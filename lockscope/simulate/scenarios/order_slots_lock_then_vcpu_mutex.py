"""A vCPU's mutex is taken while kvm->slots_lock is held."""

from __future__ import annotations

from lockscope.simulate.explore import Scene
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import crossed, nest
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Nobody takes slots_lock inside a vCPU's mutex here: the rule alone says that it is wrong."""
    why = "vcpu->mutex inside kvm->slots_lock"
    nest(world, "kvm_vm_ioctl_set_memory_region", "slots_lock", "mutex", why, ("LS102", ()))


def scene(stage: Scene) -> None:
    """One task takes them the wrong way round, another one the right way."""
    crossed(stage, "slots_lock", "mutex")


SCENARIO = Scenario(
    "order-slots-lock-then-vcpu-mutex",
    "vcpu->mutex is taken inside kvm->slots_lock",
    "KVM takes slots_lock inside vcpu->mutex (kvm_inhibit_apic_access_page()): the other way round must not be",
    plant,
    Mix(),
    near="the two are taken one after the other",
    kernels=("6.12", "7.3"),
    explore=scene,
)
