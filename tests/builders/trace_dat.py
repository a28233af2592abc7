"""trace.dat files made of exactly what a test says: pages record by record, any option, any damage.

Layout of a page: include/linux/ring_buffer.h and kernel/trace/ring_buffer.c of Linux 6.12.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lockscope.formats.trace_dat import layout
from lockscope.formats.trace_dat.writer import BufferPages, Content, CpuPages, header_info, write_v6, write_v7

PADDING, EXTEND, STAMP = 29, 30, 31
ACQUIRE, SWITCH, MIXED = 310, 311, 312

_COMMON = (
    ("unsigned short common_type", 0, 2, 0),
    ("unsigned char common_flags", 2, 1, 0),
    ("unsigned char common_preempt_count", 3, 1, 0),
    ("int common_pid", 4, 4, 1),
)
Line = tuple[str, int, int, int]  # declaration, offset, size, signed


def format_text(name: str, number: int, lines: Sequence[Line], print_fmt: str = '""') -> bytes:
    """An event's ``format`` file."""

    def row(line: Line) -> str:
        decl, offset, size, signed = line
        return f"\tfield:{decl};\toffset:{offset};\tsize:{size};\tsigned:{signed};\n"

    own = "".join(map(row, lines))
    text = f"name: {name}\nID: {number}\nformat:\n{''.join(map(row, _COMMON))}\n{own}\nprint fmt: {print_fmt}\n"
    return text.encode()


def formats(long_size: int = 8) -> dict[str, list[bytes]]:
    """Three events: one with text elsewhere in the record, one with text in place, one of everything else."""
    word = long_size
    acquire = [
        ("unsigned int flags", 8, 4, 0),
        ("__data_loc char[] name", 12, 4, 0),
        ("void * lockdep_addr", 16, word, 0),
    ]
    switch = [("char prev_comm[16]", 8, 16, 0), ("pid_t prev_pid", 24, 4, 1), ("long prev_state", 28, word, 1)]
    mixed = [
        ("u8 level", 8, 1, 0), ("s8 delta", 9, 1, 1), ("u16 short_one", 10, 2, 0), ("u64 spte", 12, 8, 0),
        ("unsigned long args[2]", 20, 2 * word, 0), ("__rel_loc u32[] words", 20 + 2 * word, 4, 0),
        ("char tail[]", 24 + 2 * word, 0, 0),
    ]  # fmt: skip
    return {
        "lock": [format_text("lock_acquire", ACQUIRE, acquire)],
        "sched": [format_text("sched_switch", SWITCH, switch)],
        "test": [format_text("mixed", MIXED, mixed)],
    }


@dataclass
class Page:
    """One sub-buffer, filled record by record."""

    time: int
    big: bool = False
    long_size: int = 8
    size: int = 4096
    missed: int | None = None  # how many events were lost before it; -1: nobody knows
    commit: int | None = None  # instead of what was filled
    body: bytearray = field(default_factory=bytearray)

    def _word(self, *values: int) -> None:
        self.body += b"".join(v.to_bytes(4, "big" if self.big else "little") for v in values)

    def _head(self, kind: int, delta: int) -> int:
        return kind << 27 | delta if self.big else delta << 5 | kind

    def event(self, delta: int, record: bytes, *, long_form: bool = False) -> Page:
        """A record, ``delta`` after the one before. ``long_form``: with its length in a word of its own."""
        assert delta < 1 << 27
        whole = record + bytes(-len(record) % 4)
        if long_form or len(whole) > 112:
            self._word(self._head(0, delta), len(record) + 4)
        else:
            self._word(self._head(len(whole) // 4, delta))
        self.body += whole
        return self

    def extend(self, delta: int) -> Page:
        """Time passes: more than a record's delta can say."""
        self._word(self._head(EXTEND, delta & 0x7FFFFFF), delta >> 27)
        return self

    def stamp(self, time: int) -> Page:
        """The time is now this one (its low 59 bits)."""
        time &= (1 << 59) - 1
        self._word(self._head(STAMP, time & 0x7FFFFFF), time >> 27)
        return self

    def discarded(self, delta: int, size: int) -> Page:
        """A record that was taken back: ``size`` bytes that are none."""
        self._word(self._head(PADDING, delta), size)
        self.body += b"\xaa" * max(size - 4, 0)
        return self

    def end_padding(self) -> Page:
        """Nothing but padding to the end of what is committed."""
        self._word(self._head(PADDING, 0))
        self.body += b"\xbb" * 20
        return self

    def raw(self, data: bytes) -> Page:
        """Bytes as they are."""
        self.body += data
        return self

    def build(self) -> bytes:
        """The page's bytes."""
        order = "big" if self.big else "little"
        commit = len(self.body) if self.commit is None else self.commit
        rest = b""
        if self.missed is not None:
            commit |= 1 << 31
            if self.missed >= 0:
                commit |= 1 << 30
                rest = self.missed.to_bytes(self.long_size, order)
        page = self.time.to_bytes(8, order) + commit.to_bytes(self.long_size, order) + bytes(self.body) + rest
        assert len(page) <= self.size
        return page + bytes(self.size - len(page))


@dataclass(frozen=True)
class Kernel:
    """The byte order and word size that records are written in."""

    big: bool = False
    long_size: int = 8

    def page(self, time: int, size: int = 4096, **more: int | None) -> Page:
        """An empty page."""
        return Page(time, self.big, self.long_size, size, **more)

    def pack(self, layout_text: str, *values: object) -> bytes:
        """Like ``struct.pack`` without padding; ``P`` is the kernel's word."""
        word = "Q" if self.long_size == 8 else "I"
        return struct.pack((">" if self.big else "<") + layout_text.replace("P", word), *values)

    def record(self, number: int, pid: int, body: bytes, flags: int = 0, preempt: int = 0) -> bytes:
        """The common fields, then ``body``."""
        return self.pack("HBBi", number, flags, preempt, pid) + body

    def acquire(self, pid: int, name: bytes, lock: int, flags: int = 0, **common: int) -> bytes:
        """lock:lock_acquire; ``name`` lies behind the fixed part."""
        text = name + b"\0"
        at = 16 + self.long_size
        return self.record(ACQUIRE, pid, self.pack("IIP", flags, len(text) << 16 | at, lock) + text, **common)

    def switch(self, pid: int, comm: bytes, prev_pid: int, state: int) -> bytes:
        """sched:sched_switch."""
        word = "q" if self.long_size == 8 else "i"
        return self.record(SWITCH, pid, self.pack(f"16si{word}", comm, prev_pid, state))

    def mixed(
        self,
        pid: int,
        level: int,
        delta: int,
        short: int,
        spte: int,
        args: tuple[int, int],
        words: Sequence[int],
        tail: bytes,
    ) -> bytes:
        """test:mixed; the words lie behind the tail's text."""
        fixed = 24 + 2 * self.long_size
        text = tail + b"\0" * (4 - len(tail) % 4)
        where = len(text) | len(words) * 4 << 16  # from the end of the field, which the tail follows
        body = self.pack("BbHQPPI", level, delta, short, spte, *args, where)
        assert 8 + len(body) == fixed
        return self.record(MIXED, pid, body + text + self.pack(f"{len(words)}I", *words))


def header_page(long_size: int = 8, page_size: int = 4096) -> bytes:
    """What tracefs says of pages."""
    return (
        "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
        f"\tfield: local_t commit;\toffset:8;\tsize:{long_size};\tsigned:1;\n"
        f"\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
        f"\tfield: char data;\toffset:{8 + long_size};\tsize:{page_size - 8 - long_size};\tsigned:1;\n"
    ).encode()


def sections(
    kernel: Kernel = Kernel(),
    *,
    systems: dict[str, list[bytes]] | None = None,
    kallsyms: bytes = b"",
    printk: bytes = b"",
    comms: bytes = b"",
    ftrace: Sequence[bytes] = (),
) -> dict[int, bytes]:
    """The bodies of all sections."""
    c = Content({}, big=kernel.big)

    def sized(raw: bytes, width: int = 8) -> bytes:
        return c.number(len(raw), width) + raw

    systems = formats(kernel.long_size) if systems is None else systems
    events = c.number(len(systems), 4)
    for system, texts in systems.items():
        events += system.encode() + b"\0" + c.number(len(texts), 4) + b"".join(map(sized, texts))
    return {
        layout.HEADER_INFO: header_info(c, header_page(kernel.long_size), b"event header\n"),
        layout.FTRACE_EVENTS: c.number(len(ftrace), 4) + b"".join(map(sized, ftrace)),
        layout.EVENT_FORMATS: events,
        layout.KALLSYMS: sized(kallsyms, 4),
        layout.PRINTK: sized(printk, 4),
        layout.CMDLINES: sized(comms),
    }


@dataclass
class TraceFile:
    """A file to be. ``cpus``: the pages of each CPU of the top buffer."""

    cpus: dict[int, list[Page]] = field(default_factory=dict)
    kernel: Kernel = Kernel()
    version: int = 7
    codec: str = "none"
    page_size: int = 4096
    clock: str = "local"
    user_long: int = 8
    options: list[tuple[int, bytes]] = field(default_factory=list)
    instances: list[BufferPages] = field(default_factory=list)
    bodies: dict[int, bytes] = field(default_factory=dict)  # sections instead of the usual ones

    def buffer(self, name: str, cpus: dict[int, list[Page]], clock: str, page_size: int) -> BufferPages:
        """A tracing instance."""
        pages = [CpuPages(cpu, [b"".join(p.build() for p in every)]) for cpu, every in cpus.items()]
        return BufferPages(name, pages, clock, page_size)

    def build(self) -> bytes:
        """The file's bytes."""
        k = self.kernel
        top = self.buffer("", self.cpus, self.clock, self.page_size)
        clock = (layout.TRACECLOCK, f"local [{self.clock}] x86-tsc\n\0".encode())
        count = (layout.CPUCOUNT, k.pack("I", len(self.cpus)))
        content = Content(sections(k) | self.bodies, [clock, count, *self.options], [top, *self.instances], k.big,
                          self.user_long, self.page_size)  # fmt: skip
        out = io.BytesIO()
        if self.version == 7:
            write_v7(out, content, self.codec)
        else:
            write_v6(out, content)
        return out.getvalue()

    def write(self, folder: Path, name: str = "trace.dat") -> str:
        """Write it; returns the path."""
        path = folder / name
        path.write_bytes(self.build())
        return str(path)
