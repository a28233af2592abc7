"""``lockscope export``: a trace's tables as files, so that a second look never decodes again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lockscope.cli._arguments import listed, one_of
from lockscope.errors import UsageError

FORMATS = ("parquet", "csv")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    trace: Annotated[str, typer.Argument(metavar="TRACE", help="A trace; - is standard input.")],
    *,
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="Directory to write; made if missing.")],
    format: Annotated[str, typer.Option("--format", metavar="NAME", help="parquet or csv.")] = "parquet",
    table: Annotated[
        list[str] | None, typer.Option("--table", metavar="NAME", help="Only these tables (explain lists them).")
    ] = None,
    event: Annotated[
        list[str] | None, typer.Option("--event", metavar="NAME", help="Only these events: sched:sched_switch.")
    ] = None,
    redact: Annotated[
        bool, typer.Option("--redact", help="Leave out task names, pids, hosts, directories, addresses.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write into a directory that is not empty.")] = False,
) -> None:
    """Write a trace's tables as Parquet or CSV."""
    one_of("--format", format, FORMATS)
    directory = _directory(output, force)
    tables = _tables(listed(table))
    from lockscope.trace import load

    load(trace).export(directory, format=format, tables=tables, events=listed(event), redact=redact)


def _directory(output: str, force: bool) -> Path:
    place = Path(output)
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
