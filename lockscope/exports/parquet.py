"""Parquet: one file a table, compressed with zstd; DuckDB, pandas, Polars and Spark read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from lockscope.exports._tables import write_tables
from lockscope.exports.export import ExportOptions

if TYPE_CHECKING:
    from lockscope.trace.trace import Trace

EXPORT, SUFFIX = "parquet", ""
DOC = "a directory with a Parquet file for each table and event"


def write(trace: Trace, target: Path, options: ExportOptions) -> list[Path]:
    """Write a directory of Parquet files."""
    return write_tables(trace, target, options, ".parquet", _write)


def _write(table: pa.Table, place: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, str(place), compression="zstd")
