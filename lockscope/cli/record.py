"""``lockscope record``: set the probes up, record a command or a while, take everything away, say what came of it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import lockscope
from lockscope.cli import _options as options
from lockscope.cli._arguments import output_file
from lockscope.cli._shell import NO_VERDICT
from lockscope.cli.probes import choice
from lockscope.errors import UsageError

if TYPE_CHECKING:
    from lockscope.recording.session import Counters

_FREE = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("record", context_settings=_FREE)(record)


def record(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND...]", help="Command to run and record.")
    ] = None,
    duration: Annotated[
        float | None, typer.Option("--duration", "-d", metavar="SECONDS", help="Record for so long, without a command.")
    ] = None,
    vm: Annotated[
        int | None,
        typer.Option("--vm", metavar="PID", help="Record only this process, which runs a VM, and kernel threads."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Record all tasks (the default unless --vm is given).")
    ] = False,
    wanted: Annotated[
        list[str] | None, typer.Option("--for", metavar="CODES", help="Record only what these checks need.")
    ] = None,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="File to record into.")] = "trace.dat",
    force: options.Force = False,
    buffer: Annotated[
        int | None,
        typer.Option(
            "--buffer", "-b", metavar="KB", help="Per-CPU buffer size in KiB; by default sized by a short test run."
        ),
    ] = None,
    clock: Annotated[str, typer.Option("--clock", help="Trace clock; wanted one that all CPUs share.")] = "mono",
    locks: Annotated[
        list[str] | None,
        typer.Option(
            "--locks", metavar="KINDS", help="Also record these locks on a kernel without lockdep: spinlock, rwsem."
        ),
    ] = None,
    stacks: Annotated[bool, typer.Option("--stacks", help="Record a kernel stack with each event.")] = False,
    text: Annotated[bool, typer.Option("--text", help="Record text by tracefs alone, without trace-cmd.")] = False,
    cleanup: Annotated[bool, typer.Option("--cleanup", help="Remove what a killed recorder left behind.")] = False,
) -> None:
    """Record the events lockscope needs while a command runs, or for a fixed time; then restore the tracing setup."""
    from lockscope.recording import host as hosts
    from lockscope.recording import script, session

    session.require(trace_cmd=not (text or cleanup))
    if cleanup:
        here = script.shell_script(choice(None, None, None, None, None), lockscope.__version__, [])
        raise typer.Exit(session.Session(here, ("-C",)).run(lambda _: None))
    _check(command, duration, vm, everything, buffer)
    if output == "-":
        msg = "-o -: a recording goes into a file"
        raise UsageError(msg)
    output_file(output, (), force=force)
    if vm is not None:
        session.process_of(vm, session.vms())
    here_now = hosts.look()
    chosen = choice(None, wanted, locks, None, here_now)
    text_of = script.shell_script(chosen, lockscope.__version__, here_now.layout)
    made = session.arguments(output, seconds=duration, kilobytes=buffer, clock=clock, pid=vm, stacks=stacks, text=text,
                             command=command or ())  # fmt: skip
    with _Shown() as shown:
        status = session.Session(text_of, made, output).run(shown)
    if session.failed(status, output):
        raise typer.Exit(NO_VERDICT)
    _tell(output)
    raise typer.Exit(status)


def _check(
    command: list[str] | None, duration: float | None, vm: int | None, everything: bool, buffer: int | None
) -> None:
    if bool(command) == (duration is not None):
        msg = "say what to record: a command after --, or --duration SECONDS, not both"
        raise UsageError(msg)
    if duration is not None and not 0 < duration < 1e6:
        msg = f"--duration {duration:g}: wanted seconds, more than 0"
        raise UsageError(msg)
    if vm is not None and everything:
        msg = "--vm and --all: one of them"
        raise UsageError(msg)
    if buffer is not None and not 4 <= buffer <= 1 << 24:
        msg = f"--buffer {buffer}: wanted KB a CPU, 4 to 16777216"
        raise UsageError(msg)


def _tell(output: str) -> None:
    from lockscope.cli.info import answered, info_lines
    from lockscope.report.data import plain
    from lockscope.trace.trace import load

    for line in info_lines(plain(answered(load(output).info()))):
        typer.echo(line)
    typer.echo("")
    typer.echo(f"judge it: lockscope analyze {Path(output)}")


class _Shown:
    """Events, bytes and losses while it records: a line on standard error that is rewritten, on a terminal."""

    def __init__(self) -> None:
        self._on, self._since, self._drawn = sys.stderr.isatty(), time.monotonic(), False

    def __call__(self, now: Counters) -> None:
        if not self._on or not now.events:
            return
        seconds = time.monotonic() - self._since
        lost = f", {now.lost:,} LOST" if now.lost else ", none lost"
        sys.stderr.write(f"\r\x1b[Krecording: {seconds:.0f} s, {now.events:,} events, {now.written >> 20:,} MiB{lost}")
        sys.stderr.flush()
        self._drawn = True

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
