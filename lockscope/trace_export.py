"""A trace's tables and events as files: Parquet or CSV, one file a table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lockscope.errors import UsageError
from lockscope.tables.schema import all_schemas

if TYPE_CHECKING:
    from lockscope.trace import EventTable, Trace

_ADDRESS_NAMES = re.compile(r"lock|callchain|ip|ptr|addr|sptep|kvm|vcpu|ssp|key|func|caller|slot|args")


def export(
    trace: Trace, directory: Path, kind: str, tables: tuple[str, ...], events: tuple[str, ...], redact: bool
) -> list[Path]:
    """Write what is named, or everything.

    Declared tables go to ``NAME.parquet``, events to ``events/SYSTEM.NAME.parquet``.
    """
    if kind not in ("parquet", "csv"):
        msg = f"--format {kind!r}: parquet and csv can be written"
        raise UsageError(msg)
    everything = not tables and not events
    red = _Redaction() if redact else None
    names = tables or (tuple(all_schemas()) if everything else ())
    written = [_write(trace.table(name), directory / name, kind, red) for name in names]
    found: dict[str, EventTable] = trace.all_events() if everything else {e: trace.events(e) for e in events}
    for name, table in found.items():
        written.append(_write(table, directory / "events" / name.replace(":", "."), kind, red))
    return written


def _write(table: EventTable, place: Path, kind: str, red: _Redaction | None) -> Path:
    place = place.with_name(f"{place.name}.{kind}")
    place.parent.mkdir(parents=True, exist_ok=True)
    arrow = red.table(table.arrow) if red else table.arrow
    if kind == "parquet":
        import pyarrow.parquet as pq

        pq.write_table(arrow, str(place), compression="zstd")
    else:
        from pyarrow import csv

        csv.write_csv(_flat(arrow), str(place))
    return place


def _flat(table: pa.Table) -> pa.Table:
    """CSV has no lists and no dictionaries: lists become text."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pa.string()))
        elif pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            texts = [" ".join(map(str, v)) for v in table.column(i).to_pylist()]
            table = table.set_column(i, field.name, pa.array(texts, pa.string()))
    return table


class _Redaction:
    """Replaces task names, pids and addresses by numbers that stay the same over all files of one export."""

    def __init__(self) -> None:
        self._known: dict[str, dict[Any, int]] = {"pid": {0: 0}, "address": {0: 0}}
        self._comms: dict[str, str] = {"<idle>": "<idle>", "<...>": "<...>"}

    def table(self, table: pa.Table) -> pa.Table:
        """The table without them."""
        for i, field in enumerate(table.schema):
            name, column = field.name, table.column(i)
            if "comm" in name and not pa.types.is_integer(field.type):
                table = table.set_column(i, name, self._names(column))
            elif pa.types.is_integer(field.type) and (name == "pid" or name.endswith("_pid") or name == "tgid"):
                table = table.set_column(i, name, self._numbers(column, "pid"))
            elif field.type == pa.uint64() and _ADDRESS_NAMES.search(name):
                table = table.set_column(i, name, self._numbers(column, "address"))
            elif pa.types.is_list(field.type) and _ADDRESS_NAMES.search(name):
                table = table.remove_column(i).add_column(i, name, pa.nulls(table.num_rows, pa.string()))
        return table

    def _names(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        words = pc.unique(column.cast(pa.string())).to_pylist()
        for word in words:
            self._comms.setdefault(word, f"task{len(self._comms) - 1}")
        return self._mapped(column.cast(pa.string()), words, [self._comms[w] for w in words], pa.string())

    def _numbers(self, column: pa.ChunkedArray, what: str) -> pa.ChunkedArray:
        known = self._known[what]
        values = pc.unique(column).to_pylist()
        for value in values:
            known.setdefault(value, len(known))
        return self._mapped(column, values, [known[v] for v in values], column.type)

    @staticmethod
    def _mapped(column: pa.ChunkedArray, old: list[Any], new: list[Any], kind: pa.DataType) -> pa.ChunkedArray:
        places = pc.index_in(column, value_set=pa.array(old, column.type))
        return pa.chunked_array([pa.array(new, kind).take(chunk) for chunk in places.chunks], kind)
