"""The fast page fault gives other rights back than were saved."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import track_and_restore
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """A page that nobody else touches is aged, and found again when it was forgotten by everybody."""
    track_and_restore(world, "bad-restore", "restored by other bits than were saved")


SCENARIO = Scenario(
    "track-restores-wrong",
    "the fast page fault gives other rights back than were saved",
    "2. Exception, lockless access tracking: the saved R/X bits are restored",
    plant,
    Mix(log="manual", write=12, read=8, main=(("tsc", 1),), ksm=False),
    near="what was saved is given back",
    vendor="intel",
)
