"""Dirty logging without manual protection: enabling and GET write-protect."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Nothing."""
    del world


SCENARIO = Scenario(
    "quiet-dirty-log-auto",
    "dirty logging without manual protection: enabling and GET write-protect; nothing is wrong",
    "",
    plant,
    Mix(log="auto", write=16, read=4, main=(("tsc", 1), ("log", 3), ("switch-log", 1)), ksm=False),
)
