"""A vCPU's mutex is taken while Hyper-V's lock of the VM is held."""

from __future__ import annotations

from lockscope.simulate.explore import Scene
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import crossed, nest
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """A vCPU that runs takes hv_lock inside its mutex, and inside kvm->srcu.

    From 6.4 on lockdep stops at the read section in between, and sees no cycle; there is one all the same.
    """
    why = "vcpu->mutex inside hv_lock"
    nest(world, "kvm_hv_setup_tsc_page", "hv_lock", "mutex", why, ("LS102", ()), ("LS101", ()))


def scene(stage: Scene) -> None:
    """One task takes them the wrong way round, another one the right way."""
    crossed(stage, "hv_lock", "mutex")


SCENARIO = Scenario(
    "order-hv-lock-then-vcpu-mutex",
    "vcpu->mutex is taken inside kvm->arch.hyperv.hv_lock",
    "1. Acquisition Orders: On x86, vcpu->mutex is taken outside kvm->arch.hyperv.hv_lock",
    plant,
    Mix(),
    near="the two are taken one after the other",
    explore=scene,
)
