"""The files that did harm, made as they were found, through whole commands: a result or one line, in bounds."""

from __future__ import annotations

import lzma
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from lockscope.evidence.gather import GatherOptions
from lockscope.formats.trace_dat import layout
from lockscope.walk import regions as walk_regions
from tests.builders.limits import cost_of
from tests.builders.perf_data import ROUND, Event, Kernel, PerfFile, Sample, comm
from tests.builders.script import Script
from tests.builders.trace_dat import ACQUIRE, TraceFile, format_text, formats
from tests.hostile.test_exports import FAULT
from tests.hostile.test_limits import MIB, packed_section

DEEP = 61  # locks that a task can be seen to hold


def overflowing(tasks: int) -> Script:
    """Tasks that end the trace with a trylock, still pending, of a lock they hold, below as many as can be held."""
    s = Script()
    for pid in range(1, tasks + 1):
        task = s.task("t", pid)
        for lock in range(DEEP):
            task.acquire("&a->lock", lock + 1)
        task.acquire("&a->lock", 1, trylock=True)
    return s


def test_more_ended_holds_at_the_end_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk's memory ends in words that nothing may write; they are looked at when it is over."""
    rows = 1 << 11
    monkeypatch.setattr(walk_regions, "_HOLDS", rows)
    found = overflowing(100).gathered(GatherOptions(holds=True))
    assert sum(map(len, found.walk.holds)) > 2 * rows


def holds_overflow(place: Path) -> None:
    overflowing(2_300).save(place)
    packed = lzma.compress(place.read_bytes(), preset=0)
    place.write_bytes(packed)


def path_traversal(place: Path) -> None:
    events = {"../../up:evil": "x:u32", f"{place.parent}/abs:evt": "x:u32", f"s:{'n' * 250}": "x:u32"}
    s = Script(events=events)
    for event in events:
        s.task("t", 1).event(event, x=1)
    s.save(place)


def fault_once(place: Path) -> None:
    place.write_text(FAULT)


def many_comms(place: Path) -> None:
    k, event = Kernel(), Event(ACQUIRE, ids=(6,))
    sample = Sample(event, 1_000, 0, 100, k.acquire(100, b"&a->lock", 0x100))
    many = [comm(k, 100 + i, b"t") for i in range(20_000)]
    PerfFile([event], [sample, *many, sample, ROUND], k).write(place.parent, place.name)


def options_bomb(place: Path) -> None:
    whole = TraceFile({0: [Kernel().page(1).event(1, Kernel().acquire(1, b"a", 1))]}, codec="zstd").build()
    at, begin, body = whole.index(b"zstd\0") + 7, len(whole), b""
    first = int.from_bytes(whole[at : at + 8], "little")
    filler = struct.pack("<HI", 999, (64 * MIB) - 32) + bytes(64 * MIB - 32)
    size = len(packed_section(layout.DONE, filler + struct.pack("<HIQ", layout.DONE, 8, begin)))
    for i in range(5):
        following = first if i == 4 else begin + (i + 1) * size
        body += packed_section(layout.DONE, filler + struct.pack("<HIQ", layout.DONE, 8, following)).ljust(size, b"\0")
    place.write_bytes(whole[:at] + begin.to_bytes(8, "little") + whole[at + 8 :] + body)


def slow_formats(place: Path) -> None:
    k, systems = Kernel(), formats()
    slow = [("a" * 250 + "(", 8, 4, 0)] * 256
    systems["slow"] = [format_text(f"slow{i}", 400 + i, slow) for i in range(200)]
    file = TraceFile({0: [k.page(1).event(3, k.acquire(1, b"a", 1))]}, codec="zstd")
    file.bodies = {**file.bodies, **_systems(k, systems)}
    place.write_bytes(file.build())


def _systems(k: Kernel, systems: dict[str, list[bytes]]) -> dict[int, bytes]:
    from tests.builders.trace_dat import sections

    return {layout.EVENT_FORMATS: sections(k, systems=systems)[layout.EVENT_FORMATS]}


def cpu_number(place: Path) -> None:
    k = Kernel()
    whole = bytearray(TraceFile({0: [k.page(1_000).event(1, k.acquire(7, b"&a->lock", 1))]}).build())
    at = whole.rindex(struct.pack("<III", 4096, 1, 0)) + 8
    whole[at : at + 4] = b"\xff\xff\xff\xff"
    place.write_bytes(bytes(whole))


def no_texts(place: Path) -> None:
    s = Script(events={"lock:lock_acquire": "flags:u32 lockdep_addr:ptr"})
    s.task("t", 7).event("lock:lock_acquire", lockdep_addr=0x20)
    s.save(place)


def subclass(place: Path) -> None:
    s = Script()
    s.task("t", 7).acquire("&a->lock", 0x100).detail("&a->lock", 0x100, subclass=999).acquired("&a->lock", 256)
    s.save(place)


def preempt_count(place: Path) -> None:
    k, event, systems = Kernel(), Event(ACQUIRE, ids=(6,)), formats()
    far = b"common_preempt_count;\toffset:65535"
    systems["lock"] = [text.replace(b"common_preempt_count;\toffset:3", far) for text in systems["lock"]]
    sample = Sample(event, 1_000, 0, 1, k.acquire(1, b"a", 1))
    PerfFile([event], [sample, ROUND], k, systems).write(place.parent, place.name)


FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    f.__name__: (f, suffix)
    for f, suffix in (
        (holds_overflow, ".dat.xz"), (path_traversal, ".dat"), (fault_once, ".txt"), (many_comms, ".data"),
        (options_bomb, ".dat"), (slow_formats, ".dat"), (cpu_number, ".dat"), (no_texts, ".dat"), (subclass, ".dat"),
        (preempt_count, ".data"),
    )
}  # fmt: skip
COMMANDS = (
    ("analyze", "TRACE"), ("locks", "TRACE"), ("export", "TRACE", "-o", "OUT"), ("info", "TRACE"),
    ("export", "TRACE", "--table", "holds", "--format", "csv", "-o", "OUT2"),
    ("analyze", "TRACE", "--format", "html", "-o", "r.html"),
    ("nightly", "TRACE", "--history", "h", "-o", "r", "--workers", "1"),
)  # fmt: skip


@pytest.mark.all
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_did_harm(tmp_path: Path, name: str) -> None:
    make, suffix = FILES[name]
    trace, out = tmp_path / "in" / f"trace{suffix}", tmp_path / "out"
    trace.parent.mkdir()
    out.mkdir()
    make(trace)
    assert trace.stat().st_size < MIB
    before = set(tmp_path.rglob("*"))
    for command in COMMANDS:
        words = [str(trace) if w == "TRACE" else w for w in command]
        words = [str(out / w) if w in ("OUT", "OUT2", "r.html", "h", "r") else w for w in words]
        found = cost_of(*words)
        assert found.status in (0, 1, 2), command
        assert "internal error" not in found.err, command
        if found.status == 2:
            assert found.err.count("\n") in (1, 2), (command, found.err)
            assert str(trace) in found.err, (command, found.err)
        assert found.mib < 1024, (command, found.mib)
        # Linear in bytes: of those that are packed, as they are unpacked.
        assert found.cpu_s < (30 if suffix.endswith(".xz") else 10), (command, found.cpu_s)
    assert all(out in p.parents for p in set(tmp_path.rglob("*")) - before)
