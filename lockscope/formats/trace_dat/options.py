"""The options of a trace.dat: facts about the recording, and in version 7 where everything else lies."""

from __future__ import annotations

import struct

from lockscope.errors import FormatError
from lockscope.formats.files.bytes import Cursor
from lockscope.formats.trace_dat.layout import (
    BUFFER,
    BUFFER_TEXT,
    CPUCOUNT,
    CPUSTAT,
    DATE,
    DONE,
    GUEST,
    KNOWN_UNUSED,
    MOST_CPUS,
    MOST_OPTIONS,
    MOST_PAGE,
    MOST_STREAMS,
    OFFSET,
    SECTIONS,
    TIME_SHIFT,
    TRACECLOCK,
    TRACEID,
    TSC2NSEC,
    UNAME,
    VERSION,
    BufferData,
    CpuData,
    Head,
    TimeShift,
)

_MOST_SAMPLES = 1 << 18
_MOST_NOTES = 64  # a damaged file could hold a million options that nobody knows


def note(head: Head, text: str) -> None:
    """A note for the person, up to a limit."""
    if len(head.notes) < _MOST_NOTES:
        head.notes.append(text)


def read_options(head: Head, c: Cursor, places: dict[int, int]) -> int:
    """Options up to DONE; return the offset of the next options section (v7), 0 for none.

    ``places`` gets where the sections are. What is damaged is left out with a note; raises ``FormatError`` where the
    options end before DONE.
    """
    while c.left >= 2:
        number = c.number(2, "an option")
        if number == DONE and head.version == 6:
            return 0
        size = c.number(4, "an option's size")
        if number == DONE:
            # trace-cmd 3.1's convert writes this size in the host's byte order, whatever the file's is: it is always 8.
            return c.number(8, "the next options' offset") if c.left >= 8 else 0
        if len(head.options) >= MOST_OPTIONS:
            raise c.fail(f"more than {MOST_OPTIONS} options", "the file is damaged")
        body = Cursor(c.take(size, f"option {number}"), head.path, big=head.big, base=c.offset - size)
        head.options.append((number, body.data))
        try:
            if number in SECTIONS and head.version != 6:
                places[number] = body.number(8, f"the offset of section {number}")
            else:
                _read_option(head, number, body)
        except FormatError as broken:
            note(head, f"option {number} is damaged and was left out: {broken.wanted}")
    raise c.fail("wanted the end of the options", "the file is truncated or damaged")


def _read_option(head: Head, number: int, body: Cursor) -> None:
    text = body.data.split(b"\0", 1)[0][: 1 << 16].decode("utf-8", "replace")
    if number in (DATE, OFFSET):
        _read_offset(head, text, 1000 if number == DATE else 1)
    elif number == CPUSTAT:
        head.cpustats.append(text)
    elif number in (BUFFER, BUFFER_TEXT):
        _read_buffer(head, number, body)
    elif number == TRACECLOCK:
        head.clock = current_clock(text) or head.clock
    elif number == UNAME:
        head.uname = text
    elif number == VERSION:
        head.writer = text
    elif number == CPUCOUNT:
        count = body.number(4, "the CPU count")
        if count > MOST_CPUS:
            raise body.fail(f"{count} CPUs are impossible")
        head.cpu_count = count
    elif number == TRACEID:
        head.trace_id = body.number(8, "the trace id")
    elif number == TIME_SHIFT:
        _read_time_shift(head, body)
    elif number == GUEST:
        _read_guest(head, body)
    elif number == TSC2NSEC:
        # Then 8 bytes of offset, which trace-cmd does not apply either.
        mult, shift = body.number(4, "the TSC multiplier"), body.number(4, "the TSC shift")
        head.tsc2nsec = (mult, shift & 63) if mult else None
    elif number not in (*KNOWN_UNUSED, *SECTIONS):
        note(head, f"unknown option {number} skipped")


def _read_offset(head: Head, text: str, scale: int) -> None:
    try:
        value = int(text.strip()[:40] or "0", 0) * scale
    except ValueError:
        value = 1 << 63
    if abs(value) >= 1 << 62:
        note(head, f"time offset {text[:40]!r} is no time and was left out")
    else:
        head.offset_ns += value


def current_clock(text: str) -> str | None:
    """The clock in brackets, as in ``local [global] mono``."""
    begin, end = text.find("["), text.find("]")
    return text[begin + 1 : end] if 0 <= begin < end else None


def _read_time_shift(head: Head, body: Cursor) -> None:
    peer, flags, cpus = body.number(8, "the peer's id"), body.number(4, "flags"), body.number(4, "the CPU count")

    def column(n: int, what: str) -> tuple[int, ...]:
        return struct.unpack(f"{'>' if head.big else '<'}{n}q", body.take(8 * n, what))

    shifts, samples = [], 0
    for _ in range(min(cpus, MOST_CPUS)):
        n = body.number(4, "the number of samples")
        samples += n
        if samples > _MOST_SAMPLES:
            raise body.fail(f"more than {_MOST_SAMPLES} time shifts")
        shifts.append((column(n, "sample times"), column(n, "offsets"), column(n, "scalings")))
    # The fraction bits came later than the document (tsync_cpu_offsets_load() in trace-input.c).
    fractions = [column(len(s[0]), "fraction bits") if body.left else (0,) * len(s[0]) for s in shifts]
    head.time_shift = [
        TimeShift(sorted({t: (t, o, s, f & 63) for t, o, s, f in zip(*columns, fraction, strict=True)}.values()))
        for columns, fraction in zip(shifts, fractions, strict=True)
    ]
    head.shift_peer = peer
    head.shift_interpolates = bool(flags & 1)  # TRACECMD_TSYNC_FLAG_INTERPOLATE
    note(head, f"guest trace: times are shifted to those of the host (its trace id {peer:#x})")


def _read_guest(head: Head, body: Cursor) -> None:
    name, peer, cpus = body.text("the guest's name"), body.number(8, "its trace id"), body.number(4, "its CPU count")
    if cpus + sum(len(p) for *_, p in head.guests) > MOST_CPUS:
        raise body.fail(f"{cpus} vCPUs are impossible")
    pids = {body.number(4, "a vCPU"): body.number(4, "its host pid") for _ in range(cpus)}
    head.guests.append((name, peer, pids))


def _read_buffer(head: Head, number: int, body: Cursor) -> None:
    offset, name = body.number(8, "the buffer's offset"), body.text("the buffer's name")
    if head.version == 6:
        head.buffers.append(BufferData(name, None, head.page_size, [], offset=offset))
        return
    clock = body.text("the buffer's clock")
    if number == BUFFER_TEXT:
        head.latency_text = True
        return
    page_size = body.number(4, "the buffer's page size") or head.page_size
    if not 512 <= page_size <= MOST_PAGE:
        raise body.fail(f"page size {page_size} of buffer {name!r} is impossible")
    room = MOST_STREAMS - sum(len(b.cpus) for b in head.buffers)
    count = min(body.number(4, "the buffer's CPU count"), room)
    row = [("a CPU", 4), ("its offset", 8), ("its size", 8)]
    cpus = [CpuData(*(body.number(width, what) for what, width in row)) for _ in range(count)]
    if any(c.cpu >= MOST_CPUS for c in cpus):
        impossible = [c.cpu for c in cpus if c.cpu >= MOST_CPUS]
        note(head, f"buffer {name!r} has data of CPU {impossible[0]}, which is impossible: {len(impossible)} left out")
        cpus = [c for c in cpus if c.cpu < MOST_CPUS]
    if len({c.cpu for c in cpus}) < len(cpus):
        note(head, f"buffer {name!r} names a CPU twice")
    head.buffers.append(BufferData(name, clock or None, page_size, cpus, offset=offset))
