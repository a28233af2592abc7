"""A trace's tables and events as files, one each: declared tables as ``NAME``, events as ``events/SYSTEM.NAME``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from lockscope.exports.export import ExportOptions, table_of
from lockscope.exports.redaction import Redaction, of_formats, of_schema
from lockscope.outfiles import Names, whole, whole_directory
from lockscope.plots.figure import View
from lockscope.tables.schema import all_schemas
from lockscope.trace.view import Part

if TYPE_CHECKING:
    from lockscope.tables.meaning import Meaning
    from lockscope.trace.trace import EventTable, Trace

Write = Callable[[pa.Table, Path], None]


def write_tables(trace: Trace, directory: Path, options: ExportOptions, suffix: str, write: Write) -> list[Path]:
    """Write what is named, or everything."""
    everything = not options.tables and not options.events
    red = Redaction() if options.redact else None
    names = options.tables or (tuple(all_schemas()) if everything else ())
    events = Names()
    written: list[Path] = []

    def one(table: EventTable, name: str, meanings: dict[str, Meaning]) -> None:
        with whole(folder / name) as place:
            write(red.table(table.arrow, meanings) if red else table.arrow, place)
        written.append(directory / name)

    with whole_directory(directory) as folder:
        for name in names:
            one(table_of(trace, name, options), f"{name}{suffix}", of_schema(all_schemas()[name]))
            trace.forget(name)  # each keeps a walk's whole memory
        part = Part(trace, options.view) if options.view != View() else trace
        wanted = [f.full_name for f in trace.reader.formats[2:]] if everything and part is not trace else options.events
        found = (
            trace.all_events() if everything and part is trace else {e: part.events(e) for e in dict.fromkeys(wanted)}
        )
        for name, table in found.items():
            formats = [f for f in trace.reader.formats if name in (f.name, f.full_name)]
            one(table, f"events/{events.of(name.replace(':', '.'))}{suffix}", of_formats(formats))
    return written
