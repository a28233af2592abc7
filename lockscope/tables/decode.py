"""Fields of one event type as Arrow columns, each at its own type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockscope.kernels import columns
from lockscope.tables.events import EventBatch, EventFormat, Field
from lockscope.tables.texts import Texts

_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_SIGNED = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}
_HOW = {"data_loc": columns.DATA_LOC, "rel_loc": columns.REL_LOC, "string": columns.TEXT, "array": columns.TEXT,
        "tail": columns.TAIL}  # fmt: skip


def gather_int(batch: EventBatch, rows: NDArray[np.int64], offset: int, width: int, signed: bool) -> NDArray[Any]:
    """An integer field of some rows, at its width and sign. Rows too short for it get 0."""
    out = np.empty(len(rows), _UNSIGNED[width])
    columns.gather(batch.data, batch.at, batch.size, rows, offset, width, batch.layout.big, out)
    return out.view(_SIGNED[width]) if signed else out


def common_columns(batch: EventBatch, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """``pid`` int32, ``flags`` uint8 (irq context), ``preempt_count`` uint8 of some rows that are events."""
    lay = batch.layout
    return {
        "pid": gather_int(batch, rows, lay.pid_at, 4, True),
        "flags": gather_int(batch, rows, lay.flags_at, 1, False),
        "preempt_count": gather_int(batch, rows, lay.preempt_at, 1, False),
    }


class FieldDecoder:
    """Decodes fields of one source; keeps the texts of each text column, so that batches share one dictionary."""

    def __init__(self) -> None:
        self._texts: dict[tuple[int, str], Texts] = {}
        self._words: dict[tuple[int, str], pa.Array] = {}

    def column(self, batch: EventBatch, rows: NDArray[np.int64], fmt: EventFormat, field: Field) -> pa.Array:
        """A field of the rows of one event type.

        Integers at their width and sign; text dictionary-encoded (int32 numbers); arrays as lists; a ``print_buf`` or
        other unstructured tail as binary.
        """
        if field.kind == "int":
            return pa.array(gather_int(batch, rows, field.offset, field.size, field.signed))
        if field.text:
            numbers = self._text_numbers(batch, rows, fmt, field)
            return pa.DictionaryArray.from_arrays(pa.array(numbers), self._dictionary(fmt, field))
        return _spans(batch, rows, field)

    def _text_numbers(
        self, batch: EventBatch, rows: NDArray[np.int64], fmt: EventFormat, field: Field
    ) -> NDArray[np.int32]:
        texts = self._texts.setdefault((fmt.index, field.name), Texts())
        out = np.empty(len(rows), np.int32)
        done = 0
        while done < len(rows):
            done = columns.gather_text(
                batch.data, batch.at, batch.size, rows, _HOW[field.kind], field.offset, field.size, batch.layout.big,
                done, out, texts.table, texts.pool, texts.ends, texts.state,
            )  # fmt: skip
            if done < len(rows):
                texts.grow()
        return out

    def _dictionary(self, fmt: EventFormat, field: Field) -> pa.Array:
        texts = self._texts[fmt.index, field.name]
        words = self._words.get((fmt.index, field.name))
        if words is None or len(words) < len(texts):
            words = pa.array(texts.all(), pa.string())
            self._words[fmt.index, field.name] = words
        return words


def _spans(batch: EventBatch, rows: NDArray[np.int64], field: Field) -> pa.Array:
    begins, lengths = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    columns.gather_spans(batch.data, batch.at, batch.size, rows, _HOW[field.kind], field.offset, field.size,
                         batch.layout.big, begins, lengths)  # fmt: skip
    item = field.item if field.item in _UNSIGNED else 1
    lengths -= lengths % item
    raw = np.empty(int(lengths.sum()), np.uint8)
    columns.copy_spans(batch.data, begins, lengths, raw)
    ends = np.concatenate(([0], np.cumsum(lengths // item)))
    if ends[-1] > (1 << 31) - 1:
        return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), _items(raw, item, field.signed,
        batch.layout.big))
    return pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), _items(raw, item, field.signed, batch.layout.big))


def _items(raw: NDArray[np.uint8], item: int, signed: bool, big: bool) -> pa.Array:
    kind = np.dtype((_SIGNED if signed else _UNSIGNED)[item])
    values = raw.view(kind.newbyteorder(">")).astype(kind) if big else raw.view(kind)
    return pa.array(values)


def partition(batch: EventBatch, formats: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows by format: format f has ``order[bounds[f]:bounds[f + 1]]``."""
    order, bounds = np.empty(len(batch), np.int64), np.empty(formats + 1, np.int64)
    columns.partition(batch.kind, formats, order, bounds)
    return order, bounds
