"""Tables fit to be shared: what a column is about decides whether it stays, becomes numbers, or is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lockscope.report.redaction.pseudonyms import Redactor
from lockscope.tables.decode import column_names
from lockscope.tables.events import EventFormat
from lockscope.tables.meaning import Meaning, of_column, of_field
from lockscope.tables.schema import TableSchema

# Bits 12 to 51 of an SPTE are a host's page frame, or what KVM keeps in its place (EPT, NPT and shadow paging alike:
# SPTE_BASE_ADDR_MASK, arch/x86/kvm/mmu/spte.h, v6.12). All others are permissions and KVM's own marks.
_FRAME = 0x000F_FFFF_FFFF_F000
_COMMON = {"pid": Meaning.PID, "comm": Meaning.COMM, "buffer": Meaning.INSTANCE} | dict.fromkeys(
    ("ts_ns", "seq", "cpu", "flags", "preempt_count"), Meaning.PLAIN
)


def of_schema(schema: TableSchema) -> dict[str, Meaning]:
    """The columns of a declared table."""
    return {column.name: of_column(column) for column in schema.columns}


def of_formats(formats: Iterable[EventFormat]) -> dict[str, Meaning]:
    """The columns of an event type. Where two formats of one name differ, what they differ in is unknown."""
    found: dict[str, Meaning] = dict(_COMMON)
    for fmt in formats:
        for name, field in zip(column_names(fmt.fields), fmt.fields, strict=True):
            meaning = of_field(fmt, field)
            found[name] = meaning if found.get(name, meaning) is meaning else Meaning.UNKNOWN
    return found


class Redaction:
    """Replaces names and numbers by others that stay the same over all files of one export.

    Of tasks, pids, addresses and instances that is a number or a pseudonym; an SPTE keeps its bits without the frame;
    lock classes, symbols and the kernel's own numbers stay. Everything else is left out: its column is null.
    """

    def __init__(self, red: Redactor | None = None) -> None:
        self._red = red or Redactor()
        self._addresses: dict[int, int] = {0: 0}

    def table(self, table: pa.Table, meanings: Mapping[str, Meaning]) -> pa.Table:
        """The table without what must not be shared."""
        for i, field in enumerate(table.schema):
            column = self._column(table.column(i), meanings.get(field.name, Meaning.UNKNOWN))
            if pa.types.is_dictionary(field.type):
                column = column.dictionary_encode()
            table = table.set_column(i, field.name, column)
        return table

    def _column(self, column: pa.ChunkedArray, meaning: Meaning) -> pa.ChunkedArray:
        kind = column.type
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(pa.string()), pa.string()
        number = pa.types.is_integer(kind)
        if meaning is Meaning.PLAIN and (number or pa.types.is_boolean(kind) or pa.types.is_string(kind)):
            return column
        if meaning is Meaning.PID and number:
            return _mapped(column, self._red.pid)
        if meaning is Meaning.ADDRESS and number:
            return _mapped(column, lambda v: self._addresses.setdefault(v & (1 << 64) - 1, len(self._addresses)))
        if meaning is Meaning.SPTE and number:
            return _mapped(column, lambda v: v & ~_FRAME)
        if pa.types.is_string(kind):
            if meaning is Meaning.COMM:
                return _mapped(column, self._red.task)
            if meaning is Meaning.INSTANCE:
                return _mapped(column, self._red.instance)
            if meaning in (Meaning.CLASS, Meaning.SYMBOL):
                return _mapped(column, self._red.addresses)
        return pa.chunked_array([pa.nulls(len(column), pa.string() if pa.types.is_nested(kind) else kind)])


def _mapped(column: pa.ChunkedArray, new: Callable[[Any], Any]) -> pa.ChunkedArray:
    """Each distinct value by its new one."""
    values = pc.unique(column)
    pairs = [(v, new(v)) for v in values.to_pylist() if v is not None]
    old = pa.array([v for v, _ in pairs], column.type)
    places = pc.index_in(column, value_set=old)
    made = pa.array([v for _, v in pairs], column.type)
    return pa.chunked_array([made.take(chunk) for chunk in places.chunks], column.type)
