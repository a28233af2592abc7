"""perf.data, as ``perf record`` writes it: file, pipe or directory, plain or packed, either byte order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lockscope.core import perf_records as walk
from lockscope.formats.files.compressed import entry
from lockscope.formats.perf import layout
from lockscope.formats.perf.batches import Batcher, Feed, Plan, Rows
from lockscope.formats.perf.head import read_comm, read_head
from lockscope.formats.perf.layout import Attr, IdTable
from lockscope.formats.perf.source import Opened, Source, parts_of
from lockscope.formats.symbols.kallsyms import kallsyms_of, placed
from lockscope.formats.trace_dat.pages import Arena
from lockscope.tables.events import (
    UNKNOWN,
    EventBatch,
    EventFormat,
    Field,
    LossNote,
    RecordLayout,
    Stream,
    TraceInfo,
    Wanted,
)
from lockscope.units import byte_order

_FORK_SIZE = 32  # pid, ppid, tid, ptid, time (struct perf_record_fork, tools/lib/perf/include/perf/event.h, v6.12)
_AGAIN = "record again and stop perf record cleanly"
_LARGER = "record with larger buffers (perf record -m PAGES) or fewer events"
_CALLCHAIN = Field("callchain", "u64[]", 0, 0, False, "before", 8, 0)
_OWN = (("ip", walk.IP), ("addr", walk.ADDR), ("period", walk.PERIOD))
_ENOUGH = 1000  # samples that show how a kernel counts preemption


class PerfData:
    """Reader of perf.data files. Raises ``FormatError`` where nothing can be salvaged.

    A directory (``perf record --threads``) has a whole perf.data in ``data`` and each thread's records, without a head,
    in ``data.0`` and so on (tools/perf/util/data.c, perf_data__open_dir(), v6.12).

    Events with a callchain have it as a field, ``callchain``: addresses, innermost first, the kernel's before those of
    user space. Samples that are no tracepoint's are events of the system ``perf``.
    """

    name: ClassVar[str] = "perf.data"

    @classmethod
    def sniff(cls, head: bytes) -> bool:
        """By the magic, of either byte order."""
        return head.startswith((layout.MAGIC, layout.SWAPPED))

    def __init__(self, path: str) -> None:
        self.path = path
        self._opened = Opened(entry(path))
        self._parts = [Opened(str(part)) for part in parts_of(path)]
        self.head = read_head(self._opened)
        self._uncounted = 0
        self.ids, self._told = IdTable.of(self.head.attrs, big=self.head.big)
        self.layout = self._layout()
        self.formats = self._catalogue()
        self.info = self._info()

    def _layout(self) -> RecordLayout:
        tracing = self.head.tracing
        for _, parsed in tracing.formats if tracing else ():
            if tracing and parsed.common:
                return parsed.layout(big=self.head.big, long_size=tracing.long_size)
        return RecordLayout(self.head.big)

    @property
    def _chains(self) -> bool:
        return any(a.sample_type & walk.CALLCHAIN for a in self.head.attrs)

    def _catalogue(self) -> list[EventFormat]:
        formats = [EventFormat(0, -1, "", "loss", ()), EventFormat(1, -1, "", "unknown", ())]
        tracing = self.head.tracing
        with_chain = {a.config & 0xFFFF for a in self.head.attrs
                      if a.type == layout.TRACEPOINT and a.sample_type & walk.CALLCHAIN}  # fmt: skip
        recorded = {a.config & 0xFFFF for a in self.head.attrs if a.type == layout.TRACEPOINT}
        for system, parsed in tracing.formats if tracing else ():
            if parsed.raw_id not in recorded:
                continue
            more = (_CALLCHAIN,) if parsed.raw_id in with_chain else ()
            made = parsed.as_event(len(formats), system)
            formats.append(replace(made, fields=made.fields + more))
        for attr in self.head.attrs:
            if attr.type != layout.TRACEPOINT:
                formats.append(EventFormat(len(formats), -1, "perf", attr.label(), _own_fields(attr)))
        return formats

    def _info(self) -> TraceInfo:
        h = self.head
        packed = f" ({self._opened.codec})" if self._opened.codec else ""
        mode = f"directory of {1 + len(self._parts)} files" if self._parts else f"{'pipe' if h.pipe else 'file'} mode"
        kind = f"perf.data, {mode}{packed}"
        long_size = h.tracing.long_size if h.tracing else 8
        clocks = sorted({a.clock(big=h.big) for a in h.attrs})
        info = TraceInfo(self.path, kind, h.release, h.machine, h.host, clocks[0], h.cpus, long_size, h.big)
        info.comms = dict(h.comms)
        kallsyms = cache(lambda: kallsyms_of(self.path, h.kernel))
        info.symbols = cache(lambda: placed(kallsyms(), h.kernel))
        info.symbol_address = self._address_of
        info.only_enabled = True
        info.streams.extend(Stream(cpu, "", info.clock) for cpu in range(h.cpus))
        info.options = {"writer": h.writer, "clock_ns": h.clock_ns, "build_id": h.kernel.build_id}
        info.notes.extend(self._notes(clocks))
        if h.cut:
            info.losses.append(LossNote("truncated", None, None, _AGAIN))
        return info

    def _address_of(self, name: str) -> int | None:
        symbols = self.info.symbols()
        plain = name.encode()
        return int(symbols.addresses[symbols.names.index(plain)]) if plain in symbols.names else None

    def _notes(self, clocks: list[str]) -> Iterator[str]:
        h = self.head
        yield from h.notes
        tracing = h.tracing
        yield from tracing.notes if tracing else ()
        if tracing and tracing.broken_formats:
            yield f"{tracing.broken_formats} event formats could not be read; their events are counted as unparsed"
        if len(clocks) > 1:
            yield f"events use different clocks ({', '.join(clocks)}): order between them is not known"
        if not self._told:
            yield "samples do not say which event they are of: all are taken for the first one's"
        if tracing is None and any(a.type == layout.TRACEPOINT for a in h.attrs):
            yield "the tracing data is missing: no tracepoint can be decoded (perf record writes it when it ends)"
        if any(not a.sample_type & walk.CPU for a in h.attrs):
            yield "samples without a CPU count as CPU 0's (record with perf record --sample-cpu)"

    @cached_property
    def _by_type(self) -> NDArray[np.int32]:
        """Format of a common_type, then of each attr's own samples."""
        table = np.full(65536 + len(self.head.attrs), UNKNOWN, np.int32)
        for fmt in self.formats[2:]:
            if fmt.raw_id >= 0:
                table[fmt.raw_id] = fmt.index
        own = (f.index for f in self.formats[2:] if f.raw_id < 0)
        for i, attr in enumerate(self.head.attrs):
            if attr.type != layout.TRACEPOINT:
                table[65536 + i] = next(own)
        return table

    def _plan(self, wanted: Wanted | None) -> Plan:
        table = self._by_type
        if wanted is not None:
            keep = np.array([f.index == UNKNOWN or wanted(f) for f in self.formats], bool)
            table = np.where(keep[table], table, -1).astype(np.int32)
        rows = np.array([a.row(big=self.head.big) for a in self.head.attrs], np.int64)
        return Plan(self.layout, rows, self.ids, table, chains=self._chains)

    def _feeds(self) -> list[Feed]:
        h = self.head
        size = h.data_size if self._opened.length is not None else 1 << 62
        # Directories have no rounds (tools/perf/builtin-record.c, record__mmap_read_evlist(), v6.12).
        first = Feed(Source(self._opened.at(h.data_at), size, big=h.big, cut=h.cut), rounds=not self._parts)
        more = (Source(part.at(0), part.length or 0, big=h.big) for part in self._parts)
        return [first, *(Feed(source, rounds=False) for source in more)]

    @cached_property
    def _preempt_at(self) -> int:
        """Where records have a preempt count that is too high by one; -1 where it is right.

        A tracepoint's callbacks run with preemption disabled. ftrace takes that off its count again
        (kernel/trace/trace.c, tracing_gen_ctx_dec(), v6.12), perf does not (trace_event_perf.c,
        perf_trace_buf_update()): with a kernel that counts, no sample of perf's has a depth of 0.
        """
        plan, rows = self._plan(None), Rows(Arena(1 << 20), 1 << 12)
        for feed in self._feeds():
            while rows.n < _ENOUGH and not feed.source.done:
                feed.read(rows, plan, lambda _: None)
        kind, at = rows.columns[3][: rows.n], rows.columns[1][: rows.n]
        traced = np.array([f.raw_id >= 0 for f in self.formats], bool)
        chosen = traced[kind] & (rows.columns[2][: rows.n] > self.layout.preempt_at)  # the file says where the count is
        depths = rows.arena.data[at[chosen] + self.layout.preempt_at] & 15
        return self.layout.preempt_at if len(depths) and depths.min() > 0 else -1

    def batches(self, wanted: Wanted | None = None, *, rows: int = 1 << 18) -> Iterator[EventBatch]:
        """Events in time order; see ``tables.events.Reader``. Damage goes to ``info`` when all has been read."""
        self._uncounted = 0
        plan = self._plan(wanted)
        plan.preempt_at = self._preempt_at
        batcher = Batcher(self._feeds(), plan, self._on_side, rows=max(rows, 1))
        for batch in batcher.batches():
            self._add_streams(batcher.most_cpu)
            yield batch
        self._note_damage(batcher)

    def _add_streams(self, most: int) -> None:
        known = len(self.info.streams)
        self.info.streams.extend(Stream(cpu, "", self.info.clock) for cpu in range(known, most + 1))
        self.info.cpus = max(self.info.cpus, most + 1)

    def _on_side(self, record: bytes) -> None:
        order = byte_order(self.head.big)
        kind, size = int.from_bytes(record[:4], order), int.from_bytes(record[6:8], order)
        if kind == walk.COMM:
            pid, comm = read_comm(record[8:size], big=self.head.big)
            self.info.comms[pid] = comm
        elif kind == walk.FORK and size >= _FORK_SIZE:
            child, parent = (int.from_bytes(record[at : at + 4], order) for at in (16, 20))
            self.info.parents[child] = parent
        elif kind == walk.LOST_SAMPLES and not int.from_bytes(record[4:6], order) & walk.BPF_FILTERED:
            count = int.from_bytes(record[8:16], order)
            self._uncounted += count

    def _note_damage(self, batcher: Batcher) -> None:
        notes, losses = [], []
        for feed in batcher.feeds:
            if feed.source.damaged:
                losses.append(LossNote("truncated", None, None, _AGAIN))
                notes.append(f"the data can't be read to its end: {feed.source.damaged}")
        if self._uncounted:
            losses.append(LossNote("dropped", None, self._uncounted, _LARGER))
        broken = sum(int(f.state[walk.S_BROKEN]) for f in batcher.feeds)
        if broken:
            losses.append(LossNote("unparsed", None, None, "the file is damaged"))
            notes.append(f"{broken} samples can't be what their event says; they were left out")
        throttled = sum(int(f.state[walk.S_THROTTLED]) for f in batcher.feeds)
        if throttled:
            notes.append(f"the kernel throttled events {throttled} times: how many are missing is not known")
        if batcher.late:
            notes.append(f"{batcher.late} events came later than the recorder's buffers allow: order is approximate")
        # A second reading meets the same damage.
        self.info.add(notes, losses)


def _own_fields(attr: Attr) -> tuple[Field, ...]:
    """The fields of samples that are no tracepoint's: what stands at a fixed place, and the callchain."""
    found = []
    for name, word in _OWN:
        at = attr.place(word)
        if at is not None:
            found.append(Field(name, "u64", at, 8, False, "int", 8))
    slot = attr.place(walk.TIME)
    if slot is not None:
        # The time is a column already: the walk leaves in its place what has no fixed one.
        found.append(Field("cpumode", "u8", slot + 4, 1, False, "int", 1))
        if attr.sample_type & walk.CALLCHAIN:
            found.append(Field("callchain", "__data_loc u64[]", slot, 4, False, "data_loc", 8, 0))
    return tuple(found)
