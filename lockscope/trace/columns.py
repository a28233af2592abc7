"""Columns of decoded events put together: parts of one event type, of several formats of one name, and their tasks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def joined(parts: list[pa.Table]) -> pa.Table:
    """The rows of all parts in the trace's order. What is a number in one part and text in another is text.

    A probe's argument is text where the kernel could not read it ("(fault)"), and two buffers may have an event's
    format each.
    """
    if len(parts) == 1:
        return parts[0]
    for name in dict.fromkeys(name for part in parts for name in part.column_names):
        kinds = {part.schema.field(name).type for part in parts if name in part.column_names}
        if len(kinds) > 1 and not _alike(kinds):
            parts = [_as_text(part, name) for part in parts]
    return pa.concat_tables(parts, promote_options="permissive").sort_by("seq")


def _alike(kinds: set[pa.DataType]) -> bool:
    """Whether Arrow finds one type for all: for integers it does, unless one of 64 bits is unsigned and others not."""
    if pa.uint64() in kinds and any(pa.types.is_signed_integer(kind) for kind in kinds):
        return False
    try:
        pa.unify_schemas([pa.schema([("column", kind)]) for kind in kinds], promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return False
    return True


def _as_text(part: pa.Table, name: str) -> pa.Table:
    if name not in part.column_names:
        return part
    at, column = part.column_names.index(name), part.column(name)
    if pa.types.is_nested(column.type):
        texts = pa.array([None if v is None else " ".join(map(str, v)) for v in column.to_pylist()], pa.string())
    else:
        texts = column.cast(pa.string())
    return part.set_column(at, name, texts)


def one_dictionary(parts: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Later parts know more texts than earlier ones; all get the last one's dictionary (numbers are the same)."""
    last = parts[-1]
    out = []
    for part in parts:
        columns = [
            pa.DictionaryArray.from_arrays(c.indices, w.dictionary) if pa.types.is_dictionary(c.type) else c
            for c, w in zip(part.columns, last.columns, strict=True)
        ]
        out.append(pa.RecordBatch.from_arrays(columns, schema=last.schema))
    return out


def named(table: pa.Table, comms: dict[int, str], buffers: pa.Array) -> pa.Table:
    """Replace the stream number by the buffer's name and add each pid's comm, both dictionary-encoded."""
    stream = table.column("stream")
    once = buffers.dictionary_encode()
    buffer = pa.chunked_array(
        [pa.DictionaryArray.from_arrays(once.indices.take(c), once.dictionary) for c in stream.chunks]
    )
    pids = table.column("pid")
    known = np.array(sorted({0, *comms}), np.int64)
    names_of = pa.array(["<...>"] + [comms.get(int(p), "<idle>") for p in known], pa.string()).dictionary_encode()
    numbers_of = names_of.indices.to_numpy()

    def comm(chunk: pa.Array) -> pa.DictionaryArray:
        values = chunk.to_numpy(zero_copy_only=False)
        place = np.minimum(np.searchsorted(known, values), len(known) - 1)
        numbers = numbers_of[np.where(known[place] == values, place + 1, 0)]
        return pa.DictionaryArray.from_arrays(pa.array(numbers), names_of.dictionary)

    names = list(table.column_names)
    table = table.set_column(names.index("stream"), "buffer", buffer)
    return table.add_column(names.index("pid") + 1, "comm", pa.chunked_array([comm(c) for c in pids.chunks]))
