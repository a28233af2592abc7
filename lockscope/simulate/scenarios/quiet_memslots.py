"""Memslots made, moved and deleted under running vCPUs."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Nothing."""
    del world


SCENARIO = Scenario(
    "quiet-memslots",
    "memslots made, moved and deleted under running vCPUs; nothing is wrong",
    "",
    plant,
    Mix(main=(("slot", 4), ("unmap", 1)), rounds=0.5),
)
