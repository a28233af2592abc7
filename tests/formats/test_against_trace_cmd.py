"""Every event of every trace, as ``trace-cmd report`` prints it.

The folder with the traces is LOCKSCOPE_TRACES, by default the repository's own ``sample_traces``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lockscope.formats.trace_dat.content import content_of
from lockscope.formats.trace_dat.reader import TraceDat
from lockscope.formats.trace_dat.writer import write_v7
from lockscope.tables.decode import FieldDecoder, gather_int, partition
from lockscope.tables.events import LOSS, EventFormat, Field
from tests.builders import trace_cmd
from tests.builders.trace_dat import Kernel, TraceFile

pytestmark = pytest.mark.all

FOLDER = Path(os.environ.get("LOCKSCOPE_TRACES", Path(__file__).parents[2] / "sample_traces"))
TRACES = sorted(p.relative_to(FOLDER).as_posix() for p in FOLDER.rglob("*.dat"))


class Ours:
    """Our reading of a file: columns by (buffer, CPU), fields by (buffer, CPU, event)."""

    def __init__(self, path: Path) -> None:
        self.reader = TraceDat(str(path))
        info, formats = self.reader.info, self.reader.formats
        self.keys = [(s.buffer, s.cpu) for s in info.streams]
        columns: dict[int, list[tuple[Any, ...]]] = {}
        self.fields: dict[tuple[str, int, int], dict[str, list[Any]]] = {}
        decoder = FieldDecoder()
        last = -1
        for batch in self.reader.batches(rows=1 << 18):
            assert len(batch) == 0 or (int(batch.ts_ns[0]) >= last and bool((np.diff(batch.ts_ns) >= 0).all()))
            last = int(batch.ts_ns[-1]) if len(batch) else last
            real = np.flatnonzero(batch.kind != LOSS)
            pid = np.where(batch.kind == LOSS, batch.at, 0)
            pid[real] = gather_int(batch, real, batch.layout.pid_at, 4, True)
            for s in range(len(self.keys)):
                rows = np.flatnonzero(batch.stream == s)
                if len(rows):
                    columns.setdefault(s, []).append((batch.ts_ns[rows], pid[rows], batch.kind[rows]))
            order, bounds = partition(batch, len(formats))
            for fmt in formats:
                every = order[bounds[fmt.index] : bounds[fmt.index + 1]]
                if fmt.index == LOSS or not len(every):
                    continue
                for s in np.unique(batch.stream[every]):
                    rows = every[batch.stream[every] == s]
                    kept = self.fields.setdefault((*self.keys[s], fmt.index), {f.name: [] for f in fmt.fields})
                    for f in fmt.fields:
                        kept[f.name].extend(decoder.column(batch, rows, fmt, f).to_pylist())
                        if f.kind == "data_loc" and f.text:
                            lengths = gather_int(batch, rows, f.offset, 4, False) >> 16
                            kept.setdefault(f"length of {f.name}", []).extend(lengths.tolist())
        self.columns = {
            self.keys[s]: [np.concatenate(c) for c in zip(*parts, strict=True)] for s, parts in columns.items()
        }


def _same_times(ours: Sequence[int], kinds: Sequence[int], theirs: Sequence[int]) -> None:
    mine = np.where(np.asarray(kinds) == LOSS, -1, ours)  # theirs gives a loss no time
    assert np.array_equal(mine, np.asarray(theirs))


def _symbol(reader: TraceDat, value: int) -> str | None:
    name = reader.info.symbols().name(value)
    return None if name is None else name.partition("+")[0]


def _int_fits(reader: TraceDat, field: Field, texts: list[str], values: list[int]) -> bool:
    """Whether one conversion (the print format's, not known here) makes all texts of all values.

    An unsigned field may be printed with %ld and the other way round: the bits must be the same for all.
    """
    distinct = sorted({*zip(texts, values, strict=True)})
    bits = 8 * field.size
    mask = (1 << bits) - 1
    if all(re.fullmatch(r"-?\d+", t) for t, _ in distinct):
        numbers = [(int(t), v) for t, v in distinct]
        if all(n == v for n, v in numbers) or all(n == v & mask for n, v in numbers):
            return True
        if all(n == (v & mask) - (1 << bits) * (v >> (bits - 1) & 1) for n, v in numbers):
            return True
    if all(re.fullmatch(r"(0x)?[0-9a-f]+", t) for t, _ in distinct):
        return all(int(t, 16) == v & mask for t, v in distinct)
    return all(_symbol(reader, v & mask) == t for t, v in distinct)


def _bytes_of(text: str) -> bytes:
    assert text.startswith("ARRAY["), text
    return bytes.fromhex(text[len("ARRAY[") : -1].replace(",", ""))


def _texts_fit(texts: list[str], values: list[str], lengths: list[int]) -> bool:
    for text, value, length in zip(texts, values, lengths, strict=True):
        # A string of no bytes at all (a fault while it was copied): trace-cmd prints whatever the memory behind the
        # record holds, up to a NUL.
        if length == 0 and value == "":
            continue
        raw = _bytes_of(text).split(b"\0")[0] if text.startswith("ARRAY[") else text.encode("utf-8", "surrogateescape")
        if raw.decode("utf-8", "replace").rstrip("\n") != value.rstrip("\n"):  # a line that ends a line is one line
            return False
    return True


def _arrays_fit(reader: TraceDat, fmt: EventFormat, field: Field, texts: list[str], values: list[Any]) -> bool:
    if fmt.name == "bprint" and field.name == "buf":
        # `u32 buf[]` of size 0: trace-cmd prints it as an array or number of no bytes; we keep the words.
        return set(texts) <= {"0", "ARRAY[]"}
    kind = np.dtype(f"{'>' if reader.head.big else '<'}{'i' if field.signed else 'u'}{field.item}")
    for text, value in zip(texts, values, strict=True):
        mine, raw = np.array(value, kind).tobytes(), _bytes_of(text)
        # trace-cmd prints what the format declares, caller[8], whatever the record holds: of its own "size=21" frames
        # it drops 13, and of "size=3" it prints five from behind the record's end.
        both = min(len(mine), len(raw)) if fmt.name == "kernel_stack" and field.name == "caller" else None
        if mine[:both] != raw[:both]:
            return False
    return True


def _compare_fields(ours: Ours, fmt: EventFormat, key: tuple[str, int], lines: list[str]) -> None:
    values = ours.fields[*key, fmt.index]
    reader = ours.reader
    pattern = re.compile(" ?" + " ".join(f"{re.escape(f.name)}=(.*?)" for f in fmt.fields) + " ?", re.DOTALL)
    cut = [pattern.fullmatch(line) for line in lines]
    assert all(cut), (fmt.name, next(line for line, c in zip(lines, cut, strict=True) if not c))
    for i, f in enumerate(fmt.fields):
        texts = [c[i + 1] for c in cut if c]
        assert len(texts) == len(values[f.name]), (fmt.name, f.name)
        if f.kind == "int":
            # trace-cmd 3.1 takes a cast in the print format for the field's own: kvm_apic_ipi has (u8)REC->icr_low.
            cast = f"(u8)REC->{f.name}" in fmt.print_fmt
            fits = _int_fits(reader, f, texts, [v & 0xFF for v in values[f.name]] if cast else values[f.name])
        elif f.text:
            fits = _texts_fit(texts, values[f.name], values.get(f"length of {f.name}", [1] * len(texts)))
        else:
            fits = _arrays_fit(reader, fmt, f, texts, values[f.name])
        assert fits, (fmt.name, f, texts[:3], values[f.name][:3])


def _agree(path: Path) -> int:
    ours = Ours(path)
    theirs = trace_cmd.report(path, sorted({b for b, _ in ours.keys}))
    assert set(theirs) == set(ours.columns)
    formats = ours.reader.formats
    events = 0
    for key, stream in theirs.items():
        ts, pid, kind = ours.columns[key]
        assert [formats[k].name if k != LOSS else "" for k in kind] == stream.name
        _same_times(ts, kind, stream.ts)
        assert np.array_equal(pid, stream.pid)
        comms = ours.reader.info.comms | {0: "<idle>"}
        named = (c for c, n in zip(stream.comm, stream.name, strict=True) if n)
        seen = dict(zip(pid[kind != LOSS].tolist(), named, strict=True))
        assert seen == {p: comms.get(p, "<...>") for p in seen}
        for name, lines in stream.fields.items():
            same = [f for f in formats if f.name == name and (*key, f.index) in ours.fields]
            assert len(same) == 1, f"{name} is the name of several events"
            _compare_fields(ours, same[0], key, lines)
        events += len(kind)
    _stacks_are_as_deep_as_they_say(ours)
    return events


def _stacks_are_as_deep_as_they_say(ours: Ours) -> None:
    for (_, _, index), values in ours.fields.items():
        if ours.reader.formats[index].full_name == "ftrace:kernel_stack":
            assert [len(c) for c in values["caller"]] == values["size"]


def test_there_is_something_to_compare() -> None:
    assert TRACES, f"no *.dat in {FOLDER}"


@pytest.mark.parametrize("name", TRACES)
def test_every_event_is_the_one_that_trace_cmd_prints(name: str) -> None:
    assert _agree(FOLDER / name) > 0


def _tables(path: Path) -> dict[str, pa.Table]:
    """Everything by event, in order; streams by name."""
    reader = TraceDat(str(path))
    streams = reader.info.streams
    cpu_of = np.array([s.cpu for s in streams], np.int32)
    buffers = pa.array([s.buffer for s in streams])
    decoder = FieldDecoder()
    parts: dict[str, list[pa.Table]] = {}
    for batch in reader.batches():
        order, bounds = partition(batch, len(reader.formats))
        for i in np.flatnonzero(np.diff(bounds)).tolist():
            rows = order[bounds[i] : bounds[i + 1]]
            if i == LOSS:
                columns = {"ts_ns": batch.ts_ns[rows], "cpu": cpu_of[batch.stream[rows]], "count": batch.at[rows]}
                parts.setdefault("loss", []).append(pa.table(columns))
                continue
            table = pa.Table.from_batches([decoder.rows(batch, rows, reader.formats[i], cpu_of)])
            table = table.set_column(3, "buffer", buffers.take(table.column("stream").combine_chunks()))
            plain = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in table.schema]
            parts.setdefault(reader.formats[i].full_name, []).append(table.cast(pa.schema(plain)))
    assert not reader.info.notes or "truncated" not in {n.kind for n in reader.info.losses}
    return {name: pa.concat_tables(found) for name, found in parts.items()}


def _rewritten(source: Path, target: Path, codec: str) -> None:
    """The same recording through our own writer: this trace-cmd may have been built without zlib."""
    content = content_of(TraceDat(str(source)), lambda _, __, pages: [pages.tobytes()])
    with target.open("wb") as file:
        write_v7(file, content, codec)


@pytest.mark.parametrize("name", TRACES)
def test_every_version_and_packing_of_a_recording_gives_the_same_tables(name: str, tmp_path: Path) -> None:
    whole = _tables(FOLDER / name)
    copies = []
    # trace-cmd 3.1's convert writes the sizes of a big-endian file's options in this machine's byte order, so that it
    # cannot read its own version 7 output; its version 6 is right.
    big = TraceDat(str(FOLDER / name)).info.big_endian
    for version, packing in [("6", ()), *([] if big else [("7", ("none",)), ("7", ("zstd",))])]:
        copies.append(tmp_path / f"{version}{''.join(packing)}.dat")
        how = ("--compression", *packing) if packing else ()
        trace_cmd.run("convert", "-i", FOLDER / name, "-o", copies[-1], "--file-version", version, *how)
    for codec in ("none", "zlib", "zstd"):
        copies.append(tmp_path / f"own_{codec}.dat")
        _rewritten(FOLDER / name, copies[-1], codec)
    for copy in copies:
        found = _tables(copy)
        assert set(found) == set(whole)
        for event, table in whole.items():
            assert found[event].equals(table), (copy.name, event)
        copy.unlink()


@pytest.mark.parametrize("version", [6, 7])
@pytest.mark.parametrize("k", [Kernel(b, w) for b in (False, True) for w in (4, 8)], ids=str)
def test_pages_built_for_tests_are_what_trace_cmd_takes_them_for(k: Kernel, version: int, tmp_path: Path) -> None:
    def lock(i: int) -> bytes:
        return k.acquire(7, b"lock_%d" % i, i)

    first = k.page(100).event(1, lock(0)).extend((3 << 27) + 5).event(2, lock(1)).discarded(7, 24).event(3, lock(2))
    first.stamp(1_000_000_000_000).event(4, lock(3)).event(0, lock(4), long_form=True)
    pages = [
        first,
        k.page(1_000_000_000_100, missed=749).event(0, lock(5)).event(9, k.switch(8, b"comm", 3, 1)),
        k.page(1_000_000_000_200, missed=-1).event(3, lock(6)),
    ]
    other = [k.page(500).event(0, lock(7)).end_padding(), k.page(1_000_000_000_300).event(5, lock(8))]
    assert _agree(Path(TraceFile({0: pages, 1: other}, k, version).write(tmp_path))) == 12
