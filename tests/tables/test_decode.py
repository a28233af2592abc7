"""Event types as Arrow columns: types, names, shared dictionaries, and limits for damaged records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lockscope.errors import LockscopeError
from lockscope.formats.trace_dat.reader import TraceDat
from lockscope.tables import decode, texts
from lockscope.tables.decode import FieldDecoder, common_columns, gather_int, partition
from lockscope.tables.events import EventBatch, EventFormat, Field, RecordLayout
from tests.builders.trace_dat import Kernel, TraceFile

CPUS = np.array([4, 5], np.int32)


def _batch(records: list[bytes], *, big: bool = False) -> EventBatch:
    """The records as rows of format 2, from row 100 on, by turns of streams 0 and 1."""
    n = len(records)
    ends = np.cumsum([len(r) for r in records])
    size = np.array([len(r) for r in records], np.int32)
    return EventBatch(
        np.frombuffer(bytearray(b"".join(records)), np.uint8),
        np.arange(n) * 10,
        (ends - size).astype(np.int64),
        size,
        np.full(n, 2, np.int32),
        (np.arange(n) % 2).astype(np.int32),
        100,
        RecordLayout(big),
    )


def _format(*fields: Field) -> EventFormat:
    return EventFormat(2, 310, "lock", "lock_acquire", fields)


LOCK = Field("lockdep_addr", "void *", 8, 8, False, "int", 8)
FLAGS = Field("flags", "unsigned int", 16, 4, True, "int", 4)
NAME = Field("name", "char[8]", 20, 8, False, "string", 1, 8, True)
WORDS = Field("words", "u16[]", 28, 0, False, "tail", 2)


def _record(k: Kernel, pid: int, lock: int, flags: int, name: bytes, words: list[int]) -> bytes:
    return k.record(310, pid, k.pack(f"Qi8s{len(words)}H", lock, flags, name, *words), flags=9, preempt=0x21)


@pytest.mark.parametrize("big", [False, True])
def test_rows_have_every_column_at_its_type(big: bool) -> None:
    k = Kernel(big)
    batch = _batch([_record(k, 7, 1 << 63, -2, b"one", [1, 65_535]), _record(k, -1, 5, 3, b"two", [])], big=big)
    table = FieldDecoder().rows(batch, np.array([1, 0]), _format(LOCK, WORDS, FLAGS, NAME), CPUS)
    assert table.to_pydict() == {
        "ts_ns": [10, 0],
        "seq": [101, 100],
        "cpu": [5, 4],
        "stream": [1, 0],
        "pid": [-1, 7],
        "flags": [9, 9],
        "preempt_count": [0x21, 0x21],
        "lockdep_addr": [5, 1 << 63],
        "words": [[], [1, 65_535]],
        "flags_": [3, -2],
        "name": ["two", "one"],
    }
    kinds = {f.name: f.type for f in table.schema}
    assert (kinds["ts_ns"], kinds["cpu"], kinds["flags"]) == (pa.int64(), pa.int32(), pa.uint8())
    assert (kinds["lockdep_addr"], kinds["flags_"]) == (pa.uint64(), pa.int32())
    assert kinds["name"] == pa.dictionary(pa.int32(), pa.string())
    assert kinds["words"] == pa.list_(pa.uint16())


def test_only_the_fields_asked_for() -> None:
    batch = _batch([_record(Kernel(), 7, 8, 9, b"x", [])])
    table = FieldDecoder().rows(batch, np.array([0]), _format(LOCK, FLAGS, NAME), CPUS, frozenset({"lockdep_addr"}))
    assert table.column_names[-2:] == ["preempt_count", "lockdep_addr"]


def test_a_column_alone_is_the_one_of_the_table() -> None:
    k = Kernel()
    batch = _batch([_record(k, i, i * 3, -i, b"n%d" % (i % 2), [i]) for i in range(5)])
    rows, fmt, decoder = np.arange(5), _format(LOCK, FLAGS, NAME, WORDS), FieldDecoder()
    table = decoder.rows(batch, rows, fmt, CPUS)
    for field, column in zip(fmt.fields, table.columns[-4:], strict=True):
        assert decoder.column(batch, rows, fmt, field).to_pylist() == column.to_pylist()
    common = common_columns(batch, rows)
    assert [common[n].tolist() for n in ("pid", "flags", "preempt_count")] == [list(range(5)), [9] * 5, [0x21] * 5]
    assert gather_int(batch, rows, FLAGS.offset, 4, True).tolist() == [0, -1, -2, -3, -4]


def test_batches_share_one_dictionary() -> None:
    k, decoder, fmt = Kernel(), FieldDecoder(), _format(NAME)
    parts = []
    for names in ((b"a", b"b"), (b"b", b"c"), (b"a",)):
        batch = _batch([_record(k, 1, 1, 1, name, []) for name in names])
        parts.append(decoder.rows(batch, np.arange(len(names)), fmt, CPUS).column("name"))
    assert [p.indices.to_pylist() for p in parts] == [[0, 1], [1, 2], [0]]
    assert [p.dictionary.to_pylist() for p in parts] == [["a", "b"], ["a", "b", "c"], ["a", "b", "c"]]


def test_no_rows_make_an_empty_table_of_the_same_columns() -> None:
    batch = _batch([_record(Kernel(), 1, 1, 1, b"a", [])])
    decoder, fmt = FieldDecoder(), _format(LOCK, NAME, WORDS)
    full, empty = (decoder.rows(batch, np.arange(n), fmt, CPUS) for n in (1, 0))
    assert (empty.num_rows, empty.schema) == (0, full.schema)


def test_partition_by_format(tmp_path: Path) -> None:
    k = Kernel()
    page = k.page(0).event(1, k.switch(1, b"c", 1, 0)).event(1, k.acquire(1, b"a", 1)).event(1, k.switch(2, b"d", 2, 0))
    reader = TraceDat(TraceFile({0: [page]}).write(tmp_path))
    (batch,) = reader.batches()
    order, bounds = partition(batch, len(reader.formats))
    by_name = {f.name: order[bounds[f.index] : bounds[f.index + 1]].tolist() for f in reader.formats}
    assert by_name == {"loss": [], "unknown": [], "lock_acquire": [1], "sched_switch": [0, 2], "mixed": []}


def test_records_that_claim_more_than_memory_holds_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    k = Kernel()
    batch = _batch([_record(k, 1, 1, 1, b"n%d" % i, [1] * 50) for i in range(100)])
    fmt = _format(*(Field(f"w{i}", "u16[]", 28, 0, False, "tail", 2) for i in range(8)))
    monkeypatch.setattr(decode, "_MOST_SPANS", 1 << 15)
    with pytest.raises(LockscopeError, match="the arrays of lock:lock_acquire overlap"):
        FieldDecoder().rows(batch, np.arange(100), fmt, CPUS)


def test_texts_without_end_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    many = _batch([_record(Kernel(), 1, 1, 1, b"%07d" % i, []) for i in range(9_000)])
    monkeypatch.setattr(texts, "_MOST_TEXTS", 8_000)
    with pytest.raises(LockscopeError, match="different texts in one field"):
        FieldDecoder().rows(many, np.arange(9_000), _format(NAME), CPUS)
    monkeypatch.setattr(texts, "_MOST_TEXTS", 1 << 20)
    monkeypatch.setattr(decode, "_MOST_TEXT", 1 << 18)
    with pytest.raises(LockscopeError, match="do not fit into memory"):
        FieldDecoder().rows(many, np.arange(9_000), _format(NAME), CPUS)
