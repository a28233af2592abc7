"""``lockscope export``: a trace in the forms that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lockscope.cli._arguments import Merge, Traces, listed, one_of, one_recording
from lockscope.cli._quantities import moment
from lockscope.errors import UsageError

if TYPE_CHECKING:
    from lockscope.exports._base import ExportFormat


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    traces: Traces,
    *,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="PLACE", help="Directory or file to write; - is standard output.")
    ],
    format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="parquet, csv, perfetto, text (ftrace) or std (RAPID).")
    ] = "parquet",
    table: Annotated[
        list[str] | None, typer.Option("--table", metavar="NAME", help="Only these tables (explain lists them).")
    ] = None,
    event: Annotated[
        list[str] | None, typer.Option("--event", metavar="NAME", help="Only these events: sched:sched_switch.")
    ] = None,
    start: Annotated[str | None, typer.Option("--start", metavar="SECONDS", help="From then on (not tables).")] = None,
    end: Annotated[str | None, typer.Option("--end", metavar="SECONDS", help="Before (not tables).")] = None,
    redact: Annotated[
        bool, typer.Option("--redact", help="Leave out task names, pids, hosts, directories, addresses.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
    merge: Merge = False,
) -> None:
    """Write a trace in a form that other tools read.

    Tables as Parquet or CSV, a file each; a Perfetto trace; ftrace text; RAPID's STD events.
    """
    from lockscope.exports._base import export_format, export_formats

    one_of("--format", format, tuple(export_formats()))
    one_recording(traces, merge)
    place = _place(export_format(format), traces, output, force)
    tables = _tables(listed(table))
    from lockscope.trace import load

    load(*traces).export(
        place,
        format=format,
        tables=tables,
        events=listed(event),
        redact=redact,
        start_ns=None if start is None else moment("--start", start),
        end_ns=None if end is None else moment("--end", end),
    )


def _place(wanted: ExportFormat, traces: list[str], output: str, force: bool) -> Path:
    """Where to write, if that would destroy nothing."""
    place = Path(output)
    if not wanted.SUFFIX:
        if place.exists() and not place.is_dir():
            msg = f"-o {output}: is not a directory"
            raise UsageError(msg)
        if place.is_dir() and not force and any(place.iterdir()):
            msg = f"-o {output}: the directory is not empty (--force writes into it)"
            raise UsageError(msg)
        return place
    if output == "-":
        return place
    if place.is_dir():
        msg = f"-o {output}: is a directory; wanted a file, as {output.rstrip('/')}{wanted.SUFFIX}"
        raise UsageError(msg)
    if place.exists() and any(Path(trace).exists() and place.samefile(trace) for trace in traces):
        msg = f"-o {output}: would overwrite the input"
        raise UsageError(msg)
    if place.exists() and not force:
        msg = f"-o {output}: exists (--force writes over it)"
        raise UsageError(msg)
    return place


def _tables(names: tuple[str, ...]) -> tuple[str, ...]:
    from lockscope.tables.schema import all_schemas

    known = tuple(all_schemas())
    for name in names:
        one_of("--table", name, known)
    return names
