"""What a trace.dat is made of: section and option numbers, limits, and the records that the head is read into.

Layout: trace-cmd.dat.v6(5) and trace-cmd.dat.v7(5); where they are silent or stale, lib/trace-cmd/trace-input.c of
trace-cmd 3.4 (handle_options, handle_buffer_option, init_buffer_cpu_data, init_data_v6).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from lockscope.formats.event_format import ParsedFormat

MAGIC = b"\x17\x08Dtracing"
MOST_HEAD = 64 << 20  # of a section; a kernel's kallsyms is 15 MB at most
MOST_UNPACKED = 16 << 20  # of a packed section other than kallsyms, and of all packed options: a few MB in real files
MOST_PAGE = 16 << 20  # a sub-buffer is at most 128 pages (kernel/trace/trace.c, buffer_subbuf_size_write(), v6.12)
MOST_CPUS = 1 << 16
MOST_STREAMS = 1 << 16
MOST_FORMATS = 1 << 16  # common_type has 16 bits
MOST_FORMAT = 1 << 18  # bytes of an event's format text
MOST_SECTIONS = 4096
MOST_OPTIONS = 1 << 16
COMPRESSED = 1  # flag of a section

(DONE, DATE, CPUSTAT, BUFFER, TRACECLOCK, UNAME, HOOK, OFFSET, CPUCOUNT, VERSION, PROCMAPS, TRACEID, TIME_SHIFT,
 GUEST, TSC2NSEC, STRINGS, HEADER_INFO, FTRACE_EVENTS, EVENT_FORMATS, KALLSYMS, PRINTK, CMDLINES,
 BUFFER_TEXT) = range(23)  # fmt: skip
SECTIONS = (HEADER_INFO, FTRACE_EVENTS, EVENT_FORMATS, KALLSYMS, PRINTK, CMDLINES)
KNOWN_UNUSED = (HOOK, PROCMAPS, STRINGS, 23, 24, 25)  # BTF_FILE, LAST_BOOT_INFO, MODULES_FILE: nothing here needs them


@dataclass(slots=True)
class CpuData:
    """Where one CPU's records lie in the file. ``size`` as the file says; it may end earlier."""

    cpu: int
    offset: int
    size: int


@dataclass(slots=True)
class BufferData:
    """A tracing instance: "" is the top one.

    ``compressed``: chunks instead of pages. ``offset``: of its section. ``salvaged``: sizes are what was found.
    """

    name: str
    clock: str | None
    page_size: int
    cpus: list[CpuData]
    compressed: bool = False
    offset: int = 0
    salvaged: bool = False


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
    options_left: int = MOST_UNPACKED  # bytes that packed options may still have
    data_offset: int = 16
    sections: dict[int, bytes] = field(default_factory=dict)  # the bodies as they stand, unpacked, by number
    options: list[tuple[int, bytes]] = field(default_factory=list)  # as they stand
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
    shift_peer: int | None = None  # the trace id of the host whose times these are
    guests: list[tuple[str, int, dict[int, int]]] = field(default_factory=list)
    cpustats: list[str] = field(default_factory=list)
    buffers: list[BufferData] = field(default_factory=list)
    latency_text: bool = False
    notes: list[str] = field(default_factory=list)


def unpack(codec: str, packed: bytes, plain: int, most: int = MOST_HEAD) -> bytes | None:
    """A compressed block of known plain size; None where it is damaged or claims more than ``most``."""
    if not 0 < plain <= most:
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
