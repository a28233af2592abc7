"""Access tracking does not save X."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import track_and_save
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """A page that nobody else touches is aged, and found again when it was forgotten by everybody."""
    track_and_save(world, "loses-x", "X not saved")


SCENARIO = Scenario(
    "track-loses-x",
    "access tracking does not save X",
    "2. Exception, lockless access tracking: the original R and X bits are stored",
    plant,
    Mix(log="manual", write=12, read=8, main=(("tsc", 1),), ksm=False),
    near="R and X are saved",
    kernels=("6.12", "7.3"),
    vendor="intel",
)
