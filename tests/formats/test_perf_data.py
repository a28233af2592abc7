"""The perf.data reader on files made for the purpose: exact values, either byte order, file and pipe mode, packed."""

from __future__ import annotations

import lzma
from itertools import chain
from pathlib import Path

import pytest

from lockscope.core import perf_records as walk
from lockscope.errors import UsageError
from lockscope.formats.open import open_trace
from lockscope.formats.perf import layout
from lockscope.formats.perf import source as _perf_source
from lockscope.formats.perf.reader import PerfData
from lockscope.trace import load
from tests.builders.perf_data import (
    KERNEL_CONTEXT,
    ROUND,
    USER_CONTEXT,
    USUAL,
    Event,
    Kernel,
    PerfFile,
    Sample,
    comm,
    lost,
    packed,
    record,
    sample_id,
)
from tests.builders.read import Row, events
from tests.builders.trace_dat import ACQUIRE, MIXED, SWITCH

KERNELS = [Kernel(big, word) for big in (False, True) for word in (4, 8)]
ACQUIRES = Event(ACQUIRE, ids=(6, 7), name="lock:lock_acquire")
SWITCHES = Event(SWITCH, ids=(8, 9), name="sched:sched_switch")


def _acquires(k: Kernel, *times: int, cpu: int = 0, event: Event = ACQUIRES) -> list[Sample | bytes]:
    return [Sample(event, ts, cpu, 70, k.acquire(70, b"lock%d" % ts, ts)) for ts in times]


def _seen(rows: list[Row]) -> list[tuple[str, int, int]]:
    return [(r["event"], r["ts_ns"], r["cpu"]) for r in rows]


@pytest.mark.parametrize("pipe", [False, True], ids=["file", "pipe"])
@pytest.mark.parametrize("k", KERNELS, ids=lambda k: f"{'big' if k.big else 'little'}{8 * k.long_size}")
def test_every_field_of_every_event(k: Kernel, pipe: bool, tmp_path: Path) -> None:
    mixed = Event(MIXED, ids=(10,), name="test:mixed")
    words = k.mixed(-1, 4, -3, 0xBEEF, 0x8000_0000_0000_0001, (7, 0xFFFF_FFF0), (1, 0xFFFFFFFF), b"end")
    file = PerfFile([ACQUIRES, SWITCHES, mixed], [
        comm(k, 70, b"perf-exec"), comm(k, 70, b"qemu"),
        Sample(ACQUIRES, 1_000, 0, 70, k.acquire(70, b"&kvm->lock", 0x8881_0000, flags=2, preempt=0x23)),
        Sample(mixed, 1_025, 1, -1, words),
        Sample(SWITCHES, 2_005, 0, 71, k.switch(71, b"vcpu", 71, -1)), ROUND,
    ], k)  # fmt: skip
    path = file.write(tmp_path, pipe=pipe)
    reader = open_trace(path)
    assert isinstance(reader, PerfData)
    top = {"buffer": "", "flags": 0, "preempt_count": 0}
    assert events(reader) == [
        {**top, "event": "lock_acquire", "ts_ns": 1_000, "cpu": 0, "pid": 70, "preempt_count": 0x23, "flags_": 2,
         "name": "&kvm->lock", "lockdep_addr": 0x8881_0000},
        {**top, "event": "mixed", "ts_ns": 1_025, "cpu": 1, "pid": -1, "level": 4, "delta": -3, "short_one": 0xBEEF,
         "spte": 0x8000_0000_0000_0001, "args": [7, 0xFFFF_FFF0], "words": [1, 0xFFFFFFFF], "tail": "end"},
        {**top, "event": "sched_switch", "ts_ns": 2_005, "cpu": 0, "pid": 71, "prev_comm": "vcpu", "prev_pid": 71,
         "prev_state": -1},
    ]  # fmt: skip
    info = reader.info
    assert (info.format, info.kernel, info.host, info.clock) == (
        f"perf.data, {'pipe' if pipe else 'file'} mode", "6.12.117", "host", "perf",
    )  # fmt: skip
    assert (info.long_size, info.big_endian, info.cpus, info.comms[70]) == (k.long_size, k.big, 2, "qemu")
    assert (info.losses, info.notes) == ([], [])


def test_a_round_settles_the_one_before(tmp_path: Path) -> None:
    k = Kernel()
    records = [
        *_acquires(k, 10, 30, 50), *_acquires(k, 5, 20, 40, cpu=1), ROUND,
        *_acquires(k, 60, 80), *_acquires(k, 55, 70, cpu=1), ROUND, *_acquires(k, 90),
    ]  # fmt: skip
    path = PerfFile([ACQUIRES], records).write(tmp_path)
    whole = events(PerfData(path))
    assert [r["ts_ns"] for r in whole] == [5, 10, 20, 30, 40, 50, 55, 60, 70, 80, 90]
    assert [r["cpu"] for r in whole] == [1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0]
    for rows in (1, 2, 5):
        assert events(PerfData(path), rows=rows) == whole


@pytest.mark.parametrize("marked", [True, False], ids=["one round", "cut before its end"])
def test_a_first_round_that_is_longer_than_a_batch(
    marked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU's whole buffer, and behind it another's of the same time: nothing is settled before the round is over."""
    monkeypatch.setattr(_perf_source, "_BLOCK", 512)
    records = [*_acquires(Kernel(), *range(0, 2000, 2)), *_acquires(Kernel(), *range(1, 2000, 2), cpu=1)]
    reader = PerfData(PerfFile([ACQUIRES], [*records, *[ROUND] * marked]).write(tmp_path))
    for rows in (10, 1 << 17):
        assert [r["ts_ns"] for r in events(reader, rows=rows)] == list(range(2000))
    assert reader.info.notes == []


@pytest.mark.parametrize("k", [Kernel(), Kernel(True)], ids=["little", "big"])
def test_callchains_without_their_context_markers(k: Kernel, tmp_path: Path) -> None:
    event = Event(ACQUIRE, USUAL | walk.CALLCHAIN, ids=(6,))
    top = 0xFFFF_FFFF_8100_0000
    chains = [
        ((KERNEL_CONTEXT, top + 1, top + 2, USER_CONTEXT, 0x40_0000), [top + 1, top + 2, 0x40_0000]),
        ((), []),
        ((USER_CONTEXT, 0x41_0000), [0x41_0000]),
        ((KERNEL_CONTEXT,), []),
        (tuple(range(1, 120)), list(range(1, 120))),
    ]
    records = [Sample(event, i, 0, 1, k.acquire(1, b"x", i), chain) for i, (chain, _) in enumerate(chains)]
    rows = events(PerfData(PerfFile([event], records, k).write(tmp_path)))
    assert [r["callchain"] for r in rows] == [expected for _, expected in chains]
    assert [r["lockdep_addr"] for r in rows] == list(range(5))


def test_attrs_of_different_layouts_are_told_apart_by_their_identifier(tmp_path: Path) -> None:
    k = Kernel()
    first = Event(ACQUIRE, USUAL & ~walk.ID | walk.IDENTIFIER, ids=(6, 7))
    second = Event(ACQUIRE, walk.IDENTIFIER | walk.TID | walk.TIME | walk.CPU | walk.CALLCHAIN | walk.RAW, ids=(99,))
    shape = walk.IDENTIFIER | walk.IP | walk.TID | walk.TIME | walk.CPU | walk.PERIOD | walk.CALLCHAIN
    cycles = Event(0, shape, type=0, ids=(1 << 63 | 5,), name="cycles:P")
    records = [
        Sample(first, 1, 0, 7, k.acquire(7, b"a", 1), ident=7),
        Sample(second, 2, 1, 8, k.acquire(8, b"b", 2), (KERNEL_CONTEXT, 0x55)),
        Sample(cycles, 3, 1, 9, chain=(KERNEL_CONTEXT, 0x1000, 0x2000), misc=4),
        lost(k, second, 4, 5, 1),
        Sample(cycles, 6, 1, 9, ip=0xFFFF_FFFF_0000_0000, misc=2),
    ]
    rows = events(PerfData(PerfFile([first, second, cycles], records).write(tmp_path)))
    assert _seen(rows) == [("lock_acquire", 1, 0), ("lock_acquire", 2, 1), ("cycles_P", 3, 1), ("loss", 6, 1),
                           ("cycles_P", 6, 1)]  # fmt: skip
    assert [r["callchain"] for r in rows[:3]] == [[], [0x55], [0x1000, 0x2000]]
    assert rows[2] | {"pid": 9, "ip": 0x1000, "cpumode": 4, "period": 1} == rows[2]
    assert rows[4] | {"ip": 0xFFFF_FFFF_0000_0000, "cpumode": 2, "callchain": []} == rows[4]
    assert rows[3]["count"] == 4


@pytest.mark.parametrize("read_format", [0, 1 | 2 | 4 | 16, 8 | 4, 8 | 1 | 2 | 4 | 16])
def test_counter_values_are_stepped_over(read_format: int, tmp_path: Path) -> None:
    k = Kernel()
    event = Event(ACQUIRE, USUAL | walk.READ | walk.CALLCHAIN, ids=(6,), read_format=read_format)
    times = (read_format & 1) + (read_format >> 1 & 1)
    each = 1 + (read_format >> 2 & 1) + (read_format >> 4 & 1)
    words = [3] + [0] * (times + 3 * each) if read_format & 8 else [0] * (each + times)
    sample = Sample(event, 5, 1, 3, k.acquire(3, b"x", 0xABCD), (0x77,), values=k.pack(f"{len(words)}Q", *words))
    rows = events(PerfData(PerfFile([event], [sample]).write(tmp_path)))
    assert [(r["lockdep_addr"], r["callchain"]) for r in rows] == [(0xABCD, [0x77])]


@pytest.mark.parametrize("pipe", [False, True], ids=["file", "pipe"])
@pytest.mark.parametrize("sizes", [(), (100, 37, 1), (8, 4096)])
def test_packed_records_that_cut_others(sizes: tuple[int, ...], pipe: bool, tmp_path: Path) -> None:
    k = Kernel()
    plain = b"".join(s.build(k) for s in _acquires(k, *range(1_000, 9_000)) if isinstance(s, Sample))
    more = b"".join(s.build(k) for s in _acquires(k, *range(9_000, 9_010)) if isinstance(s, Sample))
    data = packed(k, plain, sizes=sizes)
    file = PerfFile([ACQUIRES], [comm(k, 70, b"qemu"), data, record(k, walk.FINISHED_ROUND), packed(k, more), ROUND])
    reader = PerfData(file.write(tmp_path, pipe=pipe))
    rows = events(reader)
    assert [r["lockdep_addr"] for r in rows] == list(range(1_000, 9_010))
    assert (reader.info.losses, reader.info.notes, reader.info.comms) == ([], [], {70: "qemu"})


def test_losses_stand_before_what_follows_them(tmp_path: Path) -> None:
    k = Kernel()
    dropped = record(k, walk.LOST_SAMPLES, k.pack("Q", 9) + sample_id(k, ACQUIRES, 33, 1))
    counted = record(k, walk.LOST_SAMPLES, k.pack("Q", 40) + sample_id(k, ACQUIRES, 0, 0))
    filtered = record(k, walk.LOST_SAMPLES, k.pack("Q", 7) + sample_id(k, ACQUIRES, 0, 0), 1 << 15)
    records = [
        *_acquires(k, 10), lost(k, ACQUIRES, 5, 21, 0), *_acquires(k, 20), lost(k, ACQUIRES, 3, 30, 1),
        *_acquires(k, 31), *_acquires(k, 35, cpu=1), dropped, *_acquires(k, 36, cpu=1),
        lost(k, ACQUIRES, 1, 50, 0), ROUND, counted, filtered,
    ]  # fmt: skip
    reader = PerfData(PerfFile([ACQUIRES], records).write(tmp_path))
    rows = events(reader)
    # The first one's own time is later than that of the sample whose room it took: it counts as that one's.
    losses = [(r["ts_ns"], r["cpu"], r["count"]) for r in rows if r["event"] == "loss"]
    assert losses == [(20, 0, 5), (30, 1, 3), (36, 1, 9), (50, 0, 1)]
    assert _seen(rows)[1:3] == [("loss", 20, 0), ("lock_acquire", 20, 0)]
    assert [(n.kind, n.count) for n in reader.info.losses] == [("dropped", 40)]
    gaps = [r for r in load(reader.path).table("losses").arrow.to_pylist() if r["kind"] == "gap"]
    assert {r["remedy"] for r in gaps} == {"record with a larger buffer (perf record -m PAGES) or fewer events"}


def test_throttled_events_are_lost_and_nobody_knows_how_many(tmp_path: Path) -> None:
    k = Kernel()
    body = k.pack("QQQ", 15, 6, 6)
    records = [
        *_acquires(k, 10), record(k, walk.THROTTLE, body + sample_id(k, ACQUIRES, 15, 0)), *_acquires(k, 18, cpu=1),
        record(k, walk.UNTHROTTLE, body + sample_id(k, ACQUIRES, 25, 0)), *_acquires(k, 30),
    ]  # fmt: skip
    reader = PerfData(PerfFile([ACQUIRES], records).write(tmp_path))
    rows = events(reader)
    assert [(r["ts_ns"], r["cpu"], r["count"]) for r in rows if r["event"] == "loss"] == [(15, 0, -1), (30, 0, -1)]
    assert reader.info.notes == ["the kernel throttled events 1 times: how many are missing is not known"]


def test_a_kernel_that_counts_preemption_counts_perf_too(tmp_path: Path) -> None:
    k = Kernel()
    records = [Sample(ACQUIRES, i, 0, 1, k.acquire(1, b"x", i, preempt=p)) for i, p in enumerate((0x11, 0x03, 0x02))]
    rows = events(PerfData(PerfFile([ACQUIRES], records).write(tmp_path)))
    assert [r["preempt_count"] for r in rows] == [0x10, 0x02, 0x01]


def test_a_file_packed_as_a_whole_reads_like_the_plain_one(tmp_path: Path) -> None:
    k = Kernel()
    file = PerfFile([ACQUIRES], _acquires(k, *range(500)))
    plain = events(PerfData(file.write(tmp_path)))
    for pipe in (False, True):
        path = tmp_path / "perf.data.xz"
        path.write_bytes(lzma.compress(file.pipe() if pipe else file.build()))
        reader = open_trace(str(path))
        assert events(reader) == plain
        assert reader.info.format == f"perf.data, {'pipe' if pipe else 'file'} mode (xz)"


def test_a_directory_of_threads(tmp_path: Path) -> None:
    k = Kernel()
    parts = [_acquires(k, *range(cpu, 600, 3), cpu=cpu) for cpu in range(3)]
    whole = PerfFile([ACQUIRES], sorted(chain(*parts), key=lambda sample: sample.ts))
    plain = events(PerfData(whole.write(tmp_path)))
    folder = tmp_path / "perf.dir"
    folder.mkdir()
    PerfFile([ACQUIRES], parts[0]).write(folder, "data")
    for number in (1, 2):
        (folder / f"data.{number}").write_bytes(PerfFile([ACQUIRES], parts[number]).data())
    (folder / "data.old").write_bytes(b"none of its files")
    reader = open_trace(str(folder))
    assert reader.info.format == "perf.data, directory of 3 files"
    assert len(plain) == 600
    assert events(reader) == plain
    assert events(reader, rows=7) == plain
    (folder / "data.2").write_bytes(PerfFile([ACQUIRES], parts[2]).data()[:-9])
    cut = open_trace(str(folder))
    assert events(cut) == [row for row in plain if row["ts_ns"] != 599]
    assert [loss.kind for loss in cut.info.losses] == ["truncated"]


def test_a_folder_is_no_trace(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        open_trace(str(tmp_path))


def test_only_what_is_wanted(tmp_path: Path) -> None:
    k = Kernel()
    records = [*_acquires(k, 1, 2), lost(k, ACQUIRES, 2, 3, 0), Sample(SWITCHES, 4, 0, 7, k.switch(7, b"c", 7, 0))]
    reader = PerfData(PerfFile([ACQUIRES, SWITCHES], records).write(tmp_path))
    assert _seen(events(reader, lambda f: f.name == "sched_switch")) == [("loss", 4, 0), ("sched_switch", 4, 0)]


@pytest.mark.parametrize(("clockid", "name"), [(None, "perf"), (1, "mono"), (4, "mono_raw"), (7, "boot"), (11, "tai")])
def test_the_clock_is_the_one_asked_for(clockid: int | None, name: str, tmp_path: Path) -> None:
    for k in (Kernel(), Kernel(True)):
        file = PerfFile([Event(ACQUIRE, ids=(6,), clockid=clockid)], _acquires(k, 1), k)
        file.features[layout.CLOCK_DATA] = k.pack("IIQQ", 1, clockid or 0, 1_700_000_000_000_000_000, 55)
        info = PerfData(file.write(tmp_path)).info
        assert info.clock == name
        assert info.options["clock_ns"] == (1_700_000_000_000_000_000, 55)


@pytest.mark.parametrize("beyond", [1, 4, 8, 16])
@pytest.mark.parametrize("k", KERNELS[:1] + KERNELS[-1:], ids=["little32", "big64"])
def test_a_record_that_reaches_beyond_its_sample_is_not_read(k: Kernel, beyond: int, tmp_path: Path) -> None:
    """Not by a byte: what lies behind it is another record's, or nobody's memory."""
    raw = k.acquire(70, b"lock", 0x8881_0000)
    whole = PerfFile([ACQUIRES], [Sample(ACQUIRES, ts, 0, 70, raw) for ts in (10, 20)], k).build()
    first = whole.index(raw) - 4
    order = "big" if k.big else "little"
    size = int.from_bytes(whole[first : first + 4], order)
    path = tmp_path / "perf.data"
    path.write_bytes(whole[:first] + (size + beyond).to_bytes(4, order) + whole[first + 4 :])
    reader = open_trace(str(path))
    assert [r["ts_ns"] for r in events(reader)] == [20]
    assert [(n.kind, n.count) for n in reader.info.losses] == [("unparsed", None)]
