"""CSV: one file a table, with a header; lists are text with blanks between their values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from lockscope.exports._base import ExportOptions
from lockscope.exports._tables import write_tables

if TYPE_CHECKING:
    from lockscope.trace import Trace

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
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pa.string()))
        elif pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            texts = [" ".join(map(str, v)) for v in table.column(i).to_pylist()]
            table = table.set_column(i, field.name, pa.array(texts, pa.string()))
    return table
