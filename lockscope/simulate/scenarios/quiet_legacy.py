"""The legacy MMU over direct roots, with dirty logging."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Nothing."""
    del world


SCENARIO = Scenario(
    "quiet-legacy",
    "the legacy MMU over direct roots, with dirty logging; nothing is wrong",
    "",
    plant,
    Mix(log="auto", write=16, read=4, main=(("tsc", 1), ("log", 3)), ksm=False),
    mmu="legacy",
)
