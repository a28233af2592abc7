"""``lockscope probes``: what to set on a host so that its recording can be judged, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

import lockscope
from lockscope.cli._arguments import chosen_codes, listed, one_of
from lockscope.cli._shell import say
from lockscope.errors import UsageError

if TYPE_CHECKING:
    from lockscope.recording.catalogue import Wanted
    from lockscope.recording.host import Host

FORMATS = ("sh", "tracefs", "bpftrace")
KINDS = ("spinlock", "rwsem")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("probes")(probes)


def probes(
    kernel: Annotated[
        str | None, typer.Option("--kernel", metavar="VERSION", help="For this kernel, on another host.")
    ] = None,
    host: Annotated[bool, typer.Option("--host", help="For the running kernel: look what it has (as root).")] = False,
    wanted: Annotated[
        list[str] | None, typer.Option("--for", metavar="CODES", help="Only what these checks need.")
    ] = None,
    how: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}.")] = "sh",
    locks: Annotated[
        list[str] | None,
        typer.Option("--locks", metavar="KINDS", help=f"Probe these locks too, without lockdep: {', '.join(KINDS)}."),
    ] = None,
    lockdep: Annotated[
        bool | None, typer.Option("--lockdep/--no-lockdep", help="Whether the named kernel has lockdep.")
    ] = None,
    rt: Annotated[bool | None, typer.Option("--rt/--no-rt", help="Whether the named kernel has PREEMPT_RT.")] = None,
    cost: Annotated[bool, typer.Option("--cost", help="Say what each set of probes costs, as measured.")] = False,
) -> None:
    """Write the probes for a kernel: as a script that records, as lines for tracefs, or for bpftrace."""
    from lockscope.recording import bpftrace, listing, script
    from lockscope.recording import cost as costs
    from lockscope.recording import host as hosts

    if cost:
        for line in costs.lines():
            typer.echo(line)
        return
    one_of("--format", how, FORMATS)
    if host and kernel:
        msg = "--host and --kernel: one of them; --kernel is for another host"
        raise UsageError(msg)
    here = hosts.look() if host else None
    chosen = choice(kernel, wanted, locks, lockdep, here, rt)
    if here is not None:
        for line in _seen(chosen, here):
            say(line)
    if how == "sh":
        typer.echo(script.shell_script(chosen, lockscope.__version__, here.layout if here else None), nl=False)
        return
    if chosen.kernel is None:
        msg = f"--format {how}: for which kernel? (hint: --host, or --kernel 6.1; the sh form looks for itself)"
        raise UsageError(msg)
    lines = listing.tracefs_lines(chosen, here) if how == "tracefs" else bpftrace.program(chosen, here)
    for line in lines:
        typer.echo(line)


def choice(
    kernel: str | None,
    codes: list[str] | None,
    locks: list[str] | None,
    lockdep: bool | None,
    here: Host | None,
    rt: bool | None = None,
) -> Wanted:
    """What the options choose. Raises ``UsageError`` for a kernel, a check or a kind of lock that there is not."""
    from lockscope.checks.check import all_checks
    from lockscope.kvm import versions
    from lockscope.recording.catalogue import OLDEST, Wanted

    kinds = listed(locks)
    for kind in kinds:
        one_of("--locks", kind, KINDS)
    chosen = frozenset(chosen_codes("--for", codes, all_checks())) if codes else None
    series = here.kernel if here else None
    if kernel is not None:
        version = versions.parse(kernel)
        if version is None or version.series < OLDEST:
            msg = f"--kernel {kernel}: no kernel that can be recorded; wanted 4.14 or later, as 6.1 or 6.1.0-56-amd64"
            raise UsageError(msg)
        series = version.series
    return Wanted(series, chosen, here.lockdep if here else lockdep, frozenset(kinds), here.rt if here else rt)


def _seen(chosen: Wanted, here: Host) -> Iterator[str]:
    from lockscope.recording.listing import comments

    yield from here.lines()
    yield from (line.removeprefix("# ") for line in list(comments(chosen, here))[1:])
