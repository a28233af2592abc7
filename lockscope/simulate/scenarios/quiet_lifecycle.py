"""VMs made and destroyed again and again."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Nothing."""
    del world


SCENARIO = Scenario(
    "quiet-lifecycle",
    "VMs made and destroyed again and again; nothing is wrong",
    "",
    plant,
    Mix(main=(("tsc", 1), ("unmap", 1), ("again", 2))),
)
