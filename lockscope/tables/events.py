"""Events as every format hands them over: records in a byte buffer, described by the formats the trace itself carries.

A reader yields batches in time order. A batch says of each event when, where, of which format, and where its record
lies; no field is decoded until somebody asks (``lockscope.tables.decode``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from lockscope.tables.symbols import Symbols

LOSS = 0  # the format index of rows that are no event: some were lost here
UNKNOWN = 1  # events whose common_type no format describes


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event, by its line in the event's ``format`` file.

    ``kind``: "int" (also pointers, bools, enums), "string" (``char[n]`` in place), "array" (``count`` integers of
    ``item`` bytes in place), "data_loc" / "rel_loc" (elsewhere in the record: text when ``text``, else integers of
    ``item`` bytes; a bitmask is such an array), "tail" (from ``offset`` to the record's end), "before" (64-bit
    integers in front of the record, their number in the 4 bytes between them and it: a callchain of perf's).

    ``item`` need not be given: an "int" has its ``size``, whatever was given, as tables and checks read one by either.
    """

    name: str
    ctype: str
    offset: int
    size: int
    signed: bool
    kind: str = "int"
    item: int = 0
    count: int = 1
    text: bool = False

    def __post_init__(self) -> None:
        item = self.item
        if self.kind == "int":
            item = self.size
        elif not item:
            item = 8 if self.kind == "before" else self.size // self.count if self.kind == "array" and self.count else 1
        object.__setattr__(self, "item", item)


@dataclass(frozen=True, slots=True)
class EventFormat:
    """An event's layout.

    ``index`` is its place in the reader's catalogue; ``raw_id`` its common_type in the records.
    """

    index: int
    raw_id: int
    system: str
    name: str
    fields: tuple[Field, ...]  # its own fields, common ones left out
    print_fmt: str = ""

    @property
    def full_name(self) -> str:
        """``system:name``."""
        return f"{self.system}:{self.name}"

    def field(self, name: str) -> Field | None:
        """The field with this name, or None."""
        return next((f for f in self.fields if f.name == name), None)


@dataclass(frozen=True, slots=True)
class RecordLayout:
    """What all records of a source share: byte order and where the common fields lie (offset, size)."""

    big: bool = False
    long_size: int = 8
    type_at: int = 0
    flags_at: int = 2
    preempt_at: int = 3
    pid_at: int = 4


@dataclass(slots=True)
class EventBatch:
    """Events of a stretch of time, in order of (ts_ns, stream, place in its stream).

    A loss (``kind == LOSS``) has in ``at`` how many events are missing just before its time on its CPU, -1 = unknown.
    """

    data: NDArray[np.uint8]
    ts_ns: NDArray[np.int64]
    at: NDArray[np.int64]  # where the record begins in ``data``
    size: NDArray[np.int32]  # the record's bytes
    kind: NDArray[np.int32]  # index into the catalogue
    stream: NDArray[np.int32]  # index into ``streams``
    first_seq: int  # sequence number of the first row; rows count on from it
    layout: RecordLayout
    cut_streams: tuple[int, ...] = ()  # streams of which events are missing right behind their last row here

    def __len__(self) -> int:
        return len(self.ts_ns)


@dataclass(frozen=True, slots=True)
class Stream:
    """One CPU's records in one buffer (tracing instance; "" is the top one). ``file``: which of several."""

    cpu: int
    buffer: str = ""
    clock: str | None = None
    file: int = 0


@dataclass(frozen=True, slots=True)
class LossNote:
    """Events that never reached the file, as counted by the recorder (CPUSTAT), or bytes that could not be read.

    ``kind``: "overrun", "commit overrun", "dropped", "truncated", "unparsed". ``count`` None: nobody knows.
    """

    kind: str
    cpu: int | None
    count: int | None
    remedy: str
    buffer: str = ""


@dataclass(slots=True)
class TraceInfo:
    """What a trace says of itself. Filled by the reader, when it opens and while it reads."""

    path: str
    format: str  # "trace.dat v7 (zstd)", "tracefs text", ...
    kernel: str | None = None  # release: "6.12.117"
    machine: str | None = None  # "x86_64"
    host: str | None = None
    clock: str | None = None
    cpus: int = 0
    long_size: int = 8
    big_endian: bool = False
    page_size: int = 4096
    streams: list[Stream] = field(default_factory=list)
    comms: dict[int, str] = field(default_factory=dict)  # pid -> comm, by the recorder's cache
    guest_comms: dict[str, dict[int, str]] = field(default_factory=dict)  # merged guests by name, each's own ``comms``
    parents: dict[int, int] = field(default_factory=dict)  # of tasks that the recorder saw born: pid -> parent's
    symbols: Callable[[], Symbols] = Symbols.none  # parsed on first use: kallsyms is large
    symbol_address: Callable[[str], int | None] = lambda _: None  # one symbol, without parsing them all
    losses: list[LossNote] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # for the person: unknown options, salvage, guesses
    ns_exact: bool = True  # False: text with microseconds
    hashed_pointers: bool = False  # text printed with %p
    only_enabled: bool = False  # ``formats`` are those of the events that were switched on, seen or not
    options: dict[str, Any] = field(default_factory=dict)  # trace id, guests, tsc2nsec ...: what was read, by name

    @property
    def orders_cpus(self) -> bool:
        """Whether times of different CPUs can be compared to the nanosecond.

        The local clock may not be in step between CPUs (Documentation/trace/ftrace.rst, trace_clock, v6.12); it is
        ftrace's default, so that a trace that does not name its clock may well have it.
        """
        named = {s.clock or self.clock or "" for s in self.streams} or {self.clock or ""}
        return len({s.cpu for s in self.streams}) < 2 or not named & {"", "local"}

    def add(self, notes: Iterable[str], losses: Iterable[LossNote]) -> None:
        """Notes and losses that are not there yet, in their order."""
        told, counted = set(self.notes), set(self.losses)
        self.notes.extend(n for n in dict.fromkeys(notes) if n not in told)
        self.losses.extend(n for n in dict.fromkeys(losses) if n not in counted)

    def comms_of(self, system: str) -> dict[int, str]:
        """Names of the tasks that events of a system are about: in a merged trace, "vm1/kvm" has its guest's."""
        guest, inside, _ = system.partition("/")
        return self.guest_comms.get(guest, {}) if inside else self.comms


Wanted = Callable[[EventFormat], bool]


def larger_buffer(info: TraceInfo) -> str:
    """What to do where a recorder was too slow, in its own words."""
    how = "perf record -m PAGES" if info.format.startswith("perf") else "trace-cmd record -b KB"
    return f"record with a larger buffer ({how}) or fewer events"


class Reader(Protocol):
    """A format. ``formats`` may grow while reading (text); an index, once given, stays.

    ``formats`` begins with ``LOSS`` and ``UNKNOWN``, which have no fields and the raw id -1. Records have the common
    fields where ``RecordLayout`` says. ``tests/formats/test_readers_conform.py`` holds every reader to all of this.
    """

    name: ClassVar[str]
    info: TraceInfo
    formats: list[EventFormat]

    @classmethod
    def sniff(cls, head: bytes) -> bool:
        """Whether a file that begins so (first 64 KiB, decompressed) is of this format."""
        ...

    def batches(self, wanted: Wanted | None = None, *, rows: int = 1 << 20) -> Iterator[EventBatch]:
        """The events whose format is wanted (None: all), from the beginning; losses always. About ``rows`` a batch.

        May be called again. Raises ``FormatError`` where nothing more can be salvaged; prefers a note and an end.
        """
        ...


def both(one: Wanted | None, other: Wanted | None) -> Wanted | None:
    """Events that both want; None wants all."""
    if one is None or other is None:
        return one or other
    return lambda fmt: one(fmt) and other(fmt)
