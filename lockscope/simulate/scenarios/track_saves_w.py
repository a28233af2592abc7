"""Access tracking saves W as well."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import track_and_save
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """A page that nobody else touches is aged, and found again when it was forgotten by everybody."""
    track_and_save(world, "saves-w", "W saved with R and X")


SCENARIO = Scenario(
    "track-saves-w",
    "access tracking saves W as well",
    "2. Exception, lockless access tracking: the W bit is not saved",
    plant,
    Mix(log="manual", write=12, read=8, main=(("tsc", 1),), ksm=False),
    near="R and X are saved",
    kernels=("6.12",),  # on 7.2 and later W would go where host-writable is: a static_assert() of spte.h forbids it
    vendor="intel",
)
