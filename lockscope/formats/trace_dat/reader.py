"""trace.dat, as trace-cmd writes it: versions 6 and 7, plain or packed, any kernel's word size and byte order."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lockscope.formats.event_format import ParsedFormat
from lockscope.formats.files.whole import open_whole
from lockscope.formats.trace_dat.batches import Batcher
from lockscope.formats.trace_dat.clock import clock_of
from lockscope.formats.trace_dat.facts import comms, lost, only_enabled, uname
from lockscope.formats.trace_dat.head import HeadReader
from lockscope.formats.trace_dat.layout import MAGIC
from lockscope.formats.trace_dat.pages import Budget, PageStream, ends_of
from lockscope.tables.events import EventBatch, EventFormat, LossNote, RecordLayout, Stream, TraceInfo, Wanted
from lockscope.tables.symbols import Symbols, address_in

_BYTES_A_ROW = 64  # of a KVM trace with lock events; only steers the size of batches
_MOST_BLOCK = 1 << 20  # bytes that are read of a CPU in one go
_AGAIN = "record again and stop the recorder cleanly"
_NS_CLOCKS = ("local", "global", "perf", "mono", "mono_raw", "boot", "tai", "tsc2nsec")


class TraceDat:
    """Reader of trace.dat files. Raises ``FormatError`` where nothing can be salvaged."""

    name: ClassVar[str] = "trace.dat"

    @classmethod
    def sniff(cls, head: bytes) -> bool:
        """By the magic."""
        return head.startswith(MAGIC)

    def __init__(self, path: str) -> None:
        self.path = path
        self.file, self._packed = open_whole(path)
        weakref.finalize(self, self.file.close)
        reader = HeadReader(self.file, path)
        self.head = reader.read()
        self._length = reader.length
        self.layout = self._layout()
        self.formats = self._catalogue()
        self.info = self._info()

    def _layout(self) -> RecordLayout:
        for _, parsed in self.head.formats:
            if parsed.common:
                return parsed.layout(big=self.head.big, long_size=self.head.long_size)
        return RecordLayout(self.head.big, self.head.long_size)

    def _catalogue(self) -> list[EventFormat]:
        formats = [EventFormat(0, -1, "", "loss", ()), EventFormat(1, -1, "", "unknown", ())]
        for system, parsed in self.head.formats:
            formats.append(_mended(parsed, system, self.head.long_size).as_event(len(formats), system))
        return formats

    def _info(self) -> TraceInfo:
        h = self.head
        release, machine, host = uname(h.uname)
        codec = "" if h.version == 6 else f" ({'plain' if h.codec == 'none' else h.codec})"
        cpus = h.cpu_count or max((len(b.cpus) for b in h.buffers), default=0)
        kind = f"trace.dat v{h.version}{codec}" + (f", {self._packed}" if self._packed else "")
        info = TraceInfo(self.path, kind, release, machine, host, h.clock, cpus, h.long_size, h.big, h.page_size)
        info.comms = comms(h.cmdlines)
        info.symbols = cache(lambda: Symbols.parse(h.kallsyms))
        info.symbol_address = lambda name: address_in(h.kallsyms, name)
        info.losses.extend(lost(h.cpustats))
        info.losses.extend(LossNote("truncated", None, None, _AGAIN, b.name) for b in h.buffers if b.salvaged)
        if h.version != 6 and not h.buffers and not h.latency_text:
            info.losses.append(LossNote("truncated", None, None, _AGAIN))  # cut before its first buffer
        info.options = {"trace_id": h.trace_id, "guests": h.guests, "writer": h.writer, "tsc2nsec": h.tsc2nsec,
                        "printk": h.printk, "peer": h.shift_peer}  # fmt: skip
        # The file's clock (option TRACECLOCK) is that of the first buffer recorded. A buffer's own is what the top
        # instance had, whatever its own instance was set to, unless trace-cmd was told one (get_clock() of
        # lib/trace-cmd/trace-output.c, trace-cmd 3.1 to 3.3; seen with 3.1.6, record -B of an instance set to mono).
        told = h.clock
        for buffer in h.buffers:
            # An empty buffer orders nothing: the top one, where only an instance was recorded (trace-cmd record -B).
            clock = None
            if any(c.size for c in buffer.cpus):
                clock, told = told or buffer.clock, None
            info.streams.extend(Stream(c.cpu, buffer.name, clock) for c in buffer.cpus)
        info.clock = next((s.clock for s in info.streams if s.clock), info.clock)
        named = frozenset(f.full_name for f in self.formats[2:] if f.system != "ftrace")
        info.only_enabled = only_enabled(named)
        info.notes.extend(self._notes(info.clock or "local"))
        return info

    def _notes(self, clock: str) -> Iterator[str]:
        h = self.head
        yield from h.notes
        if h.broken_formats:
            yield f"{h.broken_formats} event formats could not be read; their events are counted as unparsed"
        if h.latency_text and not h.buffers:
            yield "the file holds a latency tracer's text, no events"
        if h.tsc2nsec is None and clock not in _NS_CLOCKS:
            yield f"clock {clock!r} does not count nanoseconds: times and durations are in its own units"
        clocks = {b.clock for b in h.buffers if b.clock and any(c.size for c in b.cpus)}
        if len(clocks) > 1:
            yield f"buffers use different clocks ({', '.join(sorted(clocks))}): order between them is not known"

    @cached_property
    def _by_type(self) -> NDArray[np.int32]:
        table = np.full(1 << 16, 1, np.int32)
        for fmt in self.formats[2:]:
            table[fmt.raw_id] = fmt.index
        return table

    def _wanted(self, wanted: Wanted | None) -> NDArray[np.int32]:
        if wanted is None:
            return self._by_type
        keep = np.array([f.index == 1 or wanted(f) for f in self.formats], bool)
        return np.where(keep[self._by_type], self._by_type, -1).astype(np.int32)

    def batches(self, wanted: Wanted | None = None, *, rows: int = 1 << 18) -> Iterator[EventBatch]:
        """Events in time order; see ``tables.events.Reader``. Damage goes to ``info`` when all has been read."""
        h = self.head
        target = max(rows, 1) * _BYTES_A_ROW
        places = [(buffer, cpu) for buffer in h.buffers for cpu in buffer.cpus]
        block = max(min(_MOST_BLOCK, target // (2 * max(len(places), 1))), 1 << 12)
        budget = Budget()
        with ThreadPoolExecutor(2) as pool:
            streams = [
                PageStream(self.file.fileno(), h, buffer, cpu, i, end, pool, block, budget)
                for i, ((buffer, cpu), end) in enumerate(zip(places, ends_of(places, self._length), strict=True))
            ]
            batcher = Batcher(streams, self.layout, self._wanted(wanted), clock_of(h), target_bytes=target, pool=pool)
            yield from batcher.batches()
            self._note_damage(streams, batcher)

    def _note_damage(self, streams: list[PageStream], batcher: Batcher) -> None:
        notes, losses = [], []
        for s in streams:
            if s.damaged:
                losses.append(LossNote("truncated", s.place.cpu, None, _AGAIN, s.buffer.name))
                where = f" of buffer {s.buffer.name}" if s.buffer.name else ""
                notes.append(f"CPU {s.place.cpu}{where}: {s.damaged}")
        broken = sum(s.broken for s in streams)
        if broken:
            losses.append(LossNote("unparsed", None, None, "the file is damaged"))
            notes.append(f"{broken} pages hold a record that can't be one; the rest of each was left out")
        if batcher.out_of_order:
            notes.append("CPUs lie too far apart in time to be merged: order between them is approximate")
        # A second reading meets the same damage.
        self.info.add(notes, losses)


def _mended(parsed: ParsedFormat, system: str, long_size: int) -> ParsedFormat:
    """Stack records say ``caller[8]``, and go on as far as the stack is deep (kernel/trace/trace_entries.h, v6.12)."""
    if system != "ftrace" or parsed.name not in ("kernel_stack", "user_stack"):
        return parsed
    fields = tuple(
        replace(f, kind="tail", size=0, item=long_size, count=0) if f.name == "caller" else f for f in parsed.fields
    )
    return replace(parsed, fields=fields)
