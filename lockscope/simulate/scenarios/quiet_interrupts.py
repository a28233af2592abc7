"""An assigned device: posted wake-ups, irqfds, routes."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Nothing."""
    del world


SCENARIO = Scenario(
    "quiet-interrupts",
    "an assigned device: posted wake-ups, irqfds, routes; nothing is wrong",
    "",
    plant,
    Mix(assigned=True, halt=8, mmio=8, main=(("irqfd", 2), ("routes", 2), ("tsc", 1))),
    kernels=("6.12", "7.3"),
)
