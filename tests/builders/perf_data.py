"""perf.data files made of exactly what a test says: any record, any attr, file or pipe mode, either byte order.

Layout: include/uapi/linux/perf_event.h of Linux 6.12 and tools/perf/Documentation/perf.data-file-format.txt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lockscope.core import perf_records as walk
from lockscope.formats.perf import layout
from tests.builders.trace_dat import Kernel, format_text, header_page, sections
from tests.builders.zstd import ZstdCompressor

USUAL = walk.IP | walk.TID | walk.TIME | walk.ID | walk.CPU | walk.PERIOD | walk.RAW
ROUND = b"round"  # stands for a FINISHED_ROUND record
_SAMPLE_ID_ALL = 18
KERNEL_CONTEXT, USER_CONTEXT = (1 << 64) - 128, (1 << 64) - 512


@dataclass
class Event:
    """An attr. ``config`` of a tracepoint is its format's ID."""

    config: int = 0
    sample_type: int = USUAL
    type: int = layout.TRACEPOINT
    ids: Sequence[int] = ()
    name: str = ""
    read_format: int = 0
    clockid: int | None = None

    def attr(self, k: Kernel) -> bytes:
        """``struct perf_event_attr`` of 128 bytes."""
        bits = [_SAMPLE_ID_ALL] + ([25] if self.clockid is not None else [])
        flags = sum(1 << (63 - bit if k.big else bit) for bit in bits)
        head = k.pack("IIQQQQQ", self.type, 128, self.config, 1, self.sample_type, self.read_format, flags)
        return head + bytes(92 - len(head)) + k.pack("i", self.clockid or 0) + bytes(32)


@dataclass
class Sample:
    """What a sample says; ``raw`` the tracepoint's record, ``chain`` with its context markers."""

    event: Event
    ts: int
    cpu: int = 0
    tid: int = 1
    raw: bytes = b""
    chain: Sequence[int] = ()
    ip: int = 0x1000
    addr: int = 0
    misc: int = 1
    ident: int | None = None
    values: bytes = b""

    def build(self, k: Kernel) -> bytes:
        """The record."""
        e, shape = self.event, self.event.sample_type
        ident = k.pack("Q", self.ident if self.ident is not None else (e.ids[0] if e.ids else 0))
        parts = [
            (walk.IDENTIFIER, ident), (walk.IP, k.pack("Q", self.ip)), (walk.TID, k.pack("ii", self.tid, self.tid)),
            (walk.TIME, k.pack("Q", self.ts)), (walk.ADDR, k.pack("Q", self.addr)), (walk.ID, ident),
            (walk.STREAM_ID, ident), (walk.CPU, k.pack("II", self.cpu, 0)), (walk.PERIOD, k.pack("Q", 1)),
            (walk.READ, self.values), (walk.CALLCHAIN, k.pack(f"Q{len(self.chain)}Q", len(self.chain), *self.chain)),
        ]  # fmt: skip
        body = b"".join(raw for bit, raw in parts if shape & bit)
        if shape & walk.RAW:
            padded = self.raw + bytes(-(len(self.raw) + 4) % 8)
            body += k.pack("I", len(padded)) + padded
        return record(k, walk.SAMPLE, body, self.misc)


def record(k: Kernel, kind: int, body: bytes = b"", misc: int = 0) -> bytes:
    """Any record."""
    return k.pack("IHH", kind, misc, 8 + len(body)) + body


def sample_id(k: Kernel, event: Event, ts: int, cpu: int, tid: int = 1) -> bytes:
    """What stands behind a record that is no sample (sample_id_all)."""
    shape = event.sample_type
    ident = k.pack("Q", event.ids[0] if event.ids else 0)
    parts = [(walk.TID, k.pack("ii", tid, tid)), (walk.TIME, k.pack("Q", ts)), (walk.ID, ident),
             (walk.STREAM_ID, ident), (walk.CPU, k.pack("II", cpu, 0)), (walk.IDENTIFIER, ident)]  # fmt: skip
    return b"".join(raw for bit, raw in parts if shape & bit)


def lost(k: Kernel, event: Event, count: int, ts: int, cpu: int) -> bytes:
    """Events that found no room."""
    return record(k, walk.LOST, k.pack("QQ", event.ids[0] if event.ids else 0, count) + sample_id(k, event, ts, cpu))


def comm(k: Kernel, pid: int, name: bytes, event: Event | None = None) -> bytes:
    """A task's name."""
    text = name + bytes(8 - len(name) % 8)
    return record(k, walk.COMM, k.pack("II", pid, pid) + text + (sample_id(k, event, 1, 0) if event else b""))


def kernel_map(k: Kernel, name: bytes, start: int, reference: int) -> bytes:
    """Where the kernel or a module lies."""
    text = name + bytes(8 - len(name) % 8)
    return record(k, layout.MMAP, k.pack("iiQQQ", -1, 0, start, 1 << 20, reference) + text, 1)


def tracing_data(k: Kernel, systems: dict[str, list[bytes]] | None = None) -> bytes:
    """The formats, as perf writes them."""
    bodies = sections(k, systems=systems)
    head = b"\x17\x08Dtracing0.6\0" + bytes([k.big, k.long_size]) + k.pack("I", 4096)
    return head + b"".join(bodies[number] for number in sorted(bodies))


def packed(k: Kernel, plain: bytes, *, sizes: Sequence[int] = (), cut: int = 60_000) -> bytes:
    """COMPRESSED records of one zstd frame; ``sizes``: plain bytes that are flushed into each (the rest: one more)."""
    packer = ZstdCompressor()
    out, at = [], 0
    for size in [*sizes, len(plain)]:
        last = at + size >= len(plain)
        how = ZstdCompressor.FLUSH_FRAME if last else ZstdCompressor.FLUSH_BLOCK
        piece = packer.compress(plain[at : at + size], how)
        at += size
        out += [record(k, walk.COMPRESSED, piece[i : i + cut]) for i in range(0, len(piece), cut)]
    return b"".join(out)


@dataclass
class PerfFile:
    """A file to be. ``records``: built ones, samples, and ``ROUND``."""

    events: Sequence[Event]
    records: Sequence[Sample | bytes] = ()
    kernel: Kernel = field(default_factory=Kernel)
    systems: dict[str, list[bytes]] | None = None
    features: dict[int, bytes] = field(default_factory=dict)
    release: bytes = b"6.12.117"
    attr_size: int = 144

    def data(self) -> bytes:
        """The records."""
        k = self.kernel
        end = record(k, walk.FINISHED_ROUND)
        return b"".join(end if r is ROUND else r if isinstance(r, bytes) else r.build(k) for r in self.records)

    def _string(self, raw: bytes) -> bytes:
        padded = raw + bytes(64 - len(raw) % 64)
        return self.kernel.pack("I", len(padded)) + padded

    def _features(self) -> dict[int, bytes]:
        k = self.kernel
        descriptions = [
            e.attr(k) + k.pack("I", len(e.ids)) + self._string(e.name.encode()) + k.pack(f"{len(e.ids)}Q", *e.ids)
            for e in self.events
        ]
        usual = {
            layout.TRACING_DATA: tracing_data(k, self.systems),
            layout.HOSTNAME: self._string(b"host"),
            layout.OSRELEASE: self._string(self.release),
            layout.VERSION: self._string(b"6.1.0"),
            layout.ARCH: self._string(b"x86_64"),
            layout.NRCPUS: k.pack("II", 2, 2),
            layout.EVENT_DESC: k.pack("II", len(self.events), 128) + b"".join(descriptions),
        }
        return dict(sorted((usual | self.features).items()))

    def build(self) -> bytes:
        """File mode."""
        k, count = self.kernel, len(self.events)
        ids_at = layout.HEADER_SIZE
        ids = b"".join(k.pack(f"{len(e.ids)}Q", *e.ids) for e in self.events)
        attrs_at = ids_at + len(ids)
        attrs, at = b"", ids_at
        for e in self.events:
            attrs += e.attr(k) + k.pack("QQ", at, 8 * len(e.ids))
            at += 8 * len(e.ids)
        data_at, data = attrs_at + len(attrs), self.data()
        features = self._features()
        bits = [sum(1 << (f % 64) for f in features if f // 64 == word) for word in range(4)]
        magic = layout.SWAPPED if k.big else layout.MAGIC
        head = magic + k.pack("12Q", 104, self.attr_size, attrs_at, len(attrs), data_at, len(data), 0, 0, *bits)
        at = data_at + len(data) + 16 * len(features)
        table = b""
        for body in features.values():
            table += k.pack("QQ", at, len(body))
            at += len(body)
        assert count * 144 == len(attrs)
        return head + ids + attrs + data + table + b"".join(features.values())

    def pipe(self) -> bytes:
        """Pipe mode."""
        k = self.kernel
        magic = layout.SWAPPED if k.big else layout.MAGIC
        out = [magic + k.pack("Q", 16)]
        out += [record(k, layout.HEADER_ATTR, e.attr(k) + k.pack(f"{len(e.ids)}Q", *e.ids)) for e in self.events]
        features = self._features()
        tracing = features.pop(layout.TRACING_DATA)
        out += [record(k, layout.HEADER_FEATURE, k.pack("Q", f) + body) for f, body in features.items()]
        padded = tracing + bytes(-len(tracing) % 8)
        out += [record(k, layout.HEADER_TRACING_DATA, k.pack("II", len(tracing), 0)), padded]
        return b"".join(out) + self.data()

    def write(self, folder: Path, name: str = "perf.data", *, pipe: bool = False) -> str:
        """Write it; returns the path."""
        path = folder / name
        path.write_bytes(self.pipe() if pipe else self.build())
        return str(path)


__all__ = ["ROUND", "USUAL", "Event", "Kernel", "PerfFile", "Sample", "format_text", "header_page", "record"]
