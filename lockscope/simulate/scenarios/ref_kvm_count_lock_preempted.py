"""The holder of kvm_count_lock is preempted."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import preempted_holding
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Whoever switches virtualization gives the CPU away: the task could go on on another one."""
    preempted_holding(world, "hardware_enable_all", "count_lock", "kvm_count_lock")


SCENARIO = Scenario(
    "ref-kvm-count-lock-preempted",
    "the holder of the raw kvm_count_lock is preempted",
    "3. Reference: kvm_count_lock is raw because hardware enabling must be atomic with regard to migration",
    plant,
    Mix(),
    near="the task is preempted right after it released the lock",
    kernels=("4.14",),
)
