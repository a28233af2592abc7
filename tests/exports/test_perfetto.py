"""Perfetto traces, read back with the package's own protos, and by the trace processor."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import lockscope
from lockscope.errors import UsageError
from tests.builders.records import EVENTS
from tests.builders.script import Script
from tests.exports.engine import ask

ROOT = Path(__file__).parents[2]
BUG = ROOT / "sample_traces" / "bug_slots_lock_then_kvm_lock.dat"
A, B, C = 0xFFFF888100000100, 0xFFFF888100000200, 0xFFFF888100000300


def scripted(tmp_path: Path) -> Path:
    """Two tasks that take two locks in opposite orders; one waits once; a lock released out of order."""
    s = Script(events={**EVENTS, "lockscope:kvm_flush_remote_tlbs": "__probe_ip:ptr kvm:ptr"})
    one, two = s.task("qemu", 100), s.task("vcpu", 101, cpu=1)
    one.acquire("&kvm->lock", A, at=1_000).acquired("&kvm->lock", A, at=1_010)
    one.acquire("&kvm->slots_lock", B, at=1_020).acquired("&kvm->slots_lock", B, at=1_030)
    two.acquire("&kvm->slots_lock", B, at=1_100).contended("&kvm->slots_lock", B, at=1_110)
    one.release("&kvm->lock", A, at=1_500).release("&kvm->slots_lock", B, at=1_600)
    two.acquired("&kvm->slots_lock", B, at=1_700)
    two.acquire("&kvm->lock", A, at=1_800).acquired("&kvm->lock", A, at=1_810)
    two.release("&kvm->lock", A, at=1_900).release("&kvm->slots_lock", B, at=2_000)
    two.event("lockscope:srcu_read_lock", ssp=C, idx=1, at=2_100)
    two.event("lockscope:srcu_read_unlock", ssp=C, idx=1, at=2_200)
    two.event("lockscope:kvm_flush_remote_tlbs", kvm=0xFFFFC90000001000, at=2_300)
    return s.save(tmp_path / "t.dat")


def packets(trace: Path, tmp_path: Path, **options: Any) -> list[Any]:
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

    (place,) = lockscope.load(trace).export(tmp_path / "t.pftrace", format="perfetto", **options)
    whole = Trace()
    whole.ParseFromString(place.read_bytes())
    return list(whole.packet)


def slices(found: list[Any]) -> list[tuple[str, str, str, int, int]]:
    """(task, track, name, begin, end), by time."""
    tracks = {p.track_descriptor.uuid: p.track_descriptor for p in found if p.HasField("track_descriptor")}
    open_: dict[int, list[tuple[int, str]]] = {}
    made = []
    for p in found:
        if not p.HasField("track_event"):
            continue
        e = p.track_event
        if e.type == 1:
            open_.setdefault(e.track_uuid, []).append((p.timestamp, e.name))
        elif e.type == 2:
            begin, name = open_[e.track_uuid].pop()
            track = tracks[e.track_uuid]
            made.append((tracks[track.parent_uuid].name, track.name, name, begin, p.timestamp))
    assert not any(open_.values())
    return sorted(made, key=lambda s: s[3])


def test_waits_holds_and_sections_are_slices_of_their_task(tmp_path: Path) -> None:
    assert slices(packets(scripted(tmp_path), tmp_path)) == [
        ("qemu 100", "holds", "&kvm->lock", 1_010, 1_500),
        ("qemu 100", "holds", "&kvm->slots_lock", 1_030, 1_600),
        ("vcpu 101", "waits", "wait &kvm->slots_lock", 1_110, 1_700),
        ("vcpu 101", "holds", "&kvm->slots_lock", 1_700, 2_000),
        ("vcpu 101", "holds", "&kvm->lock", 1_810, 1_900),
        ("vcpu 101", "srcu", f"srcu 0x{C:x}", 2_100, 2_200),
    ]


def test_slices_that_overlap_have_tracks_of_their_own(tmp_path: Path) -> None:
    lanes: dict[int, int] = {}
    for p in packets(scripted(tmp_path), tmp_path):
        if p.HasField("track_event") and p.track_event.type in (1, 2):
            lane = p.track_event.track_uuid
            lanes[lane] = lanes.get(lane, 0) + (1 if p.track_event.type == 1 else -1)
            assert lanes[lane] in (0, 1)


def test_findings_are_joined_from_side_to_side(tmp_path: Path) -> None:
    events = [p for p in packets(scripted(tmp_path), tmp_path) if p.HasField("track_event") and p.track_event.type == 3]
    rings = [p for p in events if p.track_event.name == "LS101 circular-lock-dependency"]
    assert len(rings) == 4
    flows = Counter(flow for p in rings for flow in p.track_event.flow_ids)
    assert sorted(flows.values()) == [2, 2]
    notes = {a.name: a.string_value for a in rings[0].track_event.debug_annotations}
    assert notes["severity"] == "error"
    assert notes["note"].startswith("takes &kvm->")
    assert [p.track_event.name for p in events if p.track_event.categories[0] == "mmu"] == ["flush"]


def test_a_stretch_of_time(tmp_path: Path) -> None:
    found = packets(scripted(tmp_path), tmp_path, from_=1_100, to=1_800)
    assert [s[2] for s in slices(found)] == ["wait &kvm->slots_lock", "&kvm->slots_lock"]


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "perfetto.trace_builder.proto_builder", None)
    with pytest.raises(UsageError, match=r"pip install perfetto"):
        lockscope.load(scripted(tmp_path)).export(tmp_path / "x", format="perfetto")


@pytest.mark.all
def test_the_trace_processor_returns_the_slices(tmp_path: Path) -> None:
    trace = lockscope.load(BUG)
    (place,) = trace.export(tmp_path / "t.pftrace", format="perfetto")
    holds, waits, mmu, flows, errors = ask(
        place.read_bytes(),
        "select s.ts, s.dur, s.name, p.name from slice s join track t on s.track_id = t.id"
        " join track p on t.parent_id = p.id where t.name = 'holds' order by s.ts, s.dur, s.name",
        "select count(*), sum(dur) from slice where category = 'wait'",
        "select count(*) from slice where category = 'mmu'",
        "select o.name, i.name from flow f join slice o on f.slice_out = o.id join slice i on f.slice_in = i.id",
        "select name, value from stats where severity = 'error' and value > 0",
    )
    table = [h for h in trace.table("holds").arrow.to_pylist() if h["begin_known"]]
    comms = trace.comms()
    begin = [(max(h["asked_ns"], h["acquired_ns"] or 0), h) for h in table]
    who = {h["pid"]: f"{comms.get(h['pid'], '<...>')} {h['pid']}" for h in table if h["pid"]}
    assert holds == sorted(
        (b, h["end_ns"] - b, h["name"], who.get(h["pid"], f"idle CPU {h['cpu']}")) for b, h in begin
    )  # fmt: skip
    waited = [h["acquired_ns"] - h["contended_ns"] for h in table if h["contended_ns"] and h["acquired_ns"]]
    assert waits == [(len(waited), sum(waited))]
    assert mmu == [(len(trace.table("spte_changes")) + len(trace.table("tlb_flushes")),)]
    assert ("LS101 circular-lock-dependency", "LS101 circular-lock-dependency") in flows
    assert errors == []
