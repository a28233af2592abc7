"""The holder of tsc_write_lock is preempted."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import preempted_holding
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """The update gives the CPU away, as if the lock were none that spins."""
    preempted_holding(world, "kvm_synchronize_tsc", "tsc_write_lock", "tsc_write_lock")


SCENARIO = Scenario(
    "ref-tsc-write-lock-preempted",
    "the holder of the raw tsc_write_lock is preempted",
    "3. Reference: kvm_arch::tsc_write_lock is raw because updating the tsc offsets must not be preempted",
    plant,
    Mix(),
    near="the task is preempted right after it released the lock",
)
