"""What a perf.data is made of: numbers, limits, and the records that its head is read into.

Layout: tools/perf/Documentation/perf.data-file-format.txt and, where that is silent or stale, tools/perf/util/header.c
and session.c; events and samples: include/uapi/linux/perf_event.h. All of v6.12.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lockscope.core import perf_records as walk
from lockscope.core.numbering import number_in
from lockscope.formats.trace_dat.layout import Head as TracingHead
from lockscope.units import byte_order

MAGIC, SWAPPED = b"PERFILE2", b"2ELIFREP"
HEADER_SIZE, PIPE_HEADER_SIZE = 104, 16
MOST_ATTRS = 1 << 16
MOST_IDS = 1 << 22
MOST_FEATURE = 256 << 20  # bytes; build ids and event descriptions of the largest hosts are a few MB
MOST_STARTING = 64 << 20  # bytes of records in front of the first sample that are looked at

# Feature sections (tools/perf/util/header.h, enum perf_header_feature).
(TRACING_DATA, BUILD_ID, HOSTNAME, OSRELEASE, VERSION, ARCH, NRCPUS) = range(1, 8)
EVENT_DESC, CLOCKID, DIR_FORMAT, CLOCK_DATA = 12, 23, 24, 29

# Records of perf's own (tools/perf/util/event.h, enum perf_user_event_type) and some of the kernel's.
MMAP, COMM, MMAP2 = 1, 3, 10
HEADER_ATTR, HEADER_TRACING_DATA, HEADER_BUILD_ID, EVENT_UPDATE, HEADER_FEATURE = 64, 66, 67, 78, 80

TRACEPOINT = 2  # PERF_TYPE_TRACEPOINT
_ATTR = ((0, 4), (8, 8), (24, 8), (32, 8), (40, 8), (92, 4))  # offset and size of the first fields of Attr
_SAMPLE_ID_ALL, _USE_CLOCKID = 18, 25  # bits of flags
_CLOCKS = {0: "real", 1: "mono", 4: "mono_raw", 7: "boot", 11: "tai"}  # include/uapi/linux/time.h
_TYPES = ("hardware", "software", "tracepoint", "hw_cache", "raw", "breakpoint")
_HARDWARE = ("cycles", "instructions", "cache_references", "cache_misses", "branches", "branch_misses", "bus_cycles",
             "stalled_cycles_frontend", "stalled_cycles_backend", "ref_cycles")  # fmt: skip
_SOFTWARE = ("cpu_clock", "task_clock", "page_faults", "context_switches", "cpu_migrations", "minor_faults",
             "major_faults", "alignment_faults", "emulation_faults", "dummy", "bpf_output")  # fmt: skip

_FIRST = (walk.IDENTIFIER, walk.IP, walk.TID, walk.TIME, walk.ADDR, walk.ID, walk.STREAM_ID, walk.CPU, walk.PERIOD)


@dataclass(slots=True)
class Attr:
    """One event that was opened: ``struct perf_event_attr``, its ids (one a CPU), and its name where it is told."""

    type: int
    config: int
    sample_type: int
    read_format: int
    flags: int
    clockid: int
    ids: list[int] = field(default_factory=list)
    name: str = ""

    @staticmethod
    def parse(raw: bytes, *, big: bool) -> Attr:
        """From the bytes of a ``perf_event_attr`` of any version; what a short one lacks is 0."""
        order = byte_order(big)
        # _ATTR has as many places as there are numbers in front of ``ids``, which mypy can't count.
        return Attr(*(int.from_bytes(raw[at : at + size], order) for at, size in _ATTR))  # type: ignore[arg-type]

    def flag(self, bit: int, *, big: bool) -> bool:
        """A bit field of the attr: big-endian compilers begin with the highest bit."""
        return bool(self.flags >> (63 - bit if big else bit) & 1)

    def clock(self, *, big: bool) -> str:
        """The clock of its samples: "perf" unless one was asked for (perf record -k)."""
        if not self.flag(_USE_CLOCKID, big=big):
            return "perf"
        return _CLOCKS.get(self.clockid, f"clockid {self.clockid}")

    def label(self) -> str:
        """A name for its samples that can be a table's."""
        if self.name:
            return "".join(c if c.isalnum() or c == "_" else "_" for c in self.name)[:64].strip("_") or "event"
        known = {0: _HARDWARE, 1: _SOFTWARE}.get(self.type, ())
        if self.config < len(known):
            return known[self.config]
        kind = _TYPES[self.type] if self.type < len(_TYPES) else f"pmu{self.type}"
        return f"{kind}_{self.config:#x}"

    def row(self, *, big: bool) -> list[int]:
        """How its records are laid out, for ``core.perf_records.walk``."""
        shape = self.sample_type
        words = [
            walk.IDENTIFIER,
            walk.IP,
            walk.TID,
            walk.TIME,
            walk.ADDR,
            walk.ID,
            walk.STREAM_ID,
            walk.CPU,
            walk.PERIOD,
        ]
        fixed = 8 * sum(bool(shape & word) for word in words)
        time_back = cpu_back = 0
        if self.flag(_SAMPLE_ID_ALL, big=big):
            # Behind other records: tid, time, id, stream id, cpu, identifier; what comes last is where it always is.
            behind = [walk.IDENTIFIER, walk.CPU, walk.STREAM_ID, walk.ID, walk.TIME]
            back = 0
            for word in behind:
                back += 8 * bool(shape & word)
                if word == walk.CPU and shape & word:
                    cpu_back = back
                if word == walk.TIME and shape & word:
                    time_back = back
        slot = self.place(walk.TIME)
        kind = -1 if self.type == TRACEPOINT else 1
        return [shape - (1 << 64) if shape >> 63 else shape, self.read_format & 31, kind, time_back, cpu_back, fixed,
                slot or 0]  # fmt: skip

    def place(self, word: int) -> int | None:
        """Where a sample has one of its first fields, from the record's beginning; None where it has it not."""
        at = 8
        for other in _FIRST:
            if other == word:
                return at if self.sample_type & word else None
            at += 8 * bool(self.sample_type & other)
        return None

    def id_places(self, *, big: bool) -> tuple[int | None, int | None]:
        """Where its samples have the event's id, and how far from their end other records have it."""
        shape = self.sample_type
        if shape & walk.IDENTIFIER:
            at, back = 8, 8
        else:
            found = self.place(walk.ID)
            if found is None:
                return None, None
            at, back = found, 8 * sum(bool(shape & w) for w in (walk.CPU, walk.STREAM_ID, walk.ID))
        return at, back if self.flag(_SAMPLE_ID_ALL, big=big) else None


@dataclass(slots=True)
class Kernel:
    """What the recording says of a kernel's place: its reference symbol's address, and its build id."""

    symbol: str = ""
    address: int = 0
    build_id: str = ""


@dataclass(slots=True)
class Head:
    """Everything a perf.data says outside its samples."""

    path: str
    big: bool
    pipe: bool
    data_at: int = PIPE_HEADER_SIZE
    data_size: int = 0
    cut: bool = False  # the file ends before its data
    attrs: list[Attr] = field(default_factory=list)
    tracing: TracingHead | None = None
    release: str | None = None
    machine: str | None = None
    host: str | None = None
    writer: str | None = None
    cpus: int = 0
    clock_ns: tuple[int, int] | None = None  # wall clock and the event clock at one instant (CLOCK_DATA)
    kernel: Kernel = field(default_factory=Kernel)
    modules: dict[str, int] = field(default_factory=dict)  # name: where it is loaded
    comms: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """A note for the person, once."""
        if text not in self.notes:
            self.notes.append(text)


@dataclass(frozen=True, slots=True)
class IdTable:
    """The hash table of event ids for the walk, and where records have them."""

    table: NDArray[np.int64]  # the number of an id
    owners: NDArray[np.int64]  # its event, by number
    at: int
    back: int

    @staticmethod
    def of(attrs: list[Attr], *, big: bool) -> tuple[IdTable, bool]:
        """The table, and whether every record's event can be told."""
        none = IdTable(np.zeros(2 + 2 * 16, np.int64), np.empty(0, np.int64), 0, 0)
        if len(attrs) < 2:
            return none, True
        places = {a.id_places(big=big) for a in attrs}
        at, back = next(iter(places))
        pairs = [(i, owner) for owner, a in enumerate(attrs) for i in a.ids]
        if len({p[0] for p in places}) > 1 or at is None or not pairs:
            return none, len({(a.sample_type, a.read_format, a.type == TRACEPOINT) for a in attrs}) == 1
        room = 1 << (2 * len(pairs) + 2).bit_length()
        table = IdTable(np.zeros(2 + 2 * room, np.int64), np.zeros(len(pairs), np.int64), at, back or 0)
        for ident, owner in pairs:
            table.owners[number_in(table.table, ident - (1 << 64) if ident >> 63 else ident)] = owner
        return table, True
