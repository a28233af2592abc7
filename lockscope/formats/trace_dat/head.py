"""What stands before and around the trace data of a trace.dat: formats, options, where each CPU's data lies."""

from __future__ import annotations

import os
from typing import BinaryIO

from lockscope.errors import FormatError
from lockscope.formats.event_format import parse_format
from lockscope.formats.files.bytes import Cursor, FileCursor
from lockscope.formats.trace_dat import salvage
from lockscope.formats.trace_dat.layout import (
    BUFFER,
    BUFFER_TEXT,
    CMDLINES,
    COMPRESSED,
    DONE,
    EVENT_FORMATS,
    FTRACE_EVENTS,
    HEADER_INFO,
    KALLSYMS,
    KNOWN_UNUSED,
    MAGIC,
    MOST_CPUS,
    MOST_FORMAT,
    MOST_FORMATS,
    MOST_HEAD,
    MOST_PAGE,
    MOST_SECTIONS,
    MOST_UNPACKED,
    PRINTK,
    SECTIONS,
    BufferData,
    CpuData,
    Head,
    unpack,
)
from lockscope.formats.trace_dat.options import current_clock, note, read_options


def _format(head: Head, system: str, c: Cursor, what: str) -> None:
    if len(head.formats) + head.broken_formats >= MOST_FORMATS:
        raise c.fail(f"more than {MOST_FORMATS} event formats", "the file is damaged")
    raw = c.take(c.number(8, f"the size of {what}"), what)
    parsed = parse_format(raw[:MOST_FORMAT].decode("utf-8", "replace"), head.long_size)
    if parsed is None:
        head.broken_formats += 1
    else:
        head.formats.append((system, parsed))


def _read_header_info(head: Head, c: Cursor) -> None:
    for wanted in ("header_page", "header_event"):
        name = c.text("a header's name")
        if name != wanted:
            raise c.fail(f"wanted {wanted!r}, found {name[:20]!r}", "the file is damaged")
        raw = c.take(c.number(8, f"the size of {wanted}"), wanted)
        if wanted == "header_page":
            _read_header_page(head, raw.decode("utf-8", "replace"))


def _read_header_page(head: Head, text: str) -> None:
    # The kernel's word size is the size of the page's commit field; the byte in the file's head is user space's.
    for line in text.splitlines()[:64]:
        parts = [p.strip() for p in line.split(";")]
        if len(parts) < 3 or not parts[1].startswith("offset:") or not parts[2].startswith("size:") or not parts[0]:
            continue
        name, size = parts[0].split()[-1], parts[2][5:]
        if name == "commit" and size in ("4", "8"):
            head.long_size = int(size)
    head.data_offset = 8 + head.long_size


def _read_formats(head: Head, c: Cursor, number: int) -> None:
    if number == FTRACE_EVENTS:
        for _ in range(c.number(4, "the number of ftrace formats")):
            _format(head, "ftrace", c, "an ftrace format")
        return
    systems = c.number(4, "the number of event systems")
    if systems > MOST_FORMATS:
        raise c.fail(f"{systems} event systems are impossible", "the file is damaged")
    for _ in range(systems):
        system = c.text("an event system's name", 256)
        for _ in range(c.number(4, f"the number of events in {system[:40]!r}")):
            _format(head, system, c, "an event format")


def read_section(head: Head, number: int, c: Cursor) -> None:
    """One section of the head, from its beginning; also perf.data has them. Raises ``FormatError``."""
    if number == HEADER_INFO:
        _read_header_info(head, c)
    elif number in (FTRACE_EVENTS, EVENT_FORMATS):
        _read_formats(head, c, number)
    elif number == KALLSYMS:
        head.kallsyms = c.take(c.number(4, "the size of kallsyms"), "kallsyms")
    elif number == PRINTK:
        head.printk = c.take(c.number(4, "the size of the printk formats"), "the printk formats")
    elif number == CMDLINES:
        head.cmdlines = c.take(c.number(8, "the size of the saved comms"), "the saved comms")


class HeadReader:
    """Reads a trace.dat's head from an open file."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.file, self.path = file, path
        self.length = os.fstat(file.fileno()).st_size

    def cursor(self, offset: int, *, big: bool) -> FileCursor:
        """A cursor over the file from ``offset``. Raises ``FormatError`` where that is beyond its end."""
        if offset > self.length:
            raise FormatError(self.path, f"offset {offset:#x}", f"beyond the end of the file ({self.length} bytes)",
                              "the file is truncated")  # fmt: skip
        return FileCursor(self.file.fileno(), self.path, self.length, big=big, base=offset)

    def read(self) -> Head:
        """The head. Raises ``FormatError`` where no record could be read without what is missing."""
        c = self.cursor(0, big=False)
        if c.take(len(MAGIC), "the magic") != MAGIC:
            raise FormatError(self.path, "offset 0x0", "not a trace.dat file")
        version = c.text("the version", 16)
        if version not in ("6", "7"):
            raise c.fail(f"version {version!r}; 6 and 7 can be read", "convert it with trace-cmd convert")
        c.big = c.number(1, "the byte order") == 1
        long_size, page_size = c.number(1, "the word size"), c.number(4, "the page size")
        if not 512 <= page_size <= MOST_PAGE:
            raise c.fail(f"page size {page_size} is impossible", "the file is damaged")
        head = Head(self.path, int(version), c.big, 4 if long_size == 4 else 8, page_size)
        if version == "6":
            self._read_v6(head, c)
        else:
            head.codec = c.text("the codec", 64)
            c.text("the codec's version", 64)
            if head.codec not in ("none", "zstd", "zlib"):
                hint = "convert it with trace-cmd convert --compression zstd"
                raise c.fail(f"codec {head.codec[:20]!r}; none, zstd and zlib can be read", hint)
            self._read_v7(head, c.number(8, "the options' offset"), c.pos)
        if not head.formats:
            hint = "it was cut before its formats were written"
            raise FormatError(self.path, "", "no event format in the file", hint)
        return head

    def _read_v6(self, head: Head, c: FileCursor) -> None:
        for number in SECTIONS:
            begin = c.offset
            read_section(head, number, c)
            head.sections[number] = os.pread(c.fd, min(c.offset - begin, MOST_HEAD), begin)
        head.cpu_count = c.number(4, "the CPU count")
        if head.cpu_count > MOST_CPUS:
            raise c.fail(f"{head.cpu_count} CPUs are impossible", "the file is damaged")
        top = self._read_v6_data(head, c, with_clock=True)
        instances, head.buffers = head.buffers, [] if top is None else [top]
        for instance in instances:
            missing = BufferData(instance.name, None, head.page_size, [], salvaged=True)
            if instance.offset == 0:  # filled in at the end: the recorder was killed before
                note(head, f"buffer {instance.name!r} has no place in the file: its recorder did not end")
                head.buffers.append(missing)
                continue
            try:
                found = self._read_v6_data(head, self.cursor(instance.offset, big=head.big), with_clock=False)
            except FormatError as broken:
                note(head, f"buffer {instance.name!r} can't be read: {broken.wanted}")
                head.buffers.append(missing)
                continue
            if found is not None:
                found.name = instance.name
                head.buffers.append(found)

    def _read_v6_data(self, head: Head, c: FileCursor, *, with_clock: bool) -> BufferData | None:
        kind = c.take(10, "the kind of data")
        if kind.startswith(b"options"):
            read_options(head, c, {})
            kind = c.take(10, "the kind of data")
        if kind.startswith(b"latency"):
            head.latency_text = True
            return None
        if not kind.startswith(b"flyrecord"):
            raise c.fail(f"wanted 'flyrecord' or 'latency', found {kind!r}", "the file is damaged")
        cpus = []
        for cpu in range(head.cpu_count):
            if c.left < 16:
                note(head, f"the table of CPU data is cut after {cpu} of {head.cpu_count} CPUs")
                break
            cpus.append(CpuData(cpu, c.number(8, "a CPU's offset"), c.number(8, "its size")))
        if with_clock and head.clock is not None and c.left >= 8:
            size = c.number(8, "the clock's size")
            # Some files hold a corrupt one here (trace-cmd: "File has trace_clock bug"); the option's then stands.
            if size <= min(c.left, 4096):
                head.clock = current_clock(c.take(size, "the clock").decode("utf-8", "replace")) or head.clock
        return BufferData("", head.clock, head.page_size, cpus)

    def _section(self, head: Head, offset: int) -> tuple[int, int, int]:
        """A section's number, flags and size."""
        c = self.cursor(offset, big=head.big)
        number, flags = c.number(2, "a section's id"), c.number(2, "its flags")
        c.number(4, "its description")
        return number, flags, c.number(8, "its size")

    def _body(self, head: Head, offset: int) -> Cursor:
        """What is in a section, unpacked; as much of it as the file has."""
        number, flags, size = self._section(head, offset)
        c = self.cursor(offset + 16, big=head.big)
        if not flags & COMPRESSED:
            return Cursor(c.take(min(size, c.left, MOST_HEAD), "a section"), self.path, big=head.big, base=offset + 16)
        packed, plain = c.number(4, "the packed size"), c.number(4, "the plain size")
        most = {KALLSYMS: MOST_HEAD, DONE: head.options_left}.get(number, MOST_UNPACKED)
        raw = unpack(head.codec, c.take(packed, "a packed section"), plain, most)
        if raw is None:
            why = f"would have {plain} bytes" if plain > most else "can't be unpacked"
            raise c.fail(f"a packed section {why}", "the file is damaged")
        if number == DONE:
            head.options_left -= plain
        return Cursor(raw, self.path, big=head.big, base=offset + 16)

    def _read_v7(self, head: Head, options: int, body_start: int) -> None:
        places: dict[int, int] = {}
        ends = self._read_v7_options(head, options, places)
        if HEADER_INFO not in places or not (head.buffers or head.latency_text):
            self._find_sections(head, body_start, places, ends)
        for number in SECTIONS:
            if number not in places:
                continue
            try:
                body = self._body(head, places[number])
                head.sections[number] = body.data
                read_section(head, number, body)
            except FormatError as broken:
                if number == HEADER_INFO:
                    raise
                note(head, f"section {number} is damaged and was read as far as it goes: {broken.wanted}")
        for buffer in head.buffers:
            buffer.compressed = self._is_compressed(head, buffer)

    def _read_v7_options(self, head: Head, options: int, places: dict[int, int]) -> list[int]:
        """Follow the chain of options sections; return where they lie."""
        seen: list[int] = []
        try:
            while options and options not in seen and len(seen) < MOST_SECTIONS:
                seen.append(options)
                number, *_ = self._section(head, options)
                if number != DONE:
                    where = f"offset {options:#x}"
                    raise FormatError(self.path, where, f"wanted an options section, found section {number}")
                options = read_options(head, self._body(head, options), places)
        except FormatError as broken:
            note(head, f"{broken.where}: {broken.wanted}; looking for the sections without the options")
        return seen

    def _is_compressed(self, head: Head, buffer: BufferData) -> bool:
        try:
            number, flags, _ = self._section(head, buffer.offset)
        except FormatError:
            return head.codec != "none"
        return bool(flags & COMPRESSED) if number == BUFFER else head.codec != "none"

    def _find_sections(self, head: Head, offset: int, places: dict[int, int], ends: list[int]) -> None:
        """A recorder that was killed leaves no options at the end: walk the sections from the front."""
        found = not head.buffers
        for _ in range(MOST_SECTIONS):
            if offset + 16 > self.length:
                break
            number, flags, size = self._section(head, offset)
            if number in SECTIONS:
                places.setdefault(number, offset)
            elif number == BUFFER and found:
                end = min((e for e in ends if e > offset), default=self.length)
                packed = bool(flags & COMPRESSED)
                head.buffers.append(salvage.buffer(self.file, min(end, self.length), head, offset, packed))
                note(head, "the table of CPU data is missing: CPUs are numbered in the order of their data")
            elif number not in (*KNOWN_UNUSED, DONE, BUFFER, BUFFER_TEXT):
                break
            if size <= 0 or size > self.length:
                break
            offset += 16 + size
