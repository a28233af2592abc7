"""What every reader has to do, whatever its format: a new one gets a line in ``WRITERS`` and is held to it.

Each writes the same seven events (``ROWS``) in its own format. They have to come back with their times, CPUs, tasks and
values, through the tables and through what checks read alike; a file cut anywhere is a shorter one, or is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockscope.errors import LockscopeError
from lockscope.exports.ftrace_text import EXPORT as TEXT
from lockscope.formats.open import all_readers, open_trace
from lockscope.tables.decode import FieldDecoder, own_columns, partition
from lockscope.tables.events import LOSS, UNKNOWN, Field, Reader, TraceInfo
from lockscope.tables.ops import Op
from lockscope.tables.tape import Projector
from lockscope.trace.trace import load
from tests.builders import perf_copy
from tests.builders.records import EVENTS, MemoryReader, Row, formats, save

LOCK, OTHER = 0xFFFF888100000100, 0xFFFFFFFF82345678
ROWS = [
    Row("lock:lock_acquire", 1_000_001_000, 0, 70, values={"flags": 0, "name": "&kvm->lock", "lockdep_addr": LOCK}),
    Row("lock:lock_acquire", 1_000_003_000, 1, 71, values={"flags": 2, "name": "&kvm->srcu", "lockdep_addr": OTHER}),
    Row("lock:lock_acquire", 1_000_004_000, 0, 70, values={"flags": 1, "name": "x", "lockdep_addr": LOCK + 8}),
    Row("raw_syscalls:sys_exit", 1_000_005_000, 1, 71, values={"id": 16, "ret": -4}),
    Row("lock:lock_release", 1_000_006_000, 0, 70, values={"name": "x", "lockdep_addr": LOCK + 8}),
    Row("lock:lock_release", 1_000_007_000, 0, 70, values={"name": "&kvm->lock", "lockdep_addr": LOCK}),
    Row("lock:lock_release", 1_000_009_000, 1, 71, values={"name": "&kvm->srcu", "lockdep_addr": OTHER}),
]
COMMS = {70: "CPU 0/KVM", 71: "cc1"}
Seen = tuple[int, int, int, str, tuple[tuple[str, Any], ...]]
EXPECTED: list[Seen] = [(r.ts_ns, r.cpu, r.pid, r.name, tuple(sorted(r.values.items()))) for r in ROWS]
_VALUES = {name for r in ROWS for name in r.values}
_OPS = {"lock_acquire": Op.ACQUIRE, "lock_release": Op.RELEASE, "sys_exit": Op.SYS_EXIT}


def _in_memory() -> MemoryReader:
    info = TraceInfo("memory", "memory", "6.12.1", "x86_64", "host", "global")
    info.comms = dict(COMMS)
    return MemoryReader(list(ROWS), info, formats({r.name: EVENTS[r.name] for r in ROWS}))


def _dat(folder: Path) -> Path:
    save(_in_memory(), folder / "trace.dat")
    return folder / "trace.dat"


def _perf_data(folder: Path) -> Path:
    perf_copy.write(_dat(folder), folder / "perf.data")
    return folder / "perf.data"


def _ftrace_text(folder: Path) -> Path:
    return load(_dat(folder)).export(folder / "trace.txt", format=TEXT)[0]


def _perf_script(folder: Path) -> Path:
    """As perf script prints them."""
    texts = {
        "lock_acquire": lambda v: f"{v['lockdep_addr']:#x} {('', 'try ', 'read ')[v['flags']]}{v['name']}",
        "lock_release": lambda v: f"{v['lockdep_addr']:#x} {v['name']}",
        "sys_exit": lambda v: f"NR {v['id']} = {v['ret']}",
    }
    lines = [
        f"{COMMS[r.pid]:>16} {r.pid:>5} [{r.cpu:03d}] {r.ts_ns // 10**9:>5}.{r.ts_ns % 10**9:09d}: {r.name:>30}: "
        f"{texts[r.name.partition(':')[2]](r.values)}\n"
        for r in ROWS
    ]
    (folder / "script.txt").write_text("".join(lines))
    return folder / "script.txt"


WRITERS: dict[str, Callable[[Path], Path]] = {
    "trace.dat": _dat,
    "perf.data": _perf_data,
    "ftrace text": _ftrace_text,
    "perf script text": _perf_script,
}
BINARY = ("trace.dat", "perf.data")  # formats that know where they end: what is missing has to be told


@cache
def _readers() -> dict[str, Any]:
    return {r.name: r for r in all_readers()}


def test_every_reader_is_held_to_it() -> None:
    assert set(WRITERS) == set(_readers())


@pytest.fixture(params=sorted(WRITERS))
def file(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    return request.param, WRITERS[request.param](tmp_path)


def _tables(
    reader: Reader, *, rows: int = 1 << 16, wanted: Any = None, in_order: bool = True
) -> tuple[list[Seen], int]:
    """The events through the tables, and how many rows are losses or of no known event."""
    found: list[tuple[int, Seen]] = []
    losses = expected = 0
    decoder = FieldDecoder()
    for batch in reader.batches(wanted, rows=rows):
        assert batch.first_seq == expected
        assert not in_order or np.all(np.diff(batch.ts_ns) >= 0)
        expected += len(batch)
        order, bounds = partition(batch, len(reader.formats))
        cpu_of = np.array([s.cpu for s in reader.info.streams], np.int32)
        losses += int(np.count_nonzero(batch.kind <= UNKNOWN))  # what no format describes is not read either
        for fmt in reader.formats[UNKNOWN + 1 :]:
            here = order[bounds[fmt.index] : bounds[fmt.index + 1]]
            columns = {c: f.name for c, f in own_columns(fmt).items()}
            for row in decoder.rows(batch, here, fmt, cpu_of).to_pylist() if len(here) else []:
                values = sorted((name, row[column]) for column, name in columns.items() if name in _VALUES)
                found.append((row["seq"], (row["ts_ns"], row["cpu"], row["pid"], fmt.full_name, tuple(values))))
    return [event for _, event in sorted(found)], losses


def _checks_see(reader: Reader) -> Iterator[tuple[int, int, int, Op, int]]:
    """Time, CPU, task, operation and first slot of the tape's rows."""
    projector = Projector()
    for batch in reader.batches():
        cpu_of = np.array([s.cpu for s in reader.info.streams], np.int32)
        tape = projector.project(batch, reader.formats, cpu_of)
        rows = tape.rows(np.arange(len(tape)))
        for i in np.flatnonzero(rows.op != Op.GAP).tolist():
            yield int(rows.ts_ns[i]), int(rows.cpu[i]), int(rows.pid[i]), Op(int(rows.op[i])), int(rows.slots[i, 0])


def test_it_knows_its_own_files_and_no_others(file: tuple[str, Path]) -> None:
    name, path = file
    head = path.read_bytes()[: 1 << 16]
    assert [n for n, reader in _readers().items() if reader.sniff(head)] == [name]
    assert open_trace(str(path)).name == name


def test_the_two_formats_that_are_no_events_come_first(file: tuple[str, Path]) -> None:
    reader = open_trace(str(file[1]))
    _tables(reader)
    assert [(f.index, f.raw_id, f.name, f.fields) for f in reader.formats[:2]] == [
        (LOSS, -1, "loss", ()), (UNKNOWN, -1, "unknown", ()),
    ]  # fmt: skip
    assert [f.index for f in reader.formats] == list(range(len(reader.formats)))


@pytest.mark.parametrize("rows", [1, 3, 1 << 16])
def test_events_come_back_through_the_tables(rows: int, file: tuple[str, Path]) -> None:
    reader = open_trace(str(file[1]))
    for _ in range(2):  # a reader may be asked again
        assert _tables(reader, rows=rows) == (EXPECTED, 0)
    assert (reader.info.losses, {p: reader.info.comms[p] for p in COMMS}) == ([], COMMS)
    assert (reader.info.cpus, {s.cpu for s in reader.info.streams}) == (2, {0, 1})


def test_events_come_back_through_what_checks_read(file: tuple[str, Path]) -> None:
    expected = [
        (r.ts_ns, r.cpu, r.pid, _OPS[r.name.partition(":")[2]],
         np.uint64(r.values.get("lockdep_addr", r.values.get("id"))).astype(np.int64).item()) for r in ROWS
    ]  # fmt: skip
    assert list(_checks_see(open_trace(str(file[1])))) == expected


def test_only_what_is_wanted(file: tuple[str, Path]) -> None:
    found, losses = _tables(open_trace(str(file[1])), wanted=lambda fmt: fmt.name == "lock_release")
    assert (found, losses) == ([e for e in EXPECTED if e[3] == "lock:lock_release"], 0)


def test_a_file_that_is_cut_is_a_shorter_one_or_is_refused(file: tuple[str, Path]) -> None:
    name, path = file
    whole = path.read_bytes()
    places = range(len(whole)) if len(whole) < 4000 else [*range(0, 600, 7), *range(600, len(whole), 97)]
    events = 0
    for length in places:
        cut = path.with_name("cut")
        cut.write_bytes(whole[:length])
        try:
            reader = open_trace(str(cut))
            # Without its table of CPUs, a trace.dat's pages are told apart by their times alone.
            found, losses = _tables(reader, in_order=name != "trace.dat")
        except LockscopeError:
            continue
        events = max(events, len(found))
        if name not in BINARY:
            found = found[:-1]  # a line may end anywhere and still be one
        # Without its table of CPUs, which comes last, a trace.dat's pages may be taken for one CPU's.
        seen = [(ts, pid, *event) for ts, _, pid, *event in found] if name == "trace.dat" else found
        true = {(ts, pid, *event) for ts, _, pid, *event in EXPECTED} if name == "trace.dat" else set(EXPECTED)
        assert len(set(seen)) == len(seen), length
        assert set(seen) <= true, length  # none made up, none changed
        if name in BINARY and 0 < len(found) < len(EXPECTED):
            assert losses or reader.info.losses, length
    assert events > len(ROWS) // 2  # some cuts leave something


def test_a_field_by_its_defaults_reads_the_same_for_tables_and_checks() -> None:
    """A reader that gives no ``item`` read 0 in every check, and the checks called it clean."""
    memory = _in_memory()
    for fmt in memory.formats:
        bare = tuple(Field(f.name, f.ctype, f.offset, f.size, f.signed) if f.kind == "int" else f for f in fmt.fields)
        object.__setattr__(fmt, "fields", bare)
    assert _tables(memory) == (EXPECTED, 0)
    assert [row[4] for row in _checks_see(memory)] == [
        np.uint64(r.values.get("lockdep_addr", r.values.get("id"))).astype(np.int64).item() for r in ROWS
    ]


@pytest.mark.parametrize(
    ("field", "item"),
    [
        (Field("a", "u64", 8, 8, False), 8),
        (Field("a", "int", 8, 4, True, "int", 8), 4),
        (Field("a", "u64[6]", 8, 48, False, "array", count=6), 8),
        (Field("a", "__data_loc char[]", 8, 4, False, "data_loc", text=True), 1),
        (Field("a", "__data_loc u16[]", 8, 4, False, "data_loc", 2), 2),
        (Field("a", "u64[]", 0, 0, False, "before"), 8),
    ],
)
def test_items_that_are_not_given(field: Field, item: int) -> None:
    assert field.item == item
