"""``lockscope export``: a trace in the forms that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lockscope.cli import _options as options
from lockscope.cli._arguments import addressed, is_time, listed, one_of, one_recording, output_file, whole_numbers
from lockscope.errors import UsageError

if TYPE_CHECKING:
    from lockscope.exports.export import ExportFormat


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    traces: options.Traces,
    *,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="PLACE", help="Directory or file to write; - is standard output (files)."
        ),
    ],
    format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="parquet, csv, perfetto, text (ftrace) or std (RAPID).")
    ] = "parquet",
    table: Annotated[
        options.Words, typer.Option("--table", metavar="NAME", help="Only these tables (explain lists them).")
    ] = None,
    event: Annotated[
        options.Words, typer.Option("--event", metavar="NAME", help="Only these events: sched:sched_switch.")
    ] = None,
    from_: options.From = None,
    to: options.To = None,
    task: options.Task = None,
    vm: options.Vm = None,
    cpu: options.Cpu = None,
    lock: options.Lock = None,
    redact: options.Redact = False,
    force: options.Force = False,
    merge: options.Merge = False,
) -> None:
    """Write a trace in a form that other tools read.

    Tables as Parquet or CSV, a file each; a Perfetto trace; ftrace text; RAPID's STD events.
    """
    from lockscope.exports.export import export_format, export_formats

    one_of("--format", format, tuple(export_formats()))
    one_recording(traces, merge)
    place = _place(export_format(format), traces, output, force)
    tables = _tables(listed(table))
    is_time("--from", from_)
    is_time("--to", to)
    cpus, locks = whole_numbers("--cpu", cpu), addressed("--lock", lock)
    from lockscope.trace.trace import load

    part = load(*traces).part(from_=from_, to=to, task=listed(task), vm=vm, cpu=cpus, lock=locks)
    part.export(place, format=format, tables=tables, events=listed(event), redact=redact, force=True)


def _place(wanted: ExportFormat, traces: list[str], output: str, force: bool) -> Path:
    """Where to write, if that would destroy nothing."""
    place = Path(output)
    if wanted.SUFFIX:
        output_file(output, traces, force=force)
        return place
    if output == "-":
        msg = f"-o -: {wanted.EXPORT} is a directory of files; wanted a directory's name"
        raise UsageError(msg)
    if place.exists() and not place.is_dir():
        msg = f"-o {output}: is not a directory"
        raise UsageError(msg)
    if place.is_dir() and not force and any(place.iterdir()):
        msg = f"-o {output}: the directory is not empty (--force writes into it)"
        raise UsageError(msg)
    return place


def _tables(names: tuple[str, ...]) -> tuple[str, ...]:
    from lockscope.tables.schema import all_schemas

    known = tuple(all_schemas())
    for name in names:
        one_of("--table", name, known)
    return names
