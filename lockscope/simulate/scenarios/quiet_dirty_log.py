"""Dirty logging with manual protection: GET and CLEAR."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Nothing."""
    del world


SCENARIO = Scenario(
    "quiet-dirty-log",
    "dirty logging with manual protection: GET and CLEAR; nothing is wrong",
    "",
    plant,
    Mix(log="manual", write=16, read=4, main=(("tsc", 1), ("log", 3)), ksm=False),
    kernels=("6.12", "7.3"),
)
