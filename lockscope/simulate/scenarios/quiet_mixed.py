"""A host at ordinary work: faults, interrupts, memslots, KSM."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Nothing."""
    del world


SCENARIO = Scenario(
    "quiet-mixed",
    "a host at ordinary work: faults, interrupts, memslots, KSM; nothing is wrong",
    "",
    plant,
    Mix(),
)
