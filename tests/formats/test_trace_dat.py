"""The trace.dat reader on files made for the purpose: exact values, every byte order, word size and packing."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockscope.errors import FormatError
from lockscope.formats.trace_dat import layout
from lockscope.formats.trace_dat.facts import only_enabled
from lockscope.formats.trace_dat.reader import TraceDat
from tests.builders.read import events
from tests.builders.trace_dat import Kernel, Page, TraceFile, format_text

KERNELS = [Kernel(big, word) for big in (False, True) for word in (4, 8)]
PACKINGS = [(6, "none"), (7, "none"), (7, "zlib"), (7, "zstd")]


def _two_cpus(k: Kernel) -> dict[int, list[Page]]:
    first = k.page(1_000)
    first.event(0, k.acquire(70, b"&kvm->lock", 0x8881_0000, flags=2, preempt=3))
    first.event(25, k.mixed(-1, 4, -3, 0xBEEF, 0x8000_0000_0000_0001, (7, 0xFFFF_FFF0), (1, 0xFFFFFFFF), b"end"))
    second = k.page(2_000)
    second.event(5, k.switch(71, b"vcpu", 71, -1))
    other = k.page(1_010)
    other.event(2, k.acquire(0, b"", 0x10, flags=0))
    other.event(13, k.acquire(0, "rcu_\N{MICRO SIGN}".encode(), 0x20))
    return {0: [first, second], 1: [other]}


@pytest.mark.parametrize(("version", "codec"), PACKINGS)
@pytest.mark.parametrize("k", KERNELS, ids=lambda k: f"{'big' if k.big else 'little'}{8 * k.long_size}")
def test_every_field_of_every_event(k: Kernel, version: int, codec: str, tmp_path: Path) -> None:
    reader = TraceDat(TraceFile(_two_cpus(k), k, version, codec).write(tmp_path))
    top = {"buffer": "", "flags": 0, "preempt_count": 0}
    assert events(reader) == [
        {**top, "event": "lock_acquire", "ts_ns": 1_000, "cpu": 0, "pid": 70, "preempt_count": 3, "flags_": 2,
         "name": "&kvm->lock", "lockdep_addr": 0x8881_0000},
        {**top, "event": "lock_acquire", "ts_ns": 1_012, "cpu": 1, "pid": 0, "flags_": 0, "name": "",
         "lockdep_addr": 0x10},
        {**top, "event": "mixed", "ts_ns": 1_025, "cpu": 0, "pid": -1, "level": 4, "delta": -3, "short_one": 0xBEEF,
         "spte": 0x8000_0000_0000_0001, "args": [7, 0xFFFF_FFF0], "words": [1, 0xFFFFFFFF], "tail": "end"},
        {**top, "event": "lock_acquire", "ts_ns": 1_025, "cpu": 1, "pid": 0, "flags_": 0, "name": "rcu_µ",
         "lockdep_addr": 0x20},
        {**top, "event": "sched_switch", "ts_ns": 2_005, "cpu": 0, "pid": 71, "prev_comm": "vcpu", "prev_pid": 71,
         "prev_state": -1},
    ]  # fmt: skip
    info = reader.info
    assert (info.long_size, info.big_endian, info.cpus, info.clock) == (k.long_size, k.big, 2, "local")
    assert (info.losses, info.notes) == ([], [])


def test_the_kernels_word_size_is_that_of_header_page(tmp_path: Path) -> None:
    k = Kernel(False, 4)
    reader = TraceDat(TraceFile(_two_cpus(k), k, user_long=8).write(tmp_path))
    assert reader.info.long_size == 4
    assert len(events(reader)) == 5


@pytest.mark.parametrize("size", [1, 2, 3, 17, 200])
def test_batches_of_any_size_make_the_same_rows(size: int, tmp_path: Path) -> None:
    k = Kernel()
    cpus: dict[int, list[Page]] = {}
    for cpu in range(5):
        pages = []
        for p in range(7):
            page = k.page(1_000 * p + 37 * cpu, missed=p if p % 3 == 2 else None)
            for i in range(11):
                page.event(i * (cpu + 1), k.acquire(cpu, b"lock%d" % (p * 11 + i), i))
            pages.append(page)
        cpus[cpu] = pages
    path = TraceFile(cpus, codec="zstd").write(tmp_path)
    whole = events(TraceDat(path), rows=1 << 16)
    assert len(whole) == 5 * 7 * 11 + 5 * 2
    # Order: by time; equal times by CPU, and within a CPU as recorded.
    assert [(r["ts_ns"], r["cpu"]) for r in whole] == sorted((r["ts_ns"], r["cpu"]) for r in whole)
    for cpu in range(5):
        assert [r["name"] for r in whole if r["cpu"] == cpu and r["event"] != "loss"] == [f"lock{i}" for i in range(77)]
    assert events(TraceDat(path), rows=size) == whole


def test_time_extends_stamps_and_padding(tmp_path: Path) -> None:
    k = Kernel()

    def lock(i: int) -> bytes:
        return k.acquire(1, b"l", i)

    page = k.page(100)
    page.event(1, lock(0))
    page.extend((3 << 27) + 5).event(2, lock(1))  # adds to the time
    page.discarded(7, 24).event(3, lock(2))  # a discarded record's delta counts
    page.stamp(1_000_000_000_000).event(4, lock(3))  # replaces the time
    page.event(0, lock(4), long_form=True)
    page.end_padding()
    page.raw(b"\xff" * 40)  # never looked at
    reader = TraceDat(TraceFile({0: [page]}).write(tmp_path))
    extended = 100 + 1 + (3 << 27) + 5 + 2
    times = [101, extended, extended + 10, 1_000_000_000_004, 1_000_000_000_004]
    assert [(r["ts_ns"], r["lockdep_addr"]) for r in events(reader)] == list(zip(times, range(5), strict=True))


@pytest.mark.parametrize(
    ("page_time", "stamp", "time"),
    [
        (5, 1 << 58, 1 << 58),
        (1 << 60, (1 << 60) + 9, (1 << 60) + 9),
        (((1 << 59) - 1) | 1 << 60, (1 << 60) + (1 << 59) + 3, (1 << 60) + (1 << 59) + 3),  # the 59 bits wrapped
    ],
)
def test_a_stamps_top_bits_come_from_the_page(page_time: int, stamp: int, time: int, tmp_path: Path) -> None:
    k = Kernel()
    page = k.page(page_time).stamp(stamp).event(0, k.acquire(1, b"l", 1))
    assert [r["ts_ns"] for r in events(TraceDat(TraceFile({0: [page]}).write(tmp_path)))] == [time]


@pytest.mark.parametrize("k", KERNELS, ids=lambda k: f"{'big' if k.big else 'little'}{8 * k.long_size}")
def test_losses_stand_before_the_first_event_of_their_page(k: Kernel, tmp_path: Path) -> None:
    pages = [
        k.page(10).event(0, k.acquire(1, b"a", 1)),
        k.page(20, missed=749).event(0, k.acquire(1, b"b", 2)).event(1, k.acquire(1, b"c", 3)),
        k.page(30, missed=-1).event(4, k.acquire(1, b"d", 4)),
        k.page(40, missed=0).event(0, k.acquire(1, b"e", 5)),
    ]
    reader = TraceDat(TraceFile({3: pages}, k, codec="zstd").write(tmp_path))
    found = [(r["event"], r["ts_ns"], r["cpu"], r.get("count")) for r in events(reader)]
    assert found == [
        ("lock_acquire", 10, 3, None),
        ("loss", 20, 3, 749),
        ("lock_acquire", 20, 3, None),
        ("lock_acquire", 21, 3, None),
        ("loss", 34, 3, -1),
        ("lock_acquire", 34, 3, None),
        ("lock_acquire", 40, 3, None),
    ]
    only = events(reader, lambda fmt: fmt.name == "sched_switch")
    assert [(r["event"], r["count"]) for r in only] == [("loss", 749), ("loss", -1)]


def test_only_wanted_events_and_events_without_a_format(tmp_path: Path) -> None:
    k = Kernel()
    page = k.page(0)
    page.event(1, k.acquire(1, b"a", 1)).event(1, k.switch(1, b"x", 1, 0)).event(1, k.record(999, 5, b"\1\2\3\4"))
    reader = TraceDat(TraceFile({0: [page]}).write(tmp_path))
    assert [r["event"] for r in events(reader)] == ["lock_acquire", "sched_switch", "unknown"]
    assert [r["pid"] for r in events(reader)][-1] == 5
    assert [r["event"] for r in events(reader, lambda f: f.system == "sched")] == ["sched_switch", "unknown"]


def test_buffers_with_their_own_clock_and_page_size(tmp_path: Path) -> None:
    k = Kernel()
    big = k.page(500, 65536)
    for i in range(900):
        big.event(1, k.acquire(9, b"in_a_big_page", i))
    file = TraceFile({0: [k.page(505).event(0, k.acquire(1, b"top", 1))]}, codec="zlib")
    file.instances.append(
        file.buffer("kvm", {0: [big], 7: [k.page(600, 65536).event(0, k.switch(2, b"c", 2, 0))]}, "mono", 65536)
    )
    file.instances.append(file.buffer("small", {1: [k.page(501, 8192).event(0, k.acquire(3, b"s", 3))]}, "local", 8192))
    reader = TraceDat(file.write(tmp_path))
    found = events(reader)
    assert [(s.cpu, s.buffer, s.clock) for s in reader.info.streams] == [
        (0, "", "local"), (0, "kvm", "mono"), (7, "kvm", "mono"), (1, "small", "local"),
    ]  # fmt: skip
    assert [r["lockdep_addr"] for r in found if r["buffer"] == "kvm" and r["cpu"] == 0] == list(range(900))
    assert [(r["ts_ns"], r["buffer"]) for r in found][:3] == [(501, "kvm"), (501, "small"), (502, "kvm")]
    assert [(r["ts_ns"], r["event"]) for r in found if r["cpu"] == 7] == [(600, "sched_switch")]
    assert reader.info.notes == ["buffers use different clocks (local, mono): order between them is not known"]


def test_the_clock_of_an_instance_recorded_alone_is_the_files(tmp_path: Path) -> None:
    """trace-cmd record -B without -C: the buffer names the top instance's clock, TRACECLOCK the one of the instance."""
    k = Kernel()
    file = TraceFile({0: []}, clock="mono")
    for name, first in (("lockscope", 500), ("second", 700)):
        page = k.page(first).event(0, k.acquire(1, b"one", 1))
        file.instances.append(file.buffer(name, {0: [page]}, "global", 4096))
    info = TraceDat(file.write(tmp_path)).info
    assert [(s.buffer, s.clock) for s in info.streams] == [("", None), ("lockscope", "mono"), ("second", "global")]
    assert info.clock == "mono"


def test_instances_of_version_6(tmp_path: Path) -> None:
    k = Kernel(True, 8)
    file = TraceFile({0: [k.page(5).event(0, k.acquire(1, b"top", 1))]}, k, version=6)
    file.instances.append(file.buffer("kvm", {2: [k.page(6, 4096).event(0, k.acquire(2, b"i", 2))]}, "local", 4096))
    assert [(r["buffer"], r["cpu"], r["name"]) for r in events(TraceDat(file.write(tmp_path)))] == [
        ("", 0, "top"),
        ("kvm", 2, "i"),
    ]


def _shift(k: Kernel, flags: int, samples: list[list[tuple[int, int, int, int]]], *, fractions: bool = True) -> bytes:
    """TIME_SHIFT, per CPU samples of (time, offset, scaling, fraction bits)."""
    body = k.pack("QII", 0xABC, flags, len(samples))
    for cpu in samples:
        body += k.pack("I", len(cpu)) + b"".join(k.pack("q", s[i]) for i in range(3) for s in cpu)
    if fractions:
        body += b"".join(k.pack("q", s[3]) for cpu in samples for s in cpu)
    return body


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([(layout.OFFSET, b"-100\0")], [900, 1_900]),
        ([(layout.DATE, b"0x2\0")], [3_000, 4_000]),  # microseconds
        ([(layout.TSC2NSEC, (3 << 30).to_bytes(4, "little") + (31).to_bytes(4, "little") + bytes(8))], [1_500, 3_000]),
        ([(layout.TIME_SHIFT, _shift(Kernel(), 0, [[(0, -7, 1, 0)]], fractions=False))], [993, 1_993]),
        ([(layout.TIME_SHIFT, _shift(Kernel(), 0, [[(500, 10, 1, 0), (1_500, 20, 1, 0), (5_000, 30, 1, 0)]]))],
         [1_010, 2_020]),
        ([(layout.TIME_SHIFT, _shift(Kernel(), 1, [[(1_000, 10, 1, 0), (3_000, 30, 1, 0)]]))], [1_010, 2_020]),
        ([(layout.TIME_SHIFT, _shift(Kernel(), 0, [[(0, 0, 3 << 47, 48), (9_000, 0, 3 << 47, 48)]]))], [1_500, 3_000]),
    ],
)  # fmt: skip
def test_times_are_corrected_as_the_file_says(
    options: list[tuple[int, bytes]], expected: list[int], tmp_path: Path
) -> None:
    k = Kernel()
    page = k.page(1_000).event(0, k.acquire(1, b"a", 1)).event(1_000, k.acquire(1, b"b", 2))
    reader = TraceDat(TraceFile({0: [page]}, options=options).write(tmp_path))
    assert [r["ts_ns"] for r in events(reader)] == expected


def test_what_the_options_say(tmp_path: Path) -> None:
    k = Kernel()
    stat = b"CPU: %d\nentries: 5\noverrun: %d\ncommit overrun: 0\nbytes: 1\ndropped events: %d\nread events: 9\n\0"
    guest = b"guest0\0" + k.pack("QI", 0x55, 2) + k.pack("IIII", 0, 1234, 1, 1235)
    options = [
        (layout.UNAME, b"Linux my host 6.12.1-rt x86_64\0"), (layout.VERSION, b"3.1.6\0"),
        (layout.TRACEID, k.pack("Q", 1 << 63)),
        (layout.GUEST, guest), (layout.CPUSTAT, stat % (0, 12, 0)), (layout.CPUSTAT, b"\nBuffer: kvm\n\n\0"),
        (layout.CPUSTAT, stat % (1, 0, 3)), (99, b"who knows"), (layout.HOOK, b"x"), (23, bytes(8)),
    ]  # fmt: skip
    bodies = {layout.CMDLINES: k.pack("Q", 21) + b"70 a b c\n71 vcpu\n-1 z\n", layout.PRINTK: k.pack("I", 4) + b"0x1:"}
    symbols = b"ffffffff81000000 T _text\nffffffff81000100 t start\n"
    bodies[layout.KALLSYMS] = k.pack("I", len(symbols)) + symbols
    reader = TraceDat(TraceFile({0: []}, options=options, bodies=bodies, clock="x86-tsc").write(tmp_path))
    info = reader.info
    assert (info.host, info.kernel, info.machine, info.clock) == ("my host", "6.12.1-rt", "x86_64", "x86-tsc")
    assert info.comms == {70: "a b c", 71: "vcpu"}
    assert info.options["guests"] == [("guest0", 0x55, {0: 1234, 1: 1235})]
    assert (info.options["trace_id"], info.options["writer"], info.options["printk"]) == (1 << 63, "3.1.6", b"0x1:")
    assert [(n.kind, n.cpu, n.count, n.buffer) for n in info.losses] == [
        ("overrun", 0, 12, ""),
        ("dropped", 1, 3, "kvm"),
    ]
    assert info.notes == [
        "unknown option 99 skipped",
        "clock 'x86-tsc' does not count nanoseconds: times and durations are in its own units",
    ]
    assert info.symbols().name(0xFFFFFFFF81000104) == "start+0x4"
    assert events(reader) == []


def test_a_kernel_stack_is_as_deep_as_its_record(tmp_path: Path) -> None:
    k = Kernel()
    stack = format_text("kernel_stack", 4, [("int size", 8, 4, 1), ("unsigned long caller[8]", 16, 64, 0)])
    deep, flat = list(range(1 << 40, (1 << 40) + 21)), [7, 8]
    page = k.page(0)
    for frames in (deep, flat):
        page.event(1, k.record(4, 1, k.pack(f"iI{len(frames)}Q", len(frames), 0, *frames)))
    bodies = {layout.FTRACE_EVENTS: k.pack("IQ", 1, len(stack)) + stack}
    reader = TraceDat(TraceFile({0: [page]}, bodies=bodies).write(tmp_path))
    assert [r["caller"] for r in events(reader)] == [deep, flat]


def test_records_too_short_for_their_format_read_as_nothing(tmp_path: Path) -> None:
    k = Kernel()
    cut = k.acquire(1, b"abc", 0x77)
    page = k.page(0).event(1, cut[:16]).event(1, cut[:8]).event(1, cut)
    rows = events(TraceDat(TraceFile({0: [page]}).write(tmp_path)))
    assert [(r["flags_"], r["name"], r["lockdep_addr"]) for r in rows] == [(0, "", 0), (0, "", 0), (0, "abc", 0x77)]


@pytest.mark.parametrize(
    ("damage", "before"),
    [
        (
            lambda k: k.page(0).event(1, k.acquire(1, b"a", 1)).raw(b"\0" * 4 + (3).to_bytes(4, "little")),
            1,
        ),  # length -1
        (
            lambda k: k.page(0).event(1, k.acquire(1, b"a", 1)).raw(b"\0" * 4 + b"\xff\xff\0\0" + b"x" * 8),
            1,
        ),  # too long
        (lambda k: k.page(0).event(1, k.acquire(1, b"a", 1)).raw(b"\x1e\0\0\0"), 1),  # half a time extend
        (lambda k: k.page(0, commit=9_999).event(1, k.acquire(1, b"a", 1)), 1),  # more than a page holds
    ],
)
def test_what_cannot_be_a_record_ends_its_page_and_is_told(damage, before: int, tmp_path: Path) -> None:
    k = Kernel()
    pages = [damage(k), k.page(100).event(0, k.acquire(1, b"z", 9))]
    reader = TraceDat(TraceFile({0: pages}).write(tmp_path))
    assert [r["ts_ns"] for r in events(reader)] == [1] * before + [100]
    assert [n.kind for n in reader.info.losses] == ["unparsed"]
    told = list(reader.info.notes)
    assert told == ["1 pages hold a record that can't be one; the rest of each was left out"]
    events(reader)
    assert reader.info.notes == told  # once, however often it is read


def _four_pages(version: int, codec: str) -> bytes:
    k = Kernel()
    pages = [k.page(1_000 * i) for i in range(24)]
    for i, page in enumerate(pages):
        for j in range(40):
            page.event(10, k.acquire(1, b"lock %d" % (i * 40 + j), (i * 40 + j) * 0x9E3779B97F4A7C15 & (1 << 64) - 1))
    return TraceFile({0: pages}, version=version, codec=codec).build()


@pytest.mark.parametrize(("version", "codec"), PACKINGS)
def test_cut_data_gives_the_events_before_the_cut(version: int, codec: str, tmp_path: Path) -> None:
    whole = _four_pages(version, codec)
    path = tmp_path / "cut.dat"
    path.write_bytes(whole)
    complete = events(TraceDat(str(path)))
    place = TraceDat(str(path)).head.buffers[0].cpus[0]
    cut = place.offset + place.size // 2
    path.write_bytes(whole[:cut])
    reader = TraceDat(str(path))
    found = events(reader)
    assert 300 < len(found) < 960
    assert found == complete[: len(found)]
    # The options of version 7, which say where the CPUs' data lies, stand behind it.
    assert any("table of CPU data is missing" in n for n in reader.info.notes) == (version == 7)
    assert ("truncated", None if version == 7 else 0) in [(n.kind, n.cpu) for n in reader.info.losses]


def test_options_cut_off_give_all_events_of_all_cpus(tmp_path: Path) -> None:
    k = Kernel()
    cpus = {c: [k.page(1_000 - c).event(0, k.acquire(c, b"l%d" % c, c))] for c in range(3)}
    for codec in ("none", "zstd"):
        whole = TraceFile(cpus, codec=codec).build()
        path = tmp_path / "cut.dat"
        after_codec = whole.index(codec.encode() + b"\0001\0") + len(codec) + 3
        path.write_bytes(whole[: int.from_bytes(whole[after_codec : after_codec + 8], "little")])
        found = events(TraceDat(str(path)))
        assert [(r["ts_ns"], r["cpu"], r["name"]) for r in found] == [(998, 2, "l2"), (999, 1, "l1"), (1_000, 0, "l0")]


@pytest.mark.parametrize(
    ("content", "where", "wanted"),
    [
        (b"", "offset 0x0", "wanted 10 bytes of the magic"),
        (b"\x17\x08Dtracing", "offset 0xa", "wanted the end of the version"),
        (b"\x17\x08Dtracing8\0", "offset 0xc", "version '8'"),
        (b"\x17\x08Dtracing6\0\0\x08\0\0\0\0", "offset 0x12", "page size 0 is impossible"),
        (b"\x17\x08Dtracing7\0\0\x08\0\x10\0\0lzma\0001\0", "offset 0x19", "codec 'lzma'"),
        (b"\x17\x08Dtracing6\0\0\x08\0\x10\0\0header_page\0\xff\xff\xff\xff\xff\xff\xff\x7f", "offset 0x26",
         "bytes of header_page"),
        (b"\x17\x08Dtracing7\0\0\x08\0\x10\0\0none\0001\0" + bytes(8), "", "no event format"),
    ],
)  # fmt: skip
def test_errors_name_file_place_and_what_was_wanted(content: bytes, where: str, wanted: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.dat"
    path.write_bytes(content)
    with pytest.raises(FormatError) as caught:
        TraceDat(str(path))
    assert caught.value.path == str(path)
    assert caught.value.where == where
    assert wanted in caught.value.wanted
    assert "\n" not in str(caught.value)


def test_tables_that_lay_cpus_over_each_other_are_read_once(tmp_path: Path) -> None:
    k = Kernel()
    whole = bytearray(
        TraceFile(
            {0: [k.page(1).event(0, k.acquire(1, b"a", 1))], 1: [k.page(2).event(0, k.acquire(1, b"b", 2))]}
        ).build()
    )
    path = tmp_path / "twice.dat"
    path.write_bytes(whole)
    first, second = TraceDat(str(path)).head.buffers[0].cpus
    row = second.offset.to_bytes(8, "little")
    at = whole.rindex(row)
    whole[at : at + 8] = first.offset.to_bytes(8, "little")
    path.write_bytes(whole)
    reader = TraceDat(str(path))
    assert len(events(reader)) == 1
    assert any("where another CPU's lies" in n for n in reader.info.notes)


def test_latency_files_hold_no_events(tmp_path: Path) -> None:
    whole = TraceFile({}, version=6).build()
    path = tmp_path / "latency.dat"
    path.write_bytes(whole[: whole.index(b"flyrecord")] + b"latency  \0# tracer: irqsoff\n")
    reader = TraceDat(str(path))
    assert events(reader) == []
    assert "the file holds a latency tracer's text, no events" in reader.info.notes


def test_sniff() -> None:
    assert TraceDat.sniff(b"\x17\x08Dtracing7\0")
    assert not TraceDat.sniff(b"PERFILE2")


@pytest.mark.parametrize(
    ("systems", "only"),
    [
        ({"lock": "lock_acquire", "sched": "sched_switch"}, True),
        ({"sched": "sched_wakeup", "irq": "irq_handler_entry", "timer": "timer_start", "lock": "lock_acquire"}, False),
        ({}, False),
    ],
)
def test_the_recorder_saves_the_formats_of_what_was_switched_on(systems, only):
    assert only_enabled(frozenset(f"{system}:{name}" for system, name in systems.items())) is only
