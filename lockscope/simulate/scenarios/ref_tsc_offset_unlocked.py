"""The TSC's offset is written and tsc_write_lock is not held."""

from __future__ import annotations

from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm import devices
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import RECENT, planted
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """One KVM_SET_MSRS of several forgets the lock."""

    def plan(t: Task, vm: Vm) -> Work:
        v = vm.vcpus[0]
        if world.near:
            yield from devices.set_tsc(t, v)
            return
        with planted(world, t, "the TSC's offset without tsc_write_lock", ("LS401", ())):
            yield from devices.set_tsc(t, v, locked=False)

    world.plans.append(plan)


SCENARIO = Scenario(
    "ref-tsc-offset-unlocked",
    "the tsc offset is written without tsc_write_lock",
    "3. Reference: kvm_arch::tsc_write_lock protects last_tsc_write and the tsc offset in vmcb",
    plant,
    Mix(),
    near="the same write, with the lock held",
    kernels=RECENT,
)
