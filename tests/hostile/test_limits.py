"""Memory by the size of the file and a constant, time linear in its bytes: small files that ask for more."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import lockscope
from lockscope.formats.event_format import parse_format
from lockscope.formats.open import open_trace
from lockscope.formats.trace_dat import layout
from lockscope.formats.trace_dat.reader import TraceDat
from lockscope.formats.trace_dat.writer import pack
from lockscope.tables import symbols
from tests.builders.limits import cost_of
from tests.builders.perf_data import ROUND, Event, Kernel, PerfFile, Sample, comm
from tests.builders.trace_dat import ACQUIRE, TraceFile, format_text, formats

MIB = 1 << 20
_BOMBS = 10


def packed_section(number: int, plain: bytes) -> bytes:
    raw = pack("zstd", plain)
    return struct.pack("<HHIQII", number, layout.COMPRESSED, 0, len(raw) + 8, len(raw), len(plain)) + raw


def test_a_host_with_very_many_threads(tmp_path: Path) -> None:
    """perf record -a writes a COMM for every thread there is, all in front of the first sample."""
    k, event = Kernel(), Event(ACQUIRE, ids=(6,))
    many = [comm(k, 100 + i, b"thread%d" % i) for i in range(40_000)]
    sample = Sample(event, 1_000, 0, 100, k.acquire(100, b"&a->lock", 0x100))
    path = PerfFile([event], [sample, *many, sample, ROUND], k).write(tmp_path, "t.data")
    reader = open_trace(path)
    assert sum(len(batch) for batch in reader.batches()) == 2
    assert reader.info.comms[40_099] == "thread39999"
    found = cost_of("info", path)
    assert (found.status, found.err) == (0, "")
    assert found.mib < 400


def test_options_that_unpack_to_gigabytes(tmp_path: Path) -> None:
    """Chained sections of options, 64 MiB each, in less than a hundred kilobytes."""
    whole = TraceFile({0: [Kernel().page(1).event(1, Kernel().acquire(1, b"a", 1))]}, codec="zstd").build()
    at = whole.index(b"zstd\0") + 7
    first = int.from_bytes(whole[at : at + 8], "little")
    filler = struct.pack("<HI", 999, (64 * MIB) - 32) + bytes(64 * MIB - 32)
    sections, begin = [], len(whole)
    for i in range(_BOMBS):
        following = first if i == _BOMBS - 1 else 0
        body = filler + struct.pack("<HIQ", layout.DONE, 8, following)
        made = packed_section(layout.DONE, body)
        if following == 0:  # where the next begins is known when this one is packed: all are equally long
            made = packed_section(layout.DONE, filler + struct.pack("<HIQ", layout.DONE, 8, begin + len(made)))
        sections.append(made)
        begin = begin + len(made)
    path = tmp_path / "bomb.dat"
    path.write_bytes(whole[:at] + len(whole).to_bytes(8, "little") + whole[at + 8 :] + b"".join(sections))
    assert path.stat().st_size < MIB
    found = cost_of("info", path)
    assert found.mib < 400
    assert found.cpu_s < 10


def test_a_declaration_that_is_none_takes_no_time() -> None:
    """200 formats of 256 fields whose declarations end in what no name ends in: minutes, as a regular expression."""
    lines = [("a" * 250 + "(", 8, 4, 0)] * 256
    text = format_text("slow", 400, lines).decode()
    for _ in range(20):
        parsed = parse_format(text)
        assert parsed is not None
        assert parsed.fields == ()


@pytest.mark.parametrize(
    ("declaration", "found"),
    [
        ("unsigned long args[6]", ("args", "unsigned long[6]", "array", 6)),
        ("char prev_comm[16]", ("prev_comm", "char[48]", "string", 48)),
        ("struct thing * ptr", ("ptr", "struct thing *[48]", "array", 48)),
        ("int x[a](", None),
        ("", None),
        ("[4]", None),
    ],
)
def test_declarations(declaration: str, found: tuple[str, str, str, int] | None) -> None:
    parsed = parse_format(format_text("e", 400, [(declaration, 8, 48, 0)]).decode())
    assert parsed is not None
    assert [(f.name, f.ctype, f.kind, f.count) for f in parsed.fields] == ([found] if found else [])


def test_symbols_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbols, "_MOST", 1_000)
    text = b"".join(b"%x T s\n" % (0xFFFFFFFF81000000 + i) for i in range(1_100))
    assert len(symbols.Symbols.parse(text).names) == 1_000


def test_a_cpu_that_no_machine_has(tmp_path: Path) -> None:
    k = Kernel()
    file = TraceFile({0: [k.page(1_000).event(1, k.acquire(7, b"&a->lock", 1))]})
    whole = bytearray(file.build())
    table = struct.pack("<II", 4096, 1) + struct.pack("<I", 0)
    at = whole.rindex(table) + 8
    whole[at : at + 4] = b"\xff\xff\xff\xff"
    path = tmp_path / "t.dat"
    path.write_bytes(bytes(whole))
    reader = TraceDat(str(path))
    assert any("CPU 4294967295, which is impossible: 1 left out" in n for n in reader.info.notes)
    report = lockscope.load(path).analyze()
    assert report.verdict == "unknown"


def test_a_preempt_count_far_outside_the_record(tmp_path: Path) -> None:
    """Where the common fields lie is what the file says."""
    k, event = Kernel(), Event(ACQUIRE, ids=(6,))
    systems, far = formats(), b"common_preempt_count;\toffset:65535"
    systems["lock"] = [text.replace(b"common_preempt_count;\toffset:3", far) for text in systems["lock"]]
    assert far in systems["lock"][0]
    file = PerfFile([event], [Sample(event, 1_000, 0, 1, k.acquire(1, b"a", 1)), ROUND], k, systems)
    assert sum(len(b) for b in open_trace(file.write(tmp_path, "t.data")).batches()) == 1
