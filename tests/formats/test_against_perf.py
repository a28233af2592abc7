"""Every tracepoint sample of every perf.data, as ``perf script`` reads it: time, CPU, task, callchain, each field.

The folder with the traces is LOCKSCOPE_TRACES, by default the repository's own ``sample_traces``; more files are
recorded here where the kernel lets perf do so.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lockscope.core import perf_records as walk
from lockscope.formats.open import open_trace
from lockscope.formats.perf.reader import PerfData
from tests.builders import perf_script
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
)
from tests.builders.read import Row, events
from tests.builders.trace_dat import ACQUIRE, MIXED, SWITCH

pytestmark = pytest.mark.all

FOLDER = Path(os.environ.get("LOCKSCOPE_TRACES", Path(__file__).parents[2] / "sample_traces"))
SAMPLES = Path(__file__).parents[2] / "sample_traces"
FILES = sorted(
    p.relative_to(FOLDER).as_posix() for p in (*FOLDER.rglob("perf*.data.xz"), *FOLDER.rglob("*.perf.data.xz"))
)
_COMMON = ("event", "ts_ns", "cpu", "buffer", "pid", "flags", "preempt_count", "callchain")


def _plain(name: str, folder: Path) -> Path:
    target = folder / Path(name).stem
    with lzma.open(FOLDER / name) as packed, target.open("wb") as plain:
        shutil.copyfileobj(packed, plain)
    return target


def _same(path: Path, *, whole_chains: bool = True) -> tuple[int, list[str]]:
    """Compare; returns how many samples perf has, and the events that only we have."""
    reader = open_trace(str(path))
    assert isinstance(reader, PerfData)
    formats = {f.full_name: f for f in reader.formats}
    traced = {f.name for f in reader.formats if f.system not in ("", "perf")}
    ours: dict[tuple[int, int, str], list[Row]] = {}
    for row in events(reader):
        if row["event"] in traced:
            ours.setdefault((row["ts_ns"], row["cpu"], row["event"]), []).append(row)
    theirs = perf_script.samples(path)
    for full_name, ts, cpu, pid, chain, fields in theirs:
        fmt = formats[full_name]
        row = ours[ts, cpu, fmt.name].pop(0)
        assert row["pid"] == pid
        # Where perf finds no map for an address it prints no callchain at all.
        assert row.get("callchain", []) == chain or (not whole_chains and not chain)
        own = {name.rstrip("_"): v for name, v in row.items() if name not in _COMMON}
        for field in fmt.fields:
            value = fields.get(field.name)
            if field.kind == "int":
                mask = (1 << 8 * field.size) - 1
                assert own[field.name] & mask == int(str(value)) & mask, (full_name, ts, field.name)
            elif field.text and field.kind != "tail":  # of no size: perf prints nothing
                assert own[field.name] == value, (full_name, ts, field.name)
    return len(theirs), [key[2] for key, rows in ours.items() for _ in rows]


def _in_guest(path: Path) -> int:
    """Samples that the kernel marks as a guest's: tracepoints of an interrupt that ended the guest's turn.

    perf script leaves them out unless it is told of a guest (HIST_FILTER__GUEST in tools/perf/util/event.c, v6.12).
    """
    raw = path.read_bytes()
    head = struct.unpack_from("<13Q", raw)
    at, end = (head[5], head[5] + head[6]) if head[1] == 104 else (16, len(raw))
    found = 0
    while at < end:
        kind, misc, size = struct.unpack_from("<IHH", raw, at)
        found += kind == walk.SAMPLE and misc & 7 in (4, 5)
        at += size + (struct.unpack_from("<I", raw, at + 8)[0] + 7 & ~7 if kind == walk.TRACING_DATA else 0)
    return found


@pytest.mark.parametrize("name", FILES)
def test_every_sample_as_perf_script_has_it(name: str, tmp_path: Path) -> None:
    path = _plain(name, tmp_path)
    reader = PerfData(str(path))
    theirs, only_ours = _same(path)
    assert theirs > 1000
    stats = subprocess.run(["perf", "report", "-i", str(path), "--stats"], capture_output=True, text=True, check=True)
    counted = re.search(r"SAMPLE events:\s+(\d+)", stats.stdout)
    assert counted is not None or reader.head.pipe  # of a pipe's file it says nothing
    assert counted is None or theirs + len(only_ours) == int(counted[1])
    assert reader.info.losses == []
    if "COMPRESSED" not in stats.stdout:
        assert len(only_ours) == _in_guest(path)


def test_files_that_were_made_here(tmp_path: Path) -> None:
    k = Kernel()
    words = k.mixed(9, 4, -3, 0xBEEF, 1 << 63 | 1, (7, 0xFFFF_FFF0), (1, 2), b"end")
    shape = USUAL | walk.CALLCHAIN | walk.ADDR
    acquire = Event(ACQUIRE, ids=(6, 7), name="lock:lock_acquire", sample_type=shape)
    switch = replace(acquire, config=SWITCH, ids=(8,), name="sched:sched_switch")
    mixed = replace(acquire, config=MIXED, ids=(9,), name="test:mixed")
    records: list[Sample | bytes] = [ROUND]
    for ts in range(1_000, 3_000, 10):
        chain = (KERNEL_CONTEXT, *range(0xFFFF_FFFF_8100_0000, 0xFFFF_FFFF_8100_0000 + ts % 7), USER_CONTEXT, 0x40_0000)
        records += [
            comm(k, ts, b"task %d" % ts, acquire),
            Sample(
                acquire,
                ts,
                ts % 2,
                ts,
                k.acquire(ts, b"lock%d" % ts, ts),
                chain,
                values=k.pack("QQ", 3, acquire.ids[0]),
            ),
            Sample(
                switch, ts - 7, 1, ts, k.switch(ts, b"comm", ts, -1), chain[:1], values=k.pack("QQ", 3, switch.ids[0])
            ),
            Sample(mixed, ts + 3, 0, 9, words, values=k.pack("QQ", 3, mixed.ids[0])),
            *([ROUND] if ts % 100 == 0 else []),
        ]
    path = Path(PerfFile([acquire, switch, mixed], records).write(tmp_path, "file"))
    assert _same(path) == (600, [])


RECORDINGS = {
    "plain": [],
    "packed": ["-z"],
    "mono": ["-k", "mono"],
    "chains": ["-g"],
    "several": ["-e", "cpu-clock", "--sample-identifier"],
    "lossy": ["-m", "1"],
    "threads": ["--threads"],
    "packed threads": ["--threads", "-z"],
}


@pytest.mark.parametrize("options", RECORDINGS.values(), ids=RECORDINGS)
def test_what_perf_records_here(options: list[str], tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    command = ["perf", "record", "-q", "-a", "-o", str(path), "-e", "sched:*", "-e", "timer:*", *options]
    done = subprocess.run([*command, "--", "sleep", "0.3"], capture_output=True, text=True, check=False)
    if done.returncode:
        assert "ermission" in done.stderr or "not allowed" in done.stderr or "No such file" in done.stderr, done.stderr
        return
    theirs, only_ours = _same(path, whole_chains=False)
    assert theirs > 20
    reader = PerfData(str(path))
    lost = sum(r["count"] for r in events(reader) if r["event"] == "loss")
    stats = subprocess.run(["perf", "report", "-i", str(path), "--stats"], capture_output=True, text=True, check=True)
    assert (lost > 0) == ("LOST events" in stats.stdout)
    assert only_ours == []


@pytest.mark.parametrize("name", ["memslot_stress.perf.data.xz", "callchains.perf.data.xz"])
@pytest.mark.parametrize("selection", [(), ("-F", "comm,pid,tid,cpu,time,event,trace,ip")], ids=["usual", "selected"])
def test_the_text_makes_the_same_tables(name: str, selection: tuple[str, ...], tmp_path: Path) -> None:
    path = _plain(str(SAMPLES / name), tmp_path)
    text = tmp_path / "script.txt"
    with text.open("wb") as out:
        subprocess.run(["perf", "script", "-i", str(path), "--ns", *selection], stdout=out, check=True)
    ours: dict[tuple[int, int, str], list[Row]] = {}
    for row in events(open_trace(str(path))):
        ours.setdefault((row["ts_ns"], row["cpu"], row["event"]), []).append(row)
    reader = open_trace(str(text))
    compared = 0
    for row in events(reader):
        binary = ours[row["ts_ns"], row["cpu"], row["event"]].pop(0)
        shared = [f for f in row if f in binary and f not in ("buffer", "flags", "preempt_count")]
        for r in (row, binary):  # of user space perf prints where in its file an address is
            r["callchain"] = [ip for ip in r.get("callchain", ()) if ip >> 63]
        assert {f: row[f] for f in shared} == {f: binary[f] for f in shared}, row
        compared += len(shared)
    assert reader.info.losses == []
    assert compared > 5 * 10_000
