"""Run a scenario and write what was recorded of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lockscope.errors import UsageError
from lockscope.outfiles import write_text
from lockscope.simulate.kvm.host import Host
from lockscope.simulate.kvm.kernels import KERNELS
from lockscope.simulate.parameters import Parameters
from lockscope.simulate.scenario import Scenario, scenario_named
from lockscope.simulate.trace.events import events_of
from lockscope.simulate.trace.files import Recording
from lockscope.simulate.truth import SCHEMA, Truth
from lockscope.simulate.world import World


@dataclass(frozen=True, slots=True)
class Simulated:
    """A written recording: how many events are in it, how many were lost, what is true of it."""

    path: Path
    events: int
    lost: int
    truth: Truth
    as_dict: dict[str, Any]


def simulate(scenario: str | Scenario, path: str | Path, parameters: Parameters | None = None, *,
             format: str = "dat7", truth: str | Path | None = None) -> Simulated:  # fmt: skip
    """Run a scenario, write its recording to ``path`` and, if asked, the truth beside it as JSON.

    ``format``: "dat7" (zstd), "dat7-zlib", "dat7-none", "dat6", "text" (tracefs), "perf" (perf script). Raises
    ``UsageError`` for parameters that do not fit the scenario.
    """
    found = scenario_named(scenario) if isinstance(scenario, str) else scenario
    p = fitted(found, parameters or Parameters())
    target = Path(path)
    with record(found, p) as (recording, world):
        if format.startswith("dat"):
            version, codec = (6, "none") if format == "dat6" else (7, format.partition("-")[2] or "zstd")
            recording.save(target, version, codec)
        else:
            from lockscope.simulate.trace.texts import save_text

            save_text(recording, target, format)
        events, lost = recording.written, recording.lost
        told = _told(found, p, world, events, lost)
    if truth is not None:
        write_text(truth, json.dumps(told, indent=2) + "\n")
    return Simulated(target, events, lost, world.host.truth, told)


@contextmanager
def record(scenario: Scenario, parameters: Parameters) -> Iterator[tuple[Recording, World]]:
    """Runs a scenario; inside, the recording and the world as it ended."""
    kernel = KERNELS[parameters.kernel]
    with Recording(
        events_of(kernel.version), parameters.cpus, parameters.clock, kernel.release, buffer_kib=parameters.buffer_kib
    ) as recording:
        world = World(Host(kernel, parameters, recording), scenario.mix)
        scenario.plant(world)
        world.begin()
        world.host.machine.run()
        recording.events = {name: e for name, e in recording.events.items() if world.host.e.get(e.name) is e}
        yield recording, world


def fitted(scenario: Scenario, p: Parameters) -> Parameters:
    """The parameters with what the scenario needs."""
    if p.kernel not in scenario.kernels:
        msg = f"{scenario.name}: not on kernel {p.kernel} (--kernel {' or '.join(scenario.kernels)})"
        raise UsageError(msg)
    if p.near_miss and scenario.quiet:
        msg = f"{scenario.name}: is quiet anyway, it has no near miss"
        raise UsageError(msg)
    kernel = KERNELS[p.kernel]
    for what in ("mmu", "vendor"):
        needed, asked = getattr(scenario, what), getattr(p, what)
        if needed is not None and asked is not None and needed != asked:
            msg = f"{scenario.name}: needs --{what} {needed}"
            raise UsageError(msg)
    mmu = p.mmu or scenario.mmu or kernel.mmus[0]
    if mmu not in kernel.mmus:
        msg = f"--mmu {mmu}: kernel {p.kernel} has not got it (one of {', '.join(kernel.mmus)})"
        raise UsageError(msg)
    return replace(p, mmu=mmu, vendor=p.vendor or scenario.vendor or "amd", vcpus=scenario.vcpus or p.vcpus,
                   cpus=max(p.cpus, scenario.cpus or 1))  # fmt: skip


def _told(scenario: Scenario, p: Parameters, world: World, events: int, lost: int) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "scenario": scenario.name,
        "rule": scenario.rule,
        "parameters": asdict(p),
        "events": events,
        "lost_events": lost,
        **world.host.truth.as_dict(),
    }
