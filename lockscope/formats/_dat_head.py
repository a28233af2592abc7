"""What stands before and around the trace data of a trace.dat: versions, formats, options, where each CPU's data lies.

Layout: trace-cmd.dat.v6(5) and trace-cmd.dat.v7(5); where they are silent or stale, lib/trace-cmd/trace-input.c of
trace-cmd 3.4 (handle_options, handle_buffer_option, init_data_v6).
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO

from lockscope.errors import FormatError
from lockscope.formats._bytes import Cursor
from lockscope.formats.event_format import ParsedFormat, parse_format

MAGIC = b"\x17\x08Dtracing"
MOST_HEAD = 256 << 20  # a kernel's kallsyms is 10 MB; nothing before the data is ever near this
MOST_PAGE = 64 << 20
MOST_CPUS = 1 << 16

(DONE, DATE, CPUSTAT, BUFFER, TRACECLOCK, UNAME, HOOK, OFFSET, CPUCOUNT, VERSION, PROCMAPS, TRACEID, TIME_SHIFT, GUEST,
 TSC2NSEC, STRINGS, HEADER_INFO, FTRACE_EVENTS, EVENT_FORMATS, KALLSYMS, PRINTK, CMDLINES, BUFFER_TEXT) = range(23)  # fmt: skip
_SECTIONS = (HEADER_INFO, FTRACE_EVENTS, EVENT_FORMATS, KALLSYMS, PRINTK, CMDLINES)
_KNOWN_UNUSED = (STRINGS, 23, 24, 25)  # BTF_FILE, LAST_BOOT_INFO, MODULES_FILE: nothing here needs them


@dataclass(slots=True)
class CpuData:
    """Where one CPU's records lie in the file. ``size`` as the file says; it may end earlier."""

    cpu: int
    offset: int
    size: int


@dataclass(slots=True)
class BufferData:
    """A tracing instance: "" is the top one. ``compressed``: chunks instead of pages."""

    name: str
    clock: str | None
    page_size: int
    cpus: list[CpuData]
    compressed: bool = False


@dataclass(slots=True)
class TimeShift:
    """One CPU's guest-to-host corrections: samples of (time, offset, scaling, fraction bits), by time."""

    samples: list[tuple[int, int, int, int]]


@dataclass(slots=True)
class Head:
    """Everything a trace.dat says outside its records."""

    path: str
    version: int
    big: bool
    long_size: int
    page_size: int
    codec: str = "none"
    data_offset: int = 16
    formats: list[tuple[str, ParsedFormat]] = field(default_factory=list)
    broken_formats: int = 0
    kallsyms: bytes = b""
    printk: bytes = b""
    cmdlines: bytes = b""
    uname: str | None = None
    writer: str | None = None
    clock: str | None = None
    trace_id: int | None = None
    cpu_count: int = 0
    offset_ns: int = 0
    tsc2nsec: tuple[int, int] | None = None
    time_shift: list[TimeShift] = field(default_factory=list)
    shift_interpolates: bool = False
    guests: list[tuple[str, int, dict[int, int]]] = field(default_factory=list)
    cpustats: list[str] = field(default_factory=list)
    buffers: list[BufferData] = field(default_factory=list)
    latency_text: bool = False
    notes: list[str] = field(default_factory=list)


def _format(head: Head, system: str, raw: bytes) -> None:
    parsed = parse_format(raw.decode("utf-8", "replace"), head.long_size)
    if parsed is None:
        head.broken_formats += 1
    else:
        head.formats.append((system, parsed))


def _read_header_info(head: Head, c: Cursor) -> None:
    for wanted in ("header_page", "header_event"):
        name = c.text("a header's name")
        if name != wanted:
            raise c.fail(f"wanted {wanted!r}, found {name[:20]!r}")
        raw = c.take(c.number(8, f"the size of {wanted}"), wanted)
        if wanted == "header_page":
            _read_header_page(head, raw.decode("utf-8", "replace"))


def _read_header_page(head: Head, text: str) -> None:
    # The kernel's word size is the size of the page's commit field; the byte in the file's head is user space's.
    for line in text.splitlines():
        parts = [p.strip() for p in line.split(";")]
        if len(parts) < 3 or not parts[1].startswith("offset:") or not parts[2].startswith("size:"):
            continue
        name, offset, size = parts[0].split()[-1], parts[1][7:], parts[2][5:]
        if name == "commit" and size in ("4", "8"):
            head.long_size = int(size)
        elif name == "data" and offset.isdigit() and 8 <= int(offset) <= 64:
            head.data_offset = int(offset)


def _read_ftrace_formats(head: Head, c: Cursor) -> None:
    for _ in range(c.number(4, "the number of ftrace formats")):
        _format(head, "ftrace", c.take(c.number(8, "the size of an ftrace format"), "an ftrace format"))


def _read_event_formats(head: Head, c: Cursor) -> None:
    for _ in range(c.number(4, "the number of event systems")):
        system = c.text("an event system's name")
        for _ in range(c.number(4, f"the number of events in {system}")):
            _format(head, system, c.take(c.number(8, "the size of an event format"), "an event format"))


def _read_options(head: Head, c: Cursor) -> int:
    """Options up to DONE; return the offset of the next options section (v7), 0 for none."""
    while c.left >= 2:
        number = c.number(2, "an option")
        if number == DONE and head.version == 6:
            return 0
        body = Cursor(c.take(c.number(4, "an option's size"), f"option {number}"), head.path, big=head.big, base=c.base + c.pos)
        if number == DONE:
            return body.number(8, "the next options' offset") if body.left >= 8 else 0
        try:
            _read_option(head, number, body)
        except FormatError as broken:
            head.notes.append(f"option {number} is damaged and was left out: {broken.wanted}")
    return 0


def _read_option(head: Head, number: int, body: Cursor) -> None:
    text = body.data.split(b"\0")[0].decode("utf-8", "replace")
    if number in (DATE, OFFSET):
        try:
            head.offset_ns += int(text.strip() or "0", 0) * (1000 if number == DATE else 1)
        except ValueError:
            head.notes.append(f"time offset {text[:40]!r} is no number and was left out")
    elif number == CPUSTAT:
        head.cpustats.append(text)
    elif number in (BUFFER, BUFFER_TEXT):
        _read_buffer_option(head, number, body)
    elif number == TRACECLOCK:
        head.clock = _current_clock(text) or head.clock
    elif number == UNAME:
        head.uname = text
    elif number == VERSION:
        head.writer = text
    elif number == CPUCOUNT:
        head.cpu_count = min(body.number(4, "the CPU count"), MOST_CPUS)
    elif number == TRACEID:
        head.trace_id = body.number(8, "the trace id")
    elif number == TIME_SHIFT:
        _read_time_shift(head, body)
    elif number == GUEST:
        _read_guest(head, body)
    elif number == TSC2NSEC:
        head.tsc2nsec = (body.number(4, "the TSC multiplier"), body.number(4, "the TSC shift") & 63)
    elif number not in (HOOK, PROCMAPS, *_SECTIONS, *_KNOWN_UNUSED):
        head.notes.append(f"unknown option {number} skipped")


def _current_clock(text: str) -> str | None:
    begin, end = text.find("["), text.find("]")
    return text[begin + 1 : end] if 0 <= begin < end else None


def _read_time_shift(head: Head, body: Cursor) -> None:
    peer, flags, cpus = body.number(8, "the peer's id"), body.number(4, "flags"), body.number(4, "the CPU count")

    def column(n: int, what: str) -> list[int]:
        return list(struct.unpack(f"{'>' if head.big else '<'}{n}q", body.take(8 * n, what)))

    shifts = []
    for _ in range(min(cpus, MOST_CPUS)):
        n = body.number(4, "the number of samples")
        shifts.append((column(n, "sample times"), column(n, "offsets"), column(n, "scalings")))
    fractions = [column(len(s[0]), "fraction bits") if body.left else [0] * len(s[0]) for s in shifts]
    head.time_shift = [
        TimeShift(sorted({t: (t, o, s, f & 63) for t, o, s, f in zip(*columns, fraction, strict=True)}.values()))
        for columns, fraction in zip(shifts, fractions, strict=True)
    ]
    head.shift_interpolates = bool(flags & 1)  # TRACECMD_TSYNC_FLAG_INTERPOLATE
    head.notes.append(f"guest trace: times are shifted to those of the host (its trace id {peer:#x})")


def _read_guest(head: Head, body: Cursor) -> None:
    name, peer, cpus = body.text("the guest's name"), body.number(8, "its trace id"), body.number(4, "its CPU count")
    pids = {body.number(4, "a vCPU"): body.number(4, "its host pid") for _ in range(min(cpus, MOST_CPUS))}
    head.guests.append((name, peer, pids))


def _read_buffer_option(head: Head, number: int, body: Cursor) -> None:
    offset, name = body.number(8, "the buffer's offset"), body.text("the buffer's name")
    if head.version == 6:
        head.buffers.append(BufferData(name, None, head.page_size, [CpuData(-1, offset, 0)]))
        return
    clock = body.text("the buffer's clock")
    if number == BUFFER_TEXT:
        head.latency_text = True
        return
    page_size = body.number(4, "the buffer's page size")
    cpus = []
    for _ in range(min(body.number(4, "the buffer's CPU count"), MOST_CPUS)):
        cpus.append(CpuData(body.number(4, "a CPU"), body.number(8, "its offset"), body.number(8, "its size")))
    head.buffers.append(BufferData(name, clock or None, page_size or head.page_size, cpus))


class HeadReader:
    """Reads a trace.dat's head from an open file."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.file, self.path = file, path
        self.length = os.fstat(file.fileno()).st_size

    def cursor(self, offset: int, size: int, *, big: bool) -> Cursor:
        """A cursor over ``size`` bytes of the file from ``offset``, fewer if it ends before."""
        if offset < 0 or offset > self.length:
            raise FormatError(self.path, f"offset {offset:#x}", f"beyond the end of the file ({self.length} bytes)",
                              "the file is truncated")  # fmt: skip
        self.file.seek(offset)
        return Cursor(self.file.read(min(size, MOST_HEAD)), self.path, big=big, base=offset)

    def read(self) -> Head:
        """The head. Raises ``FormatError`` where no record could be read without what is missing."""
        c = self.cursor(0, 4096, big=False)
        if c.take(len(MAGIC), "the magic") != MAGIC:
            raise FormatError(self.path, "offset 0x0", "not a trace.dat file")
        version = c.text("the version", 16)
        if version not in ("6", "7"):
            raise c.fail(f"trace.dat version {version!r}; 6 and 7 can be read", "convert it with trace-cmd convert")
        big = c.number(1, "the byte order") == 1
        c.big = big
        long_size, page_size = c.number(1, "the word size"), c.number(4, "the page size")
        if not 512 <= page_size <= MOST_PAGE:
            raise c.fail(f"page size {page_size} is impossible")
        head = Head(self.path, int(version), big, 4 if long_size == 4 else 8, page_size)
        if version == "6":
            self._read_v6(head, c.pos)
        else:
            head.codec = c.text("the codec")
            c.text("the codec's version")
            if head.codec not in ("none", "zstd", "zlib"):
                raise c.fail(f"codec {head.codec!r}; none, zstd and zlib can be read")
            self._read_v7(head, c.number(8, "the options' offset"), c.pos)
        return head

    def _read_v6(self, head: Head, offset: int) -> None:
        c = self.cursor(offset, self.length - offset, big=head.big)
        _read_header_info(head, c)
        _read_ftrace_formats(head, c)
        _read_event_formats(head, c)
        head.kallsyms = c.take(c.number(4, "the size of kallsyms"), "kallsyms")
        head.printk = c.take(c.number(4, "the size of the printk formats"), "the printk formats")
        head.cmdlines = c.take(c.number(8, "the size of the saved comms"), "the saved comms")
        head.cpu_count = min(c.number(4, "the CPU count"), MOST_CPUS)
        top = self._read_v6_data(head, c, with_clock=True)
        instances, head.buffers = head.buffers, []
        if top is not None:
            head.buffers.append(top)
        for instance in instances:
            try:
                c = self.cursor(instance.cpus[0].offset, 1 << 22, big=head.big)
                found = self._read_v6_data(head, c, with_clock=False)
            except FormatError as broken:
                head.notes.append(f"buffer {instance.name!r} can't be read: {broken.wanted}")
                continue
            if found is not None:
                found.name = instance.name
                head.buffers.append(found)

    def _read_v6_data(self, head: Head, c: Cursor, *, with_clock: bool) -> BufferData | None:
        kind = c.take(10, "the kind of data")
        if kind.startswith(b"options"):
            _read_options(head, c)
            kind = c.take(10, "the kind of data")
        if kind.startswith(b"latency"):
            head.latency_text = True
            return None
        if not kind.startswith(b"flyrecord"):
            raise c.fail(f"wanted 'flyrecord' or 'latency', found {kind!r}")
        cpus = []
        for cpu in range(head.cpu_count):
            if c.left < 16:
                head.notes.append(f"the table of CPU data is cut after {cpu} of {head.cpu_count} CPUs")
                break
            cpus.append(CpuData(cpu, c.number(8, "a CPU's offset"), c.number(8, "its size")))
        if with_clock and head.clock is not None and c.left >= 8:
            size = c.number(8, "the clock's size")
            # Some files hold a corrupt one here (trace-cmd: "File has trace_clock bug"); the option's then stands.
            if size <= min(c.left, 4096):
                head.clock = _current_clock(c.take(size, "the clock").decode("utf-8", "replace")) or head.clock
        return BufferData("", head.clock, head.page_size, cpus)

    def _section(self, head: Head, offset: int) -> tuple[int, bool, Cursor]:
        c = self.cursor(offset, 16, big=head.big)
        number, flags = c.number(2, "a section's id"), c.number(2, "its flags")
        c.number(4, "its description")
        size = c.number(8, "its size")
        compressed = bool(flags & 1)
        if number in (BUFFER, BUFFER_TEXT):
            return number, compressed, Cursor(b"", self.path, big=head.big, base=offset + 16)
        body = self.cursor(offset + 16, size, big=head.big)
        if compressed:
            packed, plain = body.number(4, "the packed size"), body.number(4, "the plain size")
            raw = unpack(head.codec, body.take(packed, "a packed section"), plain)
            if raw is None:
                raise body.fail("a packed section can't be unpacked", "the file is damaged")
            body = Cursor(raw, self.path, big=head.big, base=offset + 16)
        return number, compressed, body

    def _read_section(self, head: Head, number: int, c: Cursor) -> None:
        if number == HEADER_INFO:
            _read_header_info(head, c)
        elif number == FTRACE_EVENTS:
            _read_ftrace_formats(head, c)
        elif number == EVENT_FORMATS:
            _read_event_formats(head, c)
        elif number == KALLSYMS:
            head.kallsyms = c.take(c.number(4, "the size of kallsyms"), "kallsyms")
        elif number == PRINTK:
            head.printk = c.take(c.number(4, "the size of the printk formats"), "the printk formats")
        elif number == CMDLINES:
            head.cmdlines = c.take(c.number(8, "the size of the saved comms"), "the saved comms")

    def _read_v7(self, head: Head, options: int, body_start: int) -> None:
        places: dict[int, int] = {}
        seen: set[int] = set()
        try:
            while options and options not in seen and len(seen) < 4096:
                seen.add(options)
                number, _, c = self._section(head, options)
                if number != DONE:
                    raise c.fail(f"wanted an options section, found section {number}")
                places |= _section_places(c, head.big)
                c.pos = 0
                options = _read_options(head, c)
        except FormatError as broken:
            head.notes.append(f"options can't be read whole ({broken}); looking for the sections themselves")
        if not head.buffers or HEADER_INFO not in places:
            self._find_sections(head, body_start, places)
        for number in _SECTIONS:
            if number not in places:
                continue
            try:
                self._read_section(head, number, self._section(head, places[number])[2])
            except FormatError as broken:
                if number == HEADER_INFO:
                    raise
                head.notes.append(f"section {number} is damaged and was read as far as it goes: {broken.wanted}")
        if not head.formats:
            raise FormatError(self.path, "", "no event format in the file", "it was cut before its formats were written")
        for buffer in head.buffers:
            buffer.compressed = head.codec != "none"

    def _find_sections(self, head: Head, offset: int, places: dict[int, int]) -> None:
        """A recorder that was killed leaves no options at the end: walk the sections from the front."""
        from lockscope.formats._dat_salvage import salvage_buffer

        found = not head.buffers
        while offset + 16 <= self.length:
            c = self.cursor(offset, 16, big=head.big)
            number, flags = c.number(2, "a section's id"), c.number(2, "its flags")
            c.number(4, "its description")
            size = c.number(8, "its size")
            if number in _SECTIONS:
                places.setdefault(number, offset)
            elif number == BUFFER and found:
                head.buffers.append(salvage_buffer(self.file, self.length, head, offset + 16, bool(flags & 1)))
                head.notes.append("the table of CPU data is missing: CPUs are numbered in the order of their data")
            elif number != DONE and number not in (*_KNOWN_UNUSED, BUFFER, BUFFER_TEXT):
                break
            if size <= 0 or size > self.length:
                break
            offset += 16 + size


def _section_places(c: Cursor, big: bool) -> dict[int, int]:
    """Where the options say that the file's sections are."""
    order = "big" if big else "little"
    places, data, pos = {}, c.data, 0
    while pos + 6 <= len(data):
        number = int.from_bytes(data[pos : pos + 2], order)  # type: ignore[arg-type]
        size = int.from_bytes(data[pos + 2 : pos + 6], order)  # type: ignore[arg-type]
        if number == DONE:
            break
        if number in _SECTIONS and size >= 8:
            places[number] = int.from_bytes(data[pos + 6 : pos + 14], order)  # type: ignore[arg-type]
        pos += 6 + size
    return places


def unpack(codec: str, packed: bytes, plain: int) -> bytes | None:
    """A compressed block of known plain size; None where it is damaged or claims an impossible size."""
    if plain > MOST_HEAD:
        return None
    try:
        if codec == "zlib":
            raw = zlib.decompressobj().decompress(packed, plain)
        else:
            import pyarrow as pa

            raw = pa.Codec("zstd").decompress(packed, decompressed_size=plain, asbytes=True)
    except (zlib.error, OSError, ValueError):
        return None
    return raw if len(raw) == plain else None
