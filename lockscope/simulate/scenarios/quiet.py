"""Hosts on which nothing is wrong."""

from __future__ import annotations

from dataclasses import dataclass

from lockscope.simulate.parameters import KERNEL_NAMES
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import RECENT
from lockscope.simulate.world import Mix, World

_LOGGED = (("tsc", 1), ("log", 3))


@dataclass(frozen=True, slots=True)
class _Quiet:
    """``does``: what happens on the host."""

    name: str
    does: str
    mix: Mix
    kernels: tuple[str, ...] = KERNEL_NAMES
    mmu: str | None = None


_HOSTS = (
    _Quiet(
        "dirty-log",
        "dirty logging with manual protection: GET and CLEAR",
        Mix(log="manual", write=16, read=4, main=_LOGGED, ksm=False),
        kernels=RECENT,
    ),
    _Quiet(
        "dirty-log-auto",
        "dirty logging without manual protection: enabling and GET write-protect",
        Mix(log="auto", write=16, read=4, main=(*_LOGGED, ("switch-log", 1)), ksm=False),
    ),
    _Quiet(
        "dirty-ring",
        "dirty logging by rings",
        Mix(log="ring", write=16, read=4, main=_LOGGED, ksm=False),
        kernels=RECENT,
    ),
    _Quiet(
        "interrupts",
        "an assigned device: posted wake-ups, irqfds, routes",
        Mix(assigned=True, halt=8, mmio=8, main=(("irqfd", 2), ("routes", 2), ("tsc", 1))),
        kernels=RECENT,
    ),
    _Quiet(
        "legacy",
        "the legacy MMU over direct roots, with dirty logging",
        Mix(log="auto", write=16, read=4, main=_LOGGED, ksm=False),
        mmu="legacy",
    ),
    _Quiet(
        "lifecycle",
        "VMs made and destroyed again and again",
        Mix(main=(("tsc", 1), ("unmap", 1), ("again", 2))),
    ),
    _Quiet(
        "memslots",
        "memslots made, moved and deleted under running vCPUs",
        Mix(main=(("slot", 4), ("unmap", 1)), rounds=0.5),
    ),
    _Quiet("mixed", "a host at ordinary work: faults, interrupts, memslots, KSM", Mix()),
)


def _plant(world: World) -> None:
    """Nothing."""
    del world


SCENARIOS = tuple(
    Scenario(
        f"quiet-{host.name}",
        f"{host.does}; nothing is wrong",
        "",
        _plant,
        host.mix,
        kernels=host.kernels,
        mmu=host.mmu,
    )
    for host in _HOSTS
)
