"""The fast page fault gives W back on a read access."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import track_and_restore
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """A page that nobody else touches is aged, and found again when it was forgotten by everybody."""
    track_and_restore(world, "w-on-read", "W given by a read access")


SCENARIO = Scenario(
    "track-w-on-read",
    "the fast page fault gives W back on a read access",
    "2. Exception, lockless access tracking: the W bit is set depending on whether or not it was a write access",
    plant,
    Mix(log="manual", write=12, read=8, main=(("tsc", 1),), ksm=False),
    near="a read access gives R and X back, and no W",
    vendor="intel",
)
