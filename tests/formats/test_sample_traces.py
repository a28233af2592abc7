"""The repository's own real traces are what their manifest says."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockscope.formats.open import open_trace
from lockscope.formats.perf.reader import PerfData
from lockscope.formats.trace_dat.reader import TraceDat
from lockscope.tables.events import LOSS
from tests.builders.cut import cut, symbols_in_use
from tests.builders.read import events

SAMPLES = Path(__file__).parents[2] / "sample_traces"
TRACES: list[dict[str, Any]] = tomllib.loads((SAMPLES / "MANIFEST.toml").read_text())["trace"]


def test_every_trace_is_listed() -> None:
    files = {p.name for p in (*SAMPLES.glob("*.dat"), *SAMPLES.glob("*.perf.data*")) if p.suffix != ".kallsyms"}
    assert files == {t["file"] for t in TRACES}
    assert all((SAMPLES / t["windows"]).exists() for t in TRACES if "windows" in t)


@pytest.mark.parametrize("trace", TRACES, ids=lambda t: t["file"])
def test_a_file_is_the_one_that_the_manifest_is_about(trace: dict[str, Any]) -> None:
    path = SAMPLES / trace["file"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == trace["sha256"]
    reader = open_trace(str(path))
    assert (reader.info.kernel or "") == trace["kernel"]
    assert sum(int((batch.kind != LOSS).sum()) for batch in reader.batches()) == trace["events"]
    assert reader.info.notes == []


def test_what_the_recordings_say() -> None:
    lossy = TraceDat(str(SAMPLES / "lossy.dat"))
    assert [(n.kind, n.cpu, n.count) for n in lossy.info.losses] == [("overrun", 0, 56_380), ("overrun", 1, 32_428)]
    assert [r["count"] for r in events(lossy) if r["event"] == "loss"][:3] == [203, 1_219, 616]
    arm = TraceDat(str(SAMPLES / "arm_32bit.dat"))
    assert (arm.info.long_size, arm.info.cpus, arm.info.symbols().names) == (4, 8, [])
    big = TraceDat(str(SAMPLES / "big_endian.dat"))
    assert (big.info.big_endian, big.info.machine, big.info.clock) == (True, "s390x", "local")
    chains = PerfData(str(SAMPLES / "callchains.perf.data.xz"))
    first = next(r for r in events(chains) if r["event"] == "contention_begin")
    assert (first["ts_ns"], first["cpu"], first["flags_"]) == (5_912_136_967, 1, 33)
    assert [hex(ip) for ip in (*first["callchain"][:2], first["callchain"][-1])] == [
        "0xffffffff818a8113", "0xffffffff812fbb9e", "0x7f6aee01fad7",
    ]  # fmt: skip
    two = TraceDat(str(SAMPLES / "instances.dat"))
    assert [(s.buffer, s.cpu) for s in two.info.streams] == [("", 0), ("", 1), ("kvm", 0), ("kvm", 1)]


def test_a_cut_is_the_events_of_its_stretch(tmp_path: Path) -> None:
    source = SAMPLES / "dirty_log.dat"
    begin, end = 10_320_000_000, 10_330_000_000
    expected = [r for r in events(TraceDat(str(source))) if begin <= r["ts_ns"] < end]
    for version in (6, 7):
        target = tmp_path / f"{version}.dat"
        assert cut(source, target, begin, end, version=version) == len(expected) > 500
        assert events(TraceDat(str(target))) == expected


def test_symbols_in_use_keep_their_ends() -> None:
    kallsyms = b"".join(b"%016x T f%d\n" % (0xFFFFFFFF81000000 + 0x100 * i, i) for i in range(9))
    used = symbols_in_use(kallsyms, np.array([5, 0xFFFFFFFF81000204], np.uint64))
    assert used == b"ffffffff81000200 T f2\nffffffff81000300 T f3\n"
