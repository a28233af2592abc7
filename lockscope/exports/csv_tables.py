"""CSV: one file a table, with a header; lists are text with blanks between their values.

Text is one line without control characters, and what a spreadsheet would take for a formula begins with a quote.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from lockscope.exports._tables import write_tables
from lockscope.exports.export import ExportOptions
from lockscope.harmless import cell

if TYPE_CHECKING:
    from lockscope.trace.trace import Trace

EXPORT, SUFFIX = "csv", ""
DOC = "a directory with a CSV file for each table and event"


def write(trace: Trace, target: Path, options: ExportOptions) -> list[Path]:
    """Write a directory of CSV files."""
    return write_tables(trace, target, options, ".csv", _write)


def _write(table: pa.Table, place: Path) -> None:
    from pyarrow import csv

    csv.write_csv(_flat(table), str(place))


def _flat(table: pa.Table) -> pa.Table:
    """CSV has no lists and no dictionaries: lists become text."""
    for i, field in enumerate(table.schema):
        column = table.column(i)
        if pa.types.is_dictionary(field.type) or pa.types.is_string(field.type):
            column = _harmless(column.cast(pa.string()))
        elif pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            texts = [None if v is None else " ".join(map(str, v)) for v in column.to_pylist()]
            column = pa.array(texts, pa.string())
        table = table.set_column(i, field.name, column)
    return table.rename_columns([cell(name) for name in table.column_names])


def _harmless(column: pa.ChunkedArray) -> pa.ChunkedArray:
    once = column.dictionary_encode()
    words = [[None if w is None else cell(w) for w in chunk.dictionary.to_pylist()] for chunk in once.chunks]
    parts = [pa.array(w, pa.string()).take(chunk.indices) for w, chunk in zip(words, once.chunks, strict=True)]
    return pa.chunked_array(parts, pa.string())
