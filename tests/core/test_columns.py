"""Taking fields out of records: exact values, and nothing outside a record or its buffer."""

from __future__ import annotations

import struct
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lockscope.core import columns, interner, tape_rows
from lockscope.tables.texts import Texts
from tests.builders.uncompiled import uncompiled

Records = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]]


def _records(raw: list[bytes], before: bytes = b"\xee" * 3) -> Records:
    """The records in one buffer, at odd places."""
    data, at = before, []
    for record in raw:
        at.append(len(data))
        data += record + b"\xdd"
    return np.frombuffer(bytearray(data), np.uint8), np.array(at, np.int64), np.array([len(r) for r in raw], np.int32)


def both() -> tuple[ModuleType, ModuleType]:
    """The loops compiled, and as the Python they are."""
    with uncompiled() as load:
        return columns, load("columns")


def _slot(loops: ModuleType, value: bytes, plan: tuple[int, int, int, int]) -> int:
    """The one slot of a row that a plan makes of a record."""
    data, at, size = _records([value])
    head, slots, texts = np.zeros((1, tape_rows.HEAD_WIDTH), np.int64), np.zeros(1, np.int64), Texts()
    one, none = np.ones(1, np.int32), np.zeros(1, np.int32)
    loops.project(
        data, at, size, one, np.zeros(1, np.int64), none, 0, False, np.zeros(4, np.int64), none,
        np.array([0, 1]), np.array([0, 1]), np.array([[plan], [plan]], np.int64), np.zeros((0, 2), np.int64), 0,
        np.zeros(2, np.int64), head, slots, texts.table, texts.pool, texts.ends, texts.state,
    )  # fmt: skip
    return int(slots[0])


def _gather(records: Records, rows: list[int], plan: list[tuple[int, int]], big: bool) -> tuple[int, list[list[int]]]:
    places, end = [], 0
    for offset, width in plan:
        places.append((offset, width, end))
        end += width * len(rows)
    out = np.full(end, 0xCC, np.uint8)
    scratch = np.zeros((2, columns.BLOCK), np.int64)
    short = columns.gather_columns(*records, np.array(rows, np.int64), np.array(places, np.int64), big, out, *scratch)
    return short, [out[p : p + w * len(rows)].view(f"u{w}").tolist() for _, w, p in places]


@pytest.mark.parametrize("big", [False, True])
def test_integers_of_every_width(big: bool) -> None:
    order = ">" if big else "<"
    values = [(250, 65_000, 4_000_000_000, (1 << 64) - 2 - i) for i in range(3_000)]  # several blocks
    records = _records([struct.pack(order + "BHIQ", *v) for v in values])
    rows = list(range(2_999, -1, -1))
    short, found = _gather(records, rows, [(0, 1), (1, 2), (3, 4), (7, 8)], big)
    assert short == 0
    assert list(zip(*found, strict=True)) == values[::-1]


@pytest.mark.parametrize("big", [False, True])
def test_a_field_that_does_not_fit_reads_as_nothing(big: bool) -> None:
    records = _records([b"\1" * 8, b"\1" * 7, b"", b"\1" * 9])
    short, found = _gather(records, [0, 1, 2, 3], [(0, 8), (7, 1), (8, 1), (6, 2)], big)
    assert found == [[0x0101010101010101, 0, 0, 0x0101010101010101], [1, 0, 0, 1], [0, 0, 0, 1], [0x101, 0, 0, 0x101]]
    assert short == 2 + 2 + 3 + 2


@pytest.mark.parametrize(
    ("value", "width", "signed", "expected"),
    [
        (b"\xff", 1, True, -1),
        (b"\xff", 1, False, 255),
        (b"\0\x80", 2, True, -32768),
        (b"\xff\xff\xff\xff", 4, True, -1),
        (b"\xff" * 8, 8, False, -1),
        (b"\xff" * 7, 8, False, 0),
        (b"\1\2\3", 3, False, 0),
    ],
)
def test_read_int(value: bytes, width: int, signed: bool, expected: int) -> None:
    how = columns.SIGNED if signed else columns.UNSIGNED
    for loops in both():
        for offset, read in ((0, expected), (-1, 0)):
            assert _slot(loops, value, (how, offset, width, 0)) == read


@pytest.mark.parametrize(
    ("how", "offset", "width", "word", "expected"),
    [
        (columns.DATA_LOC, 4, 4, 6 << 16 | 10, (10, 6)),  # from the record's start
        (columns.REL_LOC, 4, 4, 6 << 16 | 2, (10, 6)),  # from the field's end
        (columns.DATA_LOC, 4, 4, 60 << 16 | 10, (10, 10)),  # cut at the record's end
        (columns.DATA_LOC, 4, 4, 6 << 16 | 20, (0, 0)),
        (columns.DATA_LOC, 4, 4, 10, (0, 0)),  # no bytes
        (columns.DATA_LOC, 17, 4, 0, (0, 0)),  # the word itself does not fit
        (columns.TEXT, 12, 16, 0, (12, 8)),
        (columns.TEXT, 20, 4, 0, (0, 0)),
        (columns.TAIL, 12, 0, 0, (12, 8)),
        (columns.TAIL, 20, 0, 0, (0, 0)),
    ],
)
@pytest.mark.parametrize("big", [False, True])
def test_spans(how: int, offset: int, width: int, word: int, expected: tuple[int, int], big: bool) -> None:
    raw = b"abcd" + struct.pack(">I" if big else "<I", word) + bytes(12)
    data, at, size = _records([raw])
    begins, lengths = np.zeros(1, np.int64), np.zeros(1, np.int64)
    columns.gather_spans(data, at, size, np.zeros(1, np.int64), how, offset, width, big, begins, lengths)
    assert (int(begins[0] - at[0]), int(lengths[0])) == expected


def _texts_of(records: Records, texts: Texts, how: int = columns.TEXT, width: int = 64) -> list[str]:
    rows, out, done = np.arange(len(records[1])), np.zeros(len(records[1]), np.int32), 0
    while done < len(rows):
        done = columns.gather_text(
            *records, rows, how, 0, width, False, done, out, texts.table, texts.pool, texts.ends, texts.state
        )
        if done < len(rows):
            texts.grow()
    return [texts[i] for i in out]


def test_texts_end_at_their_first_nul_whatever_follows() -> None:
    words = [
        "",
        "a",
        "ab",
        "abc",
        "abcd",
        "abcde",
        "abcdefg",
        "abcdefgh",
        "abcdefghi",
        "a" * 15,
        "a" * 16,
        "a" * 17,
        "b" * 40,
    ]
    raw = [w.encode() + b"\0" + junk for w in words for junk in (b"", b"x", b"yy\0z", b"abcdefghijkl")]
    raw += [w.encode() for w in words]  # no NUL at all
    texts = Texts()
    expected = [w for w in words for _ in range(4)] + words
    assert _texts_of(_records(raw), texts) == expected
    assert sorted(texts.all()) == sorted(words)  # each once


def test_texts_with_the_same_ends_are_told_apart() -> None:
    words = [f"{'begin_it'}{middle}{'the_ends'}" for middle in ("", "x", "y", "x" * 30, "x" * 29 + "y", "y" + "x" * 29)]
    words += ["12345678", "12345678" * 2, "12345678" * 3]
    raw = [w.encode() + b"\0" for w in words * 50]
    assert _texts_of(_records(raw), Texts()) == words * 50


def test_what_follows_a_nul_is_not_taken_for_the_text() -> None:
    # The pool then reads "abcdefghijklmnop": the third one's middle is what follows the first one's text there.
    raw = [b"abcdefgh\0jklmnoptail_end", b"ijklmnop", b"abcdefghijklmnoptail_end"]
    assert _texts_of(_records(raw), Texts()) == ["abcdefgh", "ijklmnop", "abcdefghijklmnoptail_end"]


def test_more_texts_than_the_tables_hold_make_them_grow() -> None:
    words = [f"text number {i} of a great many" for i in range(20_000)]
    texts = Texts()
    assert _texts_of(_records([w.encode() for w in words]), texts) == words
    assert len(texts) == 20_000
    assert texts.number("text number 777 of a great many") == 777
    assert texts.number("something new") == 20_000


def test_partition_keeps_the_order_within_each_format() -> None:
    kind = np.array([3, 0, 3, 1, 0, 3], np.int32)
    order, bounds = np.empty(6, np.int64), np.empty(6, np.int64)
    columns.partition(kind, order, bounds, np.empty(5, np.int64))
    assert (order.tolist(), bounds.tolist()) == ([1, 4, 3, 0, 2, 5], [0, 2, 3, 3, 6, 6])


def test_time_sequence_cpu_and_stream_of_rows() -> None:
    rows, n = np.array([2, 0]), 2
    out = [np.empty(n, t) for t in (np.int64, np.int64, np.int32, np.int32)]
    columns.gather_place(
        np.array([5, 6, 7]), np.array([1, 0, 0], np.int32), np.array([40, 50], np.int32), rows, 100, *out
    )
    assert [o.tolist() for o in out] == [[7, 5], [102, 100], [40, 50], [0, 1]]


def test_copy_spans() -> None:
    out = np.zeros(5, np.uint8)
    columns.copy_spans(np.arange(20, dtype=np.uint8), np.array([7, 3, 9]), np.array([2, 0, 3]), out)
    assert out.tolist() == [7, 8, 9, 10, 11]


def _projected(call: Any, records: Records, texts: Texts) -> Any:
    """Rows of a plan with one slot of each kind, for events of format 2; format 0 is a loss, format 1 is left out."""
    kind = np.array([2, 1, 0, 2, 2][: len(records[1])], np.int32)
    plan = np.zeros((3, 7, 4), np.int64)
    plan[2] = [
        (columns.UNSIGNED, 0, 4, 0),
        (columns.SIGNED, 0, 4, 0),
        (columns.DATA_LOC, 4, 4, 0),
        (columns.REL_LOC, 4, 4, 0),
        (columns.TEXT, 8, 8, 0),
        (columns.CONSTANT, -7, 0, 0),
        (columns.TAIL, 8, 0, 0),
    ]
    n = len(kind)
    head, slots = np.zeros((n, tape_rows.HEAD_WIDTH), np.int64), np.zeros(7 * n + 7, np.int64)
    common, ops = np.array([0, 1, 4, 1], np.int64), np.array([1, 0, 17], np.int64)
    widths = np.array([1, 0, 7], np.int64)
    times, stream, cpu_of = np.arange(n, dtype=np.int64) + 900, np.ones(n, np.int32), np.array([4, 5], np.int32)
    done = np.zeros(2, np.int64)
    call(
        *records, kind, times, stream, 50, False, common, cpu_of, ops, widths, plan, np.zeros((0, 2), np.int64), 0,
        done, head, slots, texts.table, texts.pool, texts.ends, texts.state,
    )  # fmt: skip
    filled, used = done.tolist()
    assert used == widths[kind[ops[kind] != 0]].sum()
    rows = np.zeros((tape_rows.HEAD_WIDTH, filled), np.int64)
    dense = np.zeros((filled, 7), np.int64)
    columns.unpack(head, slots, widths, np.arange(filled), rows, dense)
    return head[:filled].tolist(), dense.tolist(), rows.T.tolist()


def test_project() -> None:
    one = struct.pack("<iI", -2, 5 << 16 | 8) + b"word\0tail"
    texts = Texts()
    head, slots, columns_of = _projected(columns.project, _records([one, one, one, b"", one]), texts)
    assert head == columns_of
    assert [h[tape_rows.H_OP] for h in head] == [17, 1, 17, 17]
    assert head[0][tape_rows.H_PID : tape_rows.H_TS] == [5 << 16 | 8, 0xFE, 0xFF]
    assert [h[tape_rows.H_TS :] for h in head] == [
        [900, 50, 5, 1, 2, 0], [902, 52, 5, 1, 0, 7], [903, 53, 5, 1, 2, 8], [904, 54, 5, 1, 2, 15],
    ]  # fmt: skip
    assert slots[1][1:] == [0] * 6
    found = [texts[slots[0][i]] for i in (2, 3, 4, 6)]
    assert (slots[0][:2], slots[0][5], found) == ([0xFFFFFFFE, -2], -7, ["word", "l", "word", "word"])
    assert [texts[i] for i in slots[2][2:5]] == ["", "", ""]
    assert slots[2][:2] == [0, 0]


def _hostile(rng: np.random.Generator) -> Records:
    """Records full of offsets and lengths that lead anywhere; the last one ends with the buffer."""
    raw = []
    for _ in range(5):
        words = [
            int(rng.choice([rng.integers(0, 1 << 32), rng.integers(0, 40) << 16 | rng.integers(0, 40)]))
            for _ in range(9)
        ]
        raw.append(struct.pack("<9I", *words)[: int(rng.integers(0, 37))])
    data, at, size = _records(raw)
    return data[: int(at[-1]) + len(raw[-1])].copy(), at, size


def test_hostile_records_are_never_left() -> None:
    rng = np.random.default_rng(4)
    rows = np.arange(5)
    for _ in range(150):
        records = _hostile(rng)
        texts, own = Texts(), Texts()
        begins, lengths = np.zeros(5, np.int64), np.zeros(5, np.int64)
        out = np.zeros(5 * 15, np.uint8)
        plan = np.array([[int(rng.integers(-2, 40)), w, 5 * p] for w, p in ((1, 0), (2, 1), (4, 3), (8, 7))], np.int64)
        scratch = np.zeros((2, columns.BLOCK), np.int64)
        how, offset = int(rng.integers(3, 8)), int(rng.integers(-2, 40))
        big = bool(rng.integers(2))
        results = []
        for loops, known in zip(both(), (texts, own), strict=True):
            out[:], begins[:], lengths[:] = 0, 0, 0
            short = loops.gather_columns(*records, rows, plan, big, out, *scratch)
            loops.gather_spans(*records, rows, how, offset, 8, False, begins, lengths)
            copied = np.zeros(int(lengths.sum()), np.uint8)
            loops.copy_spans(records[0], begins, lengths, copied)
            numbers = np.zeros(5, np.int32)
            tables = (known.table, known.pool, known.ends, known.state)
            assert loops.gather_text(*records, rows, how, offset, 8, False, 0, numbers, *tables) == 5
            words = [known[i] for i in numbers]
            results.append((short, out.tobytes(), begins.tolist(), lengths.tolist(), copied.tobytes(), words))
        assert results[0] == results[1]
        checked, plain = _projected(both()[1].project, records, texts), _projected(columns.project, records, own)
        assert (checked[0], [s[:2] for s in checked[1]]) == (plain[0], [s[:2] for s in plain[1]])
        for head, mine, theirs in zip(checked[0], checked[1], plain[1], strict=True):
            if head[0] == 17:
                assert [texts[i] for i in mine[2:5]] == [own[i] for i in theirs[2:5]]


def test_the_interner_stays_in_its_tables_when_they_are_full() -> None:
    texts = Texts()
    small = (
        np.zeros(16, np.int32),
        np.zeros(24, np.uint8),
        np.zeros(6, np.int64),
        np.zeros(interner.STATE_SIZE, np.int64),
    )
    found = []
    for i in range(40):
        word = np.frombuffer(b"w%d" % (i % 30), np.uint8).copy()
        found.append(interner.intern(word, 0, len(word), *small))
    assert found[:6] == [0, 1, 2, 3, 4, 5]
    assert set(found[6:30]) == {-1}
    assert found[30:36] == [0, 1, 2, 3, 4, 5]
    assert len(texts) == 0
