"""One trace to one record."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockscope.nightly import tables
from lockscope.nightly.examine import Job, host_of, run
from lockscope.nightly.sources import Source
from tests.builders.nights import LOCK, SLOTS, one_way

ROOT = Path(__file__).parents[2]


def record(path: Path) -> tables.Record:
    return tables.unpack(run(Job(Source(str(path), "1:1"), "n1", "0")))


def test_a_real_trace() -> None:
    found = record(ROOT / "sample_traces" / "bug_slots_lock_then_kvm_lock.dat")
    (trace,) = found["traces"].to_pylist()
    assert (trace["kernel"], trace["host"], trace["error"], trace["verdict"]) == (
        "6.12.117 x86_64", "sample_traces", "", "violation",
    )  # fmt: skip
    assert trace["events"] == 28895
    assert {f["code"] for f in found["findings"].to_pylist()} >= {"LS102"}
    holds = {c["name"]: c for c in found["classes"].to_pylist()}
    assert holds[LOCK]["kvm"]
    assert 0 < holds[LOCK]["hold_p50"] <= holds[LOCK]["hold_p99"] <= holds[LOCK]["hold_max"] * 17 / 16
    edges = {(e["held"], e["taken"]): e for e in found["edges"].to_pylist()}
    assert edges[SLOTS, LOCK]["told"]  # LS101 tells the ring of this trace
    assert any(held.startswith("&rq->__lock@_stext+0x") for held, _ in edges)


def test_without_releases_there_is_no_order_to_merge() -> None:
    """v7_stacks' kind: the recorder kept one lock event of many. LS101 could not judge it, so neither can anyone."""
    found = record(ROOT / "sample_traces" / "stacks.dat")
    status = {c["code"]: c["status"] for c in found["checks"].to_pylist()}
    assert (status["LS101"], found["edges"].num_rows) == ("skipped", 0)


def test_what_is_no_trace_is_a_row(tmp_path: Path) -> None:
    broken = tmp_path / "host7" / "x.dat"
    broken.parent.mkdir()
    broken.write_bytes(b"\x17\x08\x44tracing6\0\0\0\0\0")
    (row,) = record(broken)["traces"].to_pylist()
    assert (row["host"], row["verdict"]) == ("host7", "unknown")
    assert row["error"].startswith(f"{broken}: ")
    (gone,) = record(tmp_path / "gone.dat")["traces"].to_pylist()
    assert gone["digest"] == ""
    assert "cannot read the trace: No such file" in gone["error"]


def test_packed_and_unpacked(tmp_path: Path) -> None:
    found = record(one_way(tmp_path / "x.dat", LOCK, SLOTS))
    assert tables.unpack(tables.pack(found)) == found
    with pytest.raises(ValueError, match=r".+"):
        tables.unpack(b"else")


@pytest.mark.parametrize(
    ("path", "pattern", "said", "host"),
    [
        ("night/n1/x.dat", None, "kvm7", "kvm7"),
        ("night/n1/x.dat", None, "(none)", "n1"),
        ("night/n1/x.dat", r"(?P<host>n\d)/", "kvm7", "n1"),
        ("night/n1/x.dat", r"(?P<host>m\d)/", "kvm7", "kvm7"),
        ("s3://bucket/n2/x.dat", None, None, "n2"),
        ("x.dat", None, "localhost", "x.dat"),
    ],
)
def test_hosts(path: str, pattern: str | None, said: str | None, host: str) -> None:
    assert host_of(Job(Source(path), "n", "0", pattern), said) == host
