"""Fields of one event type as Arrow columns, each at its own type."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockscope.core import columns
from lockscope.errors import LockscopeError
from lockscope.tables.events import EventBatch, EventFormat, Field, RecordLayout
from lockscope.tables.texts import Texts

_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_SIGNED = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}
_ARROW = {
    (width, signed): pa.from_numpy_dtype(kind)
    for signed, kinds in ((False, _UNSIGNED), (True, _SIGNED))
    for width, kind in kinds.items()
}
_HOW = {"data_loc": columns.DATA_LOC, "rel_loc": columns.REL_LOC, "string": columns.TEXT, "array": columns.TEXT,
        "tail": columns.TAIL, "before": columns.BEFORE}  # fmt: skip


def gather_int(batch: EventBatch, rows: NDArray[np.int64], offset: int, width: int, signed: bool) -> NDArray[Any]:
    """An integer field of some rows, at its width and sign. Rows too short for it get 0."""
    out = np.empty(len(rows), (_SIGNED if signed else _UNSIGNED)[width])
    _gather(batch, rows, [(offset, width, 0)], out.view(np.uint8))
    return out


def _gather(
    batch: EventBatch, rows: NDArray[np.int64], plan: list[tuple[int, int, int]], out: NDArray[np.uint8]
) -> None:
    """Integers into ``out``; ``plan``: (offset in the record, width, where the column begins)."""
    scratch = np.empty((2, columns.BLOCK), np.int64)
    columns.gather_columns(
        batch.data, batch.at, batch.size, rows, np.array(plan, np.int64), batch.layout.big, out, *scratch
    )  # fmt: skip


def common_columns(batch: EventBatch, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """``pid`` int32, ``flags`` uint8 (irq context), ``preempt_count`` uint8 of some rows that are events."""
    lay = batch.layout
    return {
        "pid": gather_int(batch, rows, lay.pid_at, 4, True),
        "flags": gather_int(batch, rows, lay.flags_at, 1, False),
        "preempt_count": gather_int(batch, rows, lay.preempt_at, 1, False),
    }


# Columns of every event's table: place and record, and what ``Trace.events`` makes of stream and pid.
COMMON = ("ts_ns", "seq", "cpu", "stream", "buffer", "pid", "comm", "flags", "preempt_count")


def column_names(fields: Iterable[Field]) -> list[str]:
    """What the columns of fields are called: as they are, but that no two columns of a table have one name.

    A field with the name of a common column (``COMMON``), or of a field before it, gets a ``_`` at its end, as pandas,
    Parquet's readers and CSV can have no two of one name: sched_wakeup's own ``pid`` is the column ``pid_``.
    """
    names: list[str] = list(COMMON)
    for field in fields:
        name = field.name
        while name in names:
            name += "_"
        names.append(name)
    return names[len(COMMON) :]


def own_columns(fmt: EventFormat) -> dict[str, Field]:
    """An event's own fields by the names of their columns, in their order."""
    return dict(zip(column_names(fmt.fields), fmt.fields, strict=True))


_MOST_TEXT, _MOST_SPANS = 1 << 30, 1 << 29  # bytes: of all texts; of one type's arrays in one batch
_PLACE = (("ts_ns", pa.int64()), ("seq", pa.int64()), ("cpu", pa.int32()), ("stream", pa.int32()))


class _Plan:
    """How the rows of one event type become columns: integers and text numbers in one piece of memory."""

    def __init__(self, fmt: EventFormat, layout: RecordLayout, wanted: frozenset[str] | None) -> None:
        own = {n: f for n, f in own_columns(fmt).items() if wanted is None or f.name in wanted or n in wanted}
        fields = list(own.values())
        ints = [("pid", layout.pid_at, pa.int32()), ("flags", layout.flags_at, pa.uint8()),
                ("preempt_count", layout.preempt_at, pa.uint8())]  # fmt: skip
        ints += [(f.name, f.offset, _ARROW[f.size, f.signed]) for f in fields if f.kind == "int"]
        self.texts = [f for f in fields if f.text]
        self.spans = [f for f in fields if f.kind != "int" and not f.text]
        self.offsets = [offset for _, offset, _ in ints]
        self.kinds = [kind for _, kind in _PLACE] + [kind for *_, kind in ints] + [pa.int32()] * len(self.texts)
        self.widths = [kind.bit_width // 8 for kind in self.kinds]
        made = [f for f in fields if f.kind == "int"] + self.texts + self.spans
        first = len(_PLACE) + 3  # what all events have
        self.order = [*range(first), *(first + next(i for i, m in enumerate(made) if m is f) for f in fields)]
        self.names = [name for name, _ in _PLACE] + [name for name, *_ in ints[:3]] + list(own)
        self.schema: pa.Schema | None = None

    def places(self, n: int) -> list[int]:
        """Where each column begins, and how much room all need: on cache line boundaries."""
        return list(accumulate(((n * width + 63) & ~63 for width in self.widths), initial=0))


class FieldDecoder:
    """Decodes fields of one source; keeps the texts of each text column, so that batches share one dictionary."""

    def __init__(self) -> None:
        self._texts: dict[tuple[int, str, int], Texts] = {}
        self._words: dict[tuple[int, str, int], pa.Array] = {}
        self._plans: dict[tuple[int, frozenset[str] | None], _Plan] = {}

    def column(self, batch: EventBatch, rows: NDArray[np.int64], fmt: EventFormat, field: Field) -> pa.Array:
        """A field of the rows of one event type.

        Integers at their width and sign; text dictionary-encoded (int32 numbers); arrays as lists.
        """
        if field.kind == "int":
            return pa.array(gather_int(batch, rows, field.offset, field.size, field.signed))
        if field.text:
            numbers = np.empty(len(rows), np.int32)
            self._number(batch, rows, fmt, field, numbers)
            return pa.DictionaryArray.from_arrays(pa.array(numbers), self._dictionary(fmt, field))
        return _spans(batch, field, *_find_spans(batch, rows, field))

    def rows(
        self,
        batch: EventBatch,
        rows: NDArray[np.int64],
        fmt: EventFormat,
        cpu_of: NDArray[np.int32],
        fields: frozenset[str] | None = None,
    ) -> pa.RecordBatch:
        """Rows of one event type as a table: ``ts_ns``, ``seq``, ``cpu``, ``stream``, ``pid``, ``flags``,
        ``preempt_count``, then its fields (all, or those named), called as ``own_columns`` says.

        ``cpu_of``: int32[streams]. All integers come out in one pass over the records: several times faster than
        ``column`` by ``column``. Different event types may be decoded by different threads at once.
        """
        plan = self._plans.get((fmt.index, fields))
        if plan is None:
            plan = self._plans[fmt.index, fields] = _Plan(fmt, batch.layout, fields)
        n = len(rows)
        *places, room = plan.places(n)
        out = np.empty(room, np.uint8)
        ints = list(zip(plan.offsets, plan.widths[len(_PLACE) :], places[len(_PLACE) :], strict=False))
        _gather(batch, rows, ints, out)
        ts, seq, cpu, stream = (
            out[p : p + n * w].view(f"i{w}") for p, w in zip(places[:4], plan.widths[:4], strict=True)
        )
        columns.gather_place(batch.ts_ns, batch.stream, cpu_of, rows, batch.first_seq, ts, seq, cpu, stream)
        first_text = len(places) - len(plan.texts)
        for field, place in zip(plan.texts, places[first_text:], strict=True):
            self._number(batch, rows, fmt, field, out[place : place + 4 * n].view(np.int32))
        memory = pa.py_buffer(out)
        arrays = [
            pa.Array.from_buffers(kind, n, [None, memory.slice(place, n * width)])
            for kind, width, place in zip(plan.kinds, plan.widths, places, strict=True)
        ]
        for i, field in enumerate(plan.texts, first_text):
            arrays[i] = pa.DictionaryArray.from_arrays(arrays[i], self._dictionary(fmt, field), safe=False)
        spans = [_find_spans(batch, rows, field) for field in plan.spans]
        if sum(int(lengths.sum()) for _, lengths in spans) > _MOST_SPANS:
            msg = f"the arrays of {fmt.full_name} overlap: the trace is damaged"
            raise LockscopeError(msg)
        arrays.extend(_spans(batch, f, *found) for f, found in zip(plan.spans, spans, strict=True))
        ordered = [arrays[i] for i in plan.order]
        if plan.schema is None:
            plan.schema = pa.schema([(name, a.type) for name, a in zip(plan.names, ordered, strict=True)])
        return pa.RecordBatch.from_arrays(ordered, schema=plan.schema)

    def _number(
        self, batch: EventBatch, rows: NDArray[np.int64], fmt: EventFormat, field: Field, out: NDArray[np.int32]
    ) -> None:
        """A text field as numbers. Raises ``LockscopeError`` beyond the limits of memory for texts."""
        texts = self._texts.get((fmt.index, field.name, field.offset))
        if texts is None:  # only the thread that decodes this event type asks for it
            texts = self._texts[fmt.index, field.name, field.offset] = Texts()
        done = 0
        while done < len(rows):
            done = columns.gather_text(
                batch.data, batch.at, batch.size, rows, _HOW[field.kind], field.offset, field.size, batch.layout.big,
                done, out, texts.table, texts.pool, texts.ends, texts.state,
            )  # fmt: skip
            if done < len(rows):
                texts.grow()
                if sum(len(t.pool) for t in list(self._texts.values())) > _MOST_TEXT:
                    msg = "the trace's texts do not fit into memory: it is damaged, or ask for fewer fields"
                    raise LockscopeError(msg)

    def _dictionary(self, fmt: EventFormat, field: Field) -> pa.Array:
        texts = self._texts[fmt.index, field.name, field.offset]
        words = self._words.get((fmt.index, field.name, field.offset))
        if words is None or len(words) < len(texts):
            words = pa.array(texts.all(), pa.string())
            self._words[fmt.index, field.name, field.offset] = words
        return words


def _find_spans(
    batch: EventBatch, rows: NDArray[np.int64], field: Field
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First byte and bytes of an array field, in whole items."""
    begins, lengths = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    columns.gather_spans(batch.data, batch.at, batch.size, rows, _HOW[field.kind], field.offset, field.size,
                         batch.layout.big, begins, lengths)  # fmt: skip
    lengths -= lengths % _item(field)
    return begins, lengths


def _item(field: Field) -> int:
    return field.item if field.item in _UNSIGNED else 1


def _spans(batch: EventBatch, field: Field, begins: NDArray[np.int64], lengths: NDArray[np.int64]) -> pa.Array:
    item = _item(field)
    raw = np.empty(int(lengths.sum()), np.uint8)
    columns.copy_spans(batch.data, begins, lengths, raw)
    ends = np.concatenate(([0], np.cumsum(lengths // item))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), _items(raw, item, field.signed, batch.layout.big))


def _items(raw: NDArray[np.uint8], item: int, signed: bool, big: bool) -> pa.Array:
    kind = np.dtype((_SIGNED if signed else _UNSIGNED)[item])
    values = raw.view(kind.newbyteorder(">")).astype(kind) if big else raw.view(kind)
    return pa.array(values)


def partition(batch: EventBatch, formats: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows by format: format f has ``order[bounds[f]:bounds[f + 1]]``."""
    order, bounds = np.empty(len(batch), np.int64), np.empty(formats + 1, np.int64)
    columns.partition(batch.kind, order, bounds, np.empty(formats, np.int64))
    return order, bounds
