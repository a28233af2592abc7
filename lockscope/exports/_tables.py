"""A trace's tables and events as files, one each: declared tables as ``NAME``, events as ``events/SYSTEM.NAME``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from lockscope.exports._base import ExportOptions
from lockscope.exports._redaction import Redaction
from lockscope.tables.schema import all_schemas

if TYPE_CHECKING:
    from lockscope.trace import EventTable, Trace

Write = Callable[[pa.Table, Path], None]


def write_tables(trace: Trace, directory: Path, options: ExportOptions, suffix: str, write: Write) -> list[Path]:
    """Write what is named, or everything."""
    everything = not options.tables and not options.events
    red = Redaction() if options.redact else None
    names = options.tables or (tuple(all_schemas()) if everything else ())
    written = []

    def one(table: EventTable, place: Path) -> None:
        place = place.with_name(place.name + suffix)
        place.parent.mkdir(parents=True, exist_ok=True)
        write(red.table(table.arrow) if red else table.arrow, place)
        written.append(place)

    for name in names:
        one(trace.table(name), directory / name)
    found = trace.all_events() if everything else {e: trace.events(e) for e in options.events}
    for name, table in found.items():
        one(table, directory / "events" / name.replace(":", "."))
    return written
