"""Several files as one recording: order, what both have, their clocks; the same findings from either tool."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lockscope import load
from lockscope.cli._run import run
from lockscope.errors import UsageError
from lockscope.formats.merge.reader import open_merged
from lockscope.formats.trace_dat import layout
from lockscope.formats.trace_dat.reader import TraceDat
from lockscope.pipeline import AnalyzeOptions, analyze
from tests.builders import perf_copy
from tests.builders.cut import cut
from tests.builders.perf_data import Event, PerfFile, Sample
from tests.builders.read import events
from tests.builders.trace_dat import ACQUIRE, SWITCH, Kernel, TraceFile

K = Kernel()
SAMPLES = Path(__file__).parents[2] / "sample_traces"
BUG = SAMPLES / "bug_slots_lock_then_kvm_lock.dat"


def _perf(folder: Path, name: str, times: range, cpu: int = 0, kind: int = ACQUIRE, clockid: int | None = 1) -> str:
    event = Event(kind, ids=(6,), clockid=clockid)
    if kind == ACQUIRE:
        records = [Sample(event, ts, cpu, 70, K.acquire(70, b"perf%d" % ts, ts)) for ts in times]
    else:
        records = [Sample(event, ts, cpu, 71, K.switch(71, b"perf", ts, 0)) for ts in times]
    file = PerfFile([event], records)
    return file.write(folder, name)


def _dat(folder: Path, name: str, times: range, clock: str = "mono", **more: object) -> str:
    page = K.page(times.start)
    last = times.start
    for ts in times:
        page.event(ts - last, K.acquire(70, b"dat%d" % ts, ts))
        last = ts
    options = [(layout.UNAME, b"Linux host 6.12.117 x86_64\0"), *more.get("options", ())]
    return TraceFile({0: [page], 1: [K.page(times.start)]}, clock=clock, options=options).write(folder, name)


def test_files_of_two_tools_in_one_order(tmp_path: Path) -> None:
    dat = _dat(tmp_path, "a.dat", range(1_000, 2_000, 10))
    perf = _perf(tmp_path, "b.data", range(1_005, 2_005, 20), 1, SWITCH)
    for rows in (7, 1 << 16):
        merged = open_merged([dat, perf])
        found = events(merged, rows=rows)
        assert [r["ts_ns"] for r in found] == sorted([*range(1_000, 2_000, 10), *range(1_005, 2_005, 20)])
        assert [(r["event"], r["ts_ns"], r["cpu"]) for r in found[:3]] == [
            ("lock_acquire", 1_000, 0), ("sched_switch", 1_005, 1), ("lock_acquire", 1_010, 0),
        ]  # fmt: skip
        assert [r["name"] for r in found if r["event"] == "lock_acquire"] == [
            f"dat{i}" for i in range(1_000, 2_000, 10)
        ]
    assert merged.info.format == "merged: trace.dat v7 (plain) + perf.data, file mode"
    assert (merged.info.clock, merged.info.kernel, merged.info.notes) == ("mono", "6.12.117", [])
    trace = load(dat, perf)
    assert len(trace.events("sched_switch")) == 50
    assert trace.path == f"{dat} + {perf}"


def test_the_commands_that_merge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dat = _dat(tmp_path, "a.dat", range(1_000, 2_000, 10))
    perf = _perf(tmp_path, "b.data", range(1_005, 2_005, 20), 1, SWITCH)
    assert run(("info", "--json", "--merge", dat, perf)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["events_by_name"] == {"lock:lock_acquire": 100, "sched:sched_switch": 50}
    assert run(("locks", "--merge", "--format", "json", dat, perf)) == 0
    assert {row["class"][:3] for row in json.loads(capsys.readouterr().out)["rows"]} == {"dat"}
    assert run(("graph", "--merge", "--format", "json", dat, perf)) == 0
    assert "dat1000" in capsys.readouterr().out
    assert run(("export", "--merge", "--table", "lock_events", "-o", str(tmp_path / "out"), dat, perf)) == 0
    assert pq.read_table(tmp_path / "out" / "lock_events.parquet").num_rows == 100
    capsys.readouterr()
    for command in (("info",), ("locks",), ("graph",), ("export", "-o", str(tmp_path / "other"))):
        assert run((*command, dat, perf)) == 2
        assert capsys.readouterr().err == "lockscope: 2 traces: wanted one, or --merge if they are one recording\n"


def test_what_both_have_counts_once(tmp_path: Path) -> None:
    dat = _dat(tmp_path, "a.dat", range(1_000, 2_000, 10))
    perf = _perf(tmp_path, "b.data", range(1_001, 2_001, 10), 1)
    merged = open_merged([dat, perf])
    assert {r["name"][:3] for r in events(merged)} == {"dat"}
    assert merged.info.notes == [f"lock:lock_acquire: in {dat} and {perf} alike; the latter's are left out"]


def test_a_recording_that_was_split_by_size(tmp_path: Path) -> None:
    parts = [_perf(tmp_path, f"{i}", range(1_000 * i, 1_000 * i + 1_010, 10), i % 2) for i in range(1, 4)]
    found = events(open_merged(parts))
    assert len(found) == 3 * 101
    assert [r["ts_ns"] for r in found] == sorted(r["ts_ns"] for r in found)


@pytest.mark.parametrize(
    ("clock", "clockid", "reason"),
    [
        ("local", 1, "clock 'mono', but .*a.dat has 'local'"),
        ("mono", None, "clock 'perf', but .*a.dat has 'mono'"),
        ("counter", 1, "the clock 'counter' counts no time"),
    ],
)
def test_clocks_that_do_not_allow_it(clock: str, clockid: int | None, reason: str, tmp_path: Path) -> None:
    files = [_dat(tmp_path, "a.dat", range(10, 20), clock), _perf(tmp_path, "b.data", range(10, 20), clockid=clockid)]
    with pytest.raises(UsageError, match=reason):
        open_merged(files)


def test_ftraces_perf_clock_is_perfs_own(tmp_path: Path) -> None:
    files = [
        _dat(tmp_path, "a.dat", range(10, 20), "perf"),
        _perf(tmp_path, "b", range(5, 25), kind=SWITCH, clockid=None),
    ]
    assert len(events(open_merged(files))) == 30


def test_a_text_names_no_clock_and_other_kernels_are_no_one_recording(tmp_path: Path) -> None:
    perf = _perf(tmp_path, "b.data", range(10, 20))
    text = tmp_path / "text"
    text.write_text("  qemu-1   [000] .....     1.000001: lock_acquire: 0xffff888100000100 &kvm->lock\n")
    with pytest.raises(UsageError, match="text: nothing says which clock"):
        open_merged([perf, str(text)])
    other = PerfFile([Event(ACQUIRE, ids=(6,), clockid=1)], [], release=b"6.1.0").write(tmp_path, "other")
    with pytest.raises(UsageError, match=r"other: kernel '6.1.0', but .*b.data is of '6.12.117'"):
        open_merged([perf, other])


def test_a_guest_beside_its_host(tmp_path: Path) -> None:
    guest_of = (layout.GUEST, b"vm1\0" + K.pack("QIII", 9, 1, 0, 77))
    host = _dat(tmp_path, "host.dat", range(1_000, 2_000, 10), options=[(layout.TRACEID, K.pack("Q", 5)), guest_of])
    shift = K.pack("QIIIqqq", 5, 0, 1, 1, 0, 900, 1)
    mine = [(layout.TRACEID, K.pack("Q", 9)), (layout.TIME_SHIFT, shift)]
    guest = _dat(tmp_path, "guest.dat", range(105, 605, 10), options=mine)
    merged = open_merged([host, guest])
    found = events(merged)
    assert [r["ts_ns"] for r in found[:3]] == [1_000, 1_005, 1_010]
    assert {r["buffer"] for r in found} == {"", "vm1"}
    assert {f.system for f in merged.formats[2:]} == {"lock", "sched", "test", "vm1/lock", "vm1/sched", "vm1/test"}
    trace = load(host, guest)
    for reader, name in zip(trace.reader.readers, ("qemu", "guest-task"), strict=True):
        reader.info.comms[70] = name
    trace.reader.info.comms[70] = "qemu"
    assert set(trace.events("lock:lock_acquire").to_pandas().comm) == {"qemu"}
    assert set(trace.events("vm1/lock:lock_acquire").to_pandas().comm) == {"guest-task"}
    report = analyze([host, guest], AnalyzeOptions(merge=True))
    assert report.traces[0].events == 150
    assert report.findings == [] or {f.code for f in report.findings} <= {"LS902", "LS903"}
    with pytest.raises(UsageError, match=r"its times are set to a host whose trace .* is not among the files"):
        open_merged([_perf(tmp_path, "b.data", range(10, 20)), guest])


@pytest.mark.parametrize("name", ["bug_slots_lock_then_kvm_lock.dat", "bug_srcu_then_slots_lock.dat"])
def test_one_workload_gets_the_same_findings_from_both_tools(name: str, tmp_path: Path) -> None:
    copy = perf_copy.write(SAMPLES / name, tmp_path / "perf.data")
    by_tool = [analyze([str(p)]) for p in (SAMPLES / name, copy)]
    told = [{(f.code, f.classes, f.fingerprint, f.count) for f in report.findings} for report in by_tool]
    # Only the clock differs: trace.dat's local one is not in step between CPUs.
    assert {t for t in told[0] if t[0] != "LS902"} == told[1]
    assert {t[0] for t in told[1]} > {"LS903"}  # not only what was not judged
    assert [(c.code, c.verdict) for c in by_tool[0].checks if c.code != "LS902"] == [
        (c.code, c.verdict) for c in by_tool[1].checks if c.code != "LS902"
    ]


def test_a_recording_in_two_files_gets_the_same_findings(tmp_path: Path) -> None:
    def locks(fmt: object) -> bool:
        return str(getattr(fmt, "system", "")) in ("lock", "lockscope")

    files = [
        perf_copy.write(BUG, tmp_path / "locks.data", locks),
        perf_copy.write(BUG, tmp_path / "rest.data", lambda f: not locks(f)),
    ]
    whole = analyze([perf_copy.write(BUG, tmp_path / "whole.data")])
    merged = analyze(files, AnalyzeOptions(merge=True))
    assert {(f.code, f.fingerprint, f.count) for f in merged.findings} == {
        (f.code, f.fingerprint, f.count) for f in whole.findings
    }
    assert TraceDat(str(BUG)).info.cpus == merged.traces[0].cpus


def test_files_that_overlap_a_little_keep_what_both_have(tmp_path: Path) -> None:
    first, second = (
        _perf(tmp_path, "a.data", range(1_000, 2_000, 10)),
        _perf(tmp_path, "b.data", range(1_955, 2_955, 10)),
    )
    found = events(open_merged([first, second]))
    assert [r["ts_ns"] for r in found] == sorted([*range(1_000, 2_000, 10), *range(1_955, 2_955, 10)])


@pytest.mark.parametrize("overlap", [1, 3_000_000])
def test_pieces_that_overlap_are_the_whole(tmp_path: Path, overlap: int) -> None:
    source, begin, middle, end = SAMPLES / "dirty_log.dat", 10_320_000_000, 10_330_000_000, 10_340_000_000
    at = next(r["ts_ns"] for r in events(TraceDat(str(source))) if r["ts_ns"] >= middle)  # that event is in both
    pieces = [str(tmp_path / name) for name in ("1.dat", "2.dat")]
    whole = tmp_path / "whole.dat"
    cut(source, whole, begin, end)
    cut(source, Path(pieces[0]), begin, at + overlap)
    cut(source, Path(pieces[1]), at, end)
    merged = open_merged(pieces)
    found = events(merged)
    assert found == events(TraceDat(str(whole)))
    again = sum(at <= r["ts_ns"] < at + overlap for r in found)
    assert again >= 1
    assert f"{again} events that two of the files have alike are taken once" in merged.info.notes
    report = analyze(pieces, AnalyzeOptions(merge=True))
    assert [f.code for f in report.findings if f.severity == "error"] == []


def test_equal_events_of_one_file_stay(tmp_path: Path) -> None:
    page = K.page(1_000)
    for _ in range(3):
        page.event(0, K.acquire(70, b"same", 7))
    once = TraceFile({0: [page], 1: [K.page(1_000)]}, clock="mono").write(tmp_path, "a.dat")
    other = TraceFile({0: [K.page(1_000)], 1: [page]}, clock="mono").write(tmp_path, "b.dat")  # another CPU's
    assert len(events(open_merged([once, other]))) == 6
    third = TraceFile({0: [page], 1: [K.page(1_000)]}, clock="mono").write(tmp_path, "c.dat")
    assert len(events(open_merged([once, third]))) == 3
