"""Events decoded into one table a format, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockscope.tables.decode import FieldDecoder, common_columns, own_columns, partition
from lockscope.tables.events import UNKNOWN, EventBatch, EventFormat, Field, Reader
from lockscope.trace.columns import named, one_dictionary

_COMMON = ("ts_ns", "seq", "cpu", "buffer", "pid", "comm", "flags", "preempt_count")


def set_of(values: Iterable[int] | None) -> frozenset[int] | None:
    """A set to look numbers up in; None stays."""
    return None if values is None else frozenset(values)


class Selection:
    """Which rows and columns are wanted."""

    def __init__(
        self,
        cpus: frozenset[int] | None = None,
        pids: frozenset[int] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        fields: tuple[str, ...] | None = None,
    ) -> None:
        self.cpus, self.pids, self.start_ns, self.end_ns, self.fields = cpus, pids, start_ns, end_ns, fields

    def own(self, fmt: EventFormat) -> dict[str, Field]:
        """The event's own fields that are wanted, by field or by column, each under its column's name."""
        wanted = self.fields
        return {n: f for n, f in own_columns(fmt).items() if wanted is None or f.name in wanted or n in wanted}

    def rows(self, batch: EventBatch, rows: NDArray[np.int64], cpu_of: NDArray[np.int32]) -> NDArray[np.int64]:
        """Those of ``rows`` that are wanted, but for the pid."""
        if self.start_ns is not None:
            rows = rows[batch.ts_ns[rows] >= self.start_ns]
        if self.end_ns is not None:
            rows = rows[batch.ts_ns[rows] < self.end_ns]
        if self.cpus is not None:
            rows = rows[np.isin(cpu_of[batch.stream[rows]], list(self.cpus))]
        return rows


class Decoder:
    """Collects the decoded columns of each event type, batch by batch."""

    def __init__(self, reader: Reader, select: Selection) -> None:
        self.reader, self.select = reader, select
        self.fields = FieldDecoder()
        self._parts: dict[int, list[pa.RecordBatch]] = {}
        self._comm_numbers: dict[str, int] = {}

    def feed(self, batch: EventBatch, pool: ThreadPoolExecutor) -> None:
        """Decode a batch, its event types side by side."""
        if not len(batch):
            return
        formats = self.reader.formats
        order, bounds = partition(batch, len(formats))
        cpu_of = np.array([s.cpu for s in self.reader.info.streams], np.int32)
        present = [i for i in range(UNKNOWN + 1, len(formats)) if bounds[i + 1] > bounds[i]]
        present.sort(key=lambda i: bounds[i] - bounds[i + 1])  # the largest first: two threads end together

        def one(index: int) -> tuple[int, pa.RecordBatch | None]:
            rows = self.select.rows(batch, order[bounds[index] : bounds[index + 1]], cpu_of)
            return index, self._rows(batch, rows, formats[index], cpu_of)

        for index, part in pool.map(one, present):
            if part is not None and part.num_rows:
                self._parts.setdefault(index, []).append(part)

    def _rows(
        self, batch: EventBatch, rows: NDArray[np.int64], fmt: EventFormat, cpu_of: NDArray[np.int32]
    ) -> pa.RecordBatch | None:
        common = common_columns(batch, rows)
        if self.select.pids is not None:
            keep = np.isin(common["pid"], list(self.select.pids))
            rows = rows[keep]
            common = {name: values[keep] for name, values in common.items()}
        stream = batch.stream[rows]
        columns: dict[str, Any] = {
            "ts_ns": batch.ts_ns[rows],
            "seq": rows + batch.first_seq,
            "cpu": cpu_of[stream],
            "stream": stream,
            **common,
        }
        for name, field in self.select.own(fmt).items():
            columns[name] = self.fields.column(batch, rows, fmt, field)
        return pa.RecordBatch.from_pydict(columns)

    def tables(self) -> dict[int, pa.Table]:
        """One table a format, with buffer and comm in place of numbers."""
        buffers = pa.array([s.buffer for s in self.reader.info.streams], pa.string())
        found = {}
        for index, parts in self._parts.items():
            table = pa.Table.from_batches(one_dictionary(parts))
            table = named(table, self.reader.info.comms_of(self.reader.formats[index].system), buffers)
            if self.select.fields is not None:
                own = [
                    c
                    for c in table.column_names
                    if c not in _COMMON or c in self.select.fields or c in ("ts_ns", "seq", "cpu", "pid")
                ]
                table = table.select(own)
            found[index] = table
        return found


def empty(fmt: EventFormat, select: Selection) -> pa.Table:
    """A table of an event that never came."""
    columns: dict[str, pa.Array] = {
        "ts_ns": pa.array([], pa.int64()),
        "seq": pa.array([], pa.int64()),
        "cpu": pa.array([], pa.int32()),
        "pid": pa.array([], pa.int32()),
    }
    for name, field in select.own(fmt).items():
        columns[name] = pa.array([], pa.string() if field.text else pa.int64())
    return pa.table(columns)
