"""Damaged perf.data files never do more than be read in part or refused; as ``test_fuzz_trace_dat`` for trace.dat."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lockscope.core import perf_records as walk
from lockscope.formats.perf.reader import PerfData
from lockscope.units import byte_order
from tests.builders.perf_data import ROUND, USUAL, Event, Kernel, PerfFile, Sample, comm, lost, packed
from tests.builders.trace_dat import ACQUIRE, MIXED, SWITCH
from tests.formats.test_fuzz_trace_dat import run

FEW, ALL = 480, 5_000


def _file(k: Kernel, *, zstd: bool) -> PerfFile:
    shape = USUAL | walk.IDENTIFIER | walk.CALLCHAIN
    acquire = Event(ACQUIRE, shape | walk.READ, ids=(6, 7), read_format=walk.READ_GROUP | walk.READ_ID)
    switch, mixed = Event(SWITCH, shape, ids=(8,)), Event(MIXED, shape | walk.ADDR, ids=(9, 10))
    cycles = Event(0, shape & ~walk.RAW, type=0, ids=(11,))
    values = k.pack("5Q", 2, 1, 6, 1, 7)
    records: list[Sample | bytes] = []
    for ts in range(100, 2_600, 10):
        chain = range(0xFFFF_FFFF_8100_0000, 0xFFFF_FFFF_8100_0000 + ts // 10 % 9)
        name = b"lock %d" % (ts // 10 % 7)
        records += [
            Sample(acquire, ts, ts // 10 % 3, ts, k.acquire(ts, name, ts), chain, values=values),
            Sample(switch, ts - 7, 1, ts, k.switch(ts, b"comm %d" % ts, ts, -1), chain),
            Sample(mixed, ts + 3, 0, 9, k.mixed(9, 4, -3, ts, ts << 50, (7, 8), range(ts % 4), b"tail" * (ts % 3))),
            Sample(cycles, ts + 4, 2, 9, chain=chain),
            *([lost(k, acquire, 3, ts, 1), comm(k, ts, b"task"), ROUND] if ts % 100 == 0 else []),
        ]
    file = PerfFile([acquire, switch, mixed, cycles], records, k)
    if zstd:
        file.records = [comm(k, 1, b"task"), packed(k, file.data(), sizes=(1_000, 7, 20_000)), ROUND]
    return file


def _places(path: Path) -> list[int]:
    """Where the head's parts and some records begin."""
    whole, head = path.read_bytes(), PerfData(str(path)).head
    data = head.data_at
    found = {0, 8, 16, 24, 32, 40, 48, 56, 72, 104, data, data + head.data_size, len(whole)}
    at, order = data, byte_order(head.big)
    for _ in range(40):
        found |= {at, at + 4, at + 6, at + 8, at + 16}
        at += int.from_bytes(whole[at + 6 : at + 8], order)
    tracing = whole.find(b"\x17\x08Dtracing")
    found |= {tracing, tracing + 14, tracing + 40}
    return sorted(p for p in found if 0 <= p <= len(whole))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole files of every kind."""
    home = tmp_path_factory.mktemp("fuzz-perf")
    kinds = [
        (Kernel(), False, False),
        (Kernel(True, 8), False, True),
        (Kernel(), True, False),
        (Kernel(False, 4), True, True),
    ]
    for i, (k, zstd, pipe) in enumerate(kinds):
        path = Path(_file(k, zstd=zstd).write(home, f"{i}.dat", pipe=pipe))
        path.with_suffix(".places").write_text(json.dumps(_places(path)))
    return home


def test_damaged_files_are_refused_or_read_in_part(folder: Path) -> None:
    found = run(folder, 0, FEW)
    assert found["error"] > FEW // 20
    assert found["salvaged"] > FEW // 8


@pytest.mark.all
def test_many_more_damaged_files(folder: Path) -> None:
    run(folder, FEW, ALL)
