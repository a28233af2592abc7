"""``lockscope simulate``: the trace of a KVM host that never ran, and what is true of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lockscope.cli import _options as options
from lockscope.cli._arguments import one_of, output_file
from lockscope.cli._shell import say
from lockscope.errors import UsageError

if TYPE_CHECKING:
    from lockscope.simulate.parameters import Parameters
    from lockscope.simulate.run import Simulated

FORMATS = ("dat7", "dat7-zlib", "dat7-none", "dat6", "text", "perf")
_ENDING = {"text": ".txt", "perf": ".perf.txt"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(simulate)


def simulate(
    scenario: Annotated[
        str | None, typer.Argument(metavar="SCENARIO", help="What happens on the host; --list lists the scenarios.")
    ] = None,
    *,
    list_them: Annotated[bool, typer.Option("--list", help="List the scenarios.")] = False,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="The trace to write (default: SCENARIO.dat).")
    ] = None,
    force: options.Force = False,
    format: Annotated[str, typer.Option("--format", metavar="NAME", help=f"{', '.join(FORMATS)}.")] = "dat7",
    near_miss: Annotated[
        bool,
        typer.Option(
            "--near-miss", help="Generate the correct variant that resembles the defect: nothing must be reported."
        ),
    ] = False,
    kernel: Annotated[str, typer.Option("--kernel", metavar="VERSION", help="4.14, 6.12 or 7.3.")] = "6.12",
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Seed of all random choices: the same seed gives the same bytes.")
    ] = 1,
    duration: Annotated[int, typer.Option("--duration", metavar="MS", help="Simulated time in milliseconds.")] = 20,
    events: Annotated[
        int | None,
        typer.Option("--events", metavar="N", help="Stop after at least N events instead of after --duration."),
    ] = None,
    vms: Annotated[int, typer.Option("--vms", metavar="N", help="Number of VMs.")] = 1,
    vcpus: Annotated[int, typer.Option("--vcpus", metavar="N", help="vCPUs of each VM.")] = 2,
    cpus: Annotated[int, typer.Option("--cpus", metavar="N", help="CPUs of the host.")] = 4,
    mmu: Annotated[str | None, typer.Option("--mmu", metavar="NAME", help="tdp, legacy or shadow.")] = None,
    vendor: Annotated[str | None, typer.Option("--vendor", metavar="NAME", help="amd (NPT) or intel (EPT).")] = None,
    clock: Annotated[str, typer.Option("--clock", metavar="NAME", help="mono, global, boot, local.")] = "mono",
    skew: Annotated[
        int, typer.Option("--skew", metavar="NS", help="How far the clocks of CPUs differ, with --clock local.")
    ] = 0,
    buffer: Annotated[
        int | None,
        typer.Option("--buffer", metavar="KIB", help="Per-CPU ring buffer size (default: no event is lost)."),
    ] = None,
    fidelity: Annotated[
        str, typer.Option("--fidelity", metavar="NAME", help="probes (lockdep and the probe pack) or stock.")
    ] = "probes",
    check: Annotated[
        bool, typer.Option("--check", help="Judge the trace and compare the result with what is expected.")
    ] = False,
    explore: Annotated[
        bool, typer.Option("--explore", help="Write no trace; go through all orders in which the scenario can happen.")
    ] = False,
    most: Annotated[int, typer.Option("--most", metavar="N", help="Schedules to go through with --explore.")] = 20_000,
) -> None:
    """Simulate a KVM host: write its trace, and the expected findings as FILE.truth.json."""
    if list_them or scenario is None:
        _list()
        raise typer.Exit(0 if list_them else 2)
    one_of("--format", format, FORMATS)
    from lockscope.simulate.parameters import Parameters

    parameters = Parameters(
        kernel=kernel, vms=vms, vcpus=vcpus, cpus=cpus, duration_ms=duration, events=events, seed=seed, clock=clock,
        skew_ns=skew, buffer_kib=buffer, fidelity=fidelity, mmu=mmu, vendor=vendor, near_miss=near_miss,
    )  # fmt: skip
    if explore:
        _explore(scenario, parameters, most)
        return
    from lockscope.simulate.run import simulate as run

    path = Path(output if output is not None else scenario + _ENDING.get(format, ".dat"))
    truth = path.with_name(path.name + ".truth.json")
    if str(path) == "-":
        msg = "-o -: a simulated trace goes into a file, and what is true of it into another beside it"
        raise UsageError(msg)
    for place in (path, truth):
        output_file(str(place), (), force=force)
    done = run(scenario, path, parameters, format=format, truth=truth)
    lost = f", {done.lost:,} lost" if done.lost else ""
    say(f"{path}: {done.events:,} events{lost}; what is true of it: {truth}")
    if check:
        _check(done)


def _list() -> None:
    from lockscope.simulate.scenario import scenarios

    width = max(len(name) for name in scenarios())
    for name, scenario in scenarios().items():
        typer.echo(f"{name:{width}}  {scenario.summary}{' (--explore)' if scenario.explore else ''}")
        if scenario.near:
            typer.echo(f"{'':{width}}  near miss: {scenario.near}")


def _explore(scenario: str, parameters: Parameters, most: int) -> None:
    from lockscope.simulate.explore import explore

    found = explore(scenario, parameters, most)
    typer.echo("\n".join(found.lines()))
    raise typer.Exit(1 if found.broken else 0)


def _check(done: Simulated) -> None:
    from lockscope.pipeline import analyze
    from lockscope.simulate.agreement import compare

    agreement = compare(analyze([str(done.path)]).findings, done.truth)
    typer.echo("\n".join(agreement.lines()))
    raise typer.Exit(0 if agreement else 1)
