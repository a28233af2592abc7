"""trace.dat, as trace-cmd writes it: versions 6 and 7, plain or packed, any kernel's word size and byte order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lockscope.errors import FormatError
from lockscope.formats._dat_batches import Batcher, Clock
from lockscope.formats._dat_head import HeadReader
from lockscope.formats._dat_layout import MAGIC, BufferData, Head, TimeShift
from lockscope.formats._dat_pages import Budget, PageStream
from lockscope.formats.event_format import ParsedFormat
from lockscope.tables.events import EventBatch, EventFormat, LossNote, RecordLayout, Stream, TraceInfo, Wanted
from lockscope.tables.symbols import Symbols

_BYTES_A_ROW = 64  # of a KVM trace with lock events; only steers the size of batches
_MOST_BLOCK = 1 << 20  # bytes that are read of a CPU in one go
_NS_CLOCKS = ("local", "global", "perf", "mono", "mono_raw", "boot", "tai", "tsc2nsec")
_COUNTS = re.compile(r"^(overrun|commit overrun|dropped events):\s*(\d+)", re.MULTILINE)


class TraceDat:
    """Reader of trace.dat files. Raises ``FormatError`` where nothing can be salvaged."""

    name: ClassVar[str] = "trace.dat"

    @classmethod
    def sniff(cls, head: bytes) -> bool:
        """By the magic."""
        return head.startswith(MAGIC)

    def __init__(self, path: str) -> None:
        self.path = path
        with Path(path).open("rb") as file:
            reader = HeadReader(file, path)
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
        release, machine, host = _uname(h.uname)
        codec = "" if h.version == 6 else f" ({'plain' if h.codec == 'none' else h.codec})"
        info = TraceInfo(self.path, f"trace.dat v{h.version}{codec}", release, machine, host, h.clock,
                         h.cpu_count or max((len(b.cpus) for b in h.buffers), default=0), h.long_size, h.big, h.page_size)  # fmt: skip
        info.comms = _comms(h.cmdlines)
        kallsyms = h.kallsyms
        symbols = cached_symbols(kallsyms)
        info.symbols = symbols
        info.notes.extend(h.notes)
        if h.broken_formats:
            info.notes.append(f"{h.broken_formats} event formats could not be read; their events are counted as unparsed")
        for buffer in h.buffers:
            info.streams.extend(Stream(c.cpu, buffer.name, buffer.clock or h.clock) for c in buffer.cpus)
            info.clock = info.clock or buffer.clock
        _read_cpustats(h, info)
        if h.latency_text and not h.buffers:
            info.notes.append("the file holds a latency tracer's text, no events")
        info.options = {"trace_id": h.trace_id, "guests": h.guests, "writer": h.writer, "tsc2nsec": h.tsc2nsec,
                        "printk": h.printk}  # fmt: skip
        clock = info.clock or "local"
        if h.tsc2nsec is None and clock not in _NS_CLOCKS:
            info.notes.append(f"clock {clock!r} does not count nanoseconds: times and durations are in its own units")
        clocks = {b.clock for b in h.buffers if b.clock}
        if len(clocks) > 1:
            info.notes.append(f"buffers use different clocks ({', '.join(sorted(clocks))}): order between them is not known")
        return info

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
        """Events in time order; see ``tables.events.Reader``. Losses and damage go to ``info`` as they are met."""
        h = self.head
        target = max(rows, 1) * _BYTES_A_ROW
        number = sum(len(b.cpus) for b in h.buffers)
        block = max(min(_MOST_BLOCK, target // (2 * max(number, 1))), 1 << 12)
        budget = Budget()
        with Path(self.path).open("rb") as file, ThreadPoolExecutor(2) as pool:
            streams: list[PageStream] = []
            for buffer in h.buffers:
                for cpu in buffer.cpus:
                    streams.append(PageStream(file.fileno(), h, buffer, cpu, len(streams), self._length, pool, block, budget))
            batcher = Batcher(streams, self.layout, self._wanted(wanted), self._clock(), target_bytes=target, pool=pool)
            yield from batcher.batches()
            self._note_damage(streams, batcher)

    def _note_damage(self, streams: list[PageStream], batcher: Batcher) -> None:
        seen = {(n.kind, n.cpu, n.buffer) for n in self.info.losses}
        for s in streams:
            if s.damaged and ("truncated", s.place.cpu, s.buffer.name) not in seen:
                self.info.losses.append(LossNote("truncated", s.place.cpu, None, "record again and stop the recorder cleanly",
                                                 s.buffer.name))  # fmt: skip
                self.info.notes.append(f"CPU {s.place.cpu}{f' of buffer {s.buffer.name}' if s.buffer.name else ''}: {s.damaged}")
        broken = sum(s.broken for s in streams)
        if broken and ("unparsed", None, "") not in seen:
            self.info.losses.append(LossNote("unparsed", None, None, "the file is damaged"))
            self.info.notes.append(f"{broken} pages hold a record that can't be one; the rest of each was left out")
        if batcher.out_of_order:
            self.info.notes.append("CPUs lie too far apart in time to be merged: order between them is approximate")

    def _clock(self) -> Clock | None:
        h = self.head
        shifts = h.time_shift
        if not shifts and h.tsc2nsec is None and not h.offset_ns:
            return None

        def clock(ts: NDArray[np.int64], s: PageStream) -> NDArray[np.int64]:
            if 0 <= s.place.cpu < len(shifts) and shifts[s.place.cpu].samples:
                ts = _shifted(ts, shifts[s.place.cpu], h.shift_interpolates)
            if h.tsc2nsec is not None:
                ts = _scaled(ts, *h.tsc2nsec)
            return ts + h.offset_ns

        return clock


def _scaled(ts: NDArray[np.int64], mult: int, shift: int) -> NDArray[np.int64]:
    """``ts * mult >> shift`` without overflow, as mul_u64_u32_shr() in trace-input.c does it."""
    high, low = ts >> 32, ts & 0xFFFFFFFF
    product = (low.astype(np.uint64) * np.uint64(mult)) >> np.uint64(shift)
    upper = high * mult
    upper = upper << (32 - shift) if shift <= 32 else upper >> (shift - 32)
    return product.astype(np.int64) + upper


def _shifted(ts: NDArray[np.int64], shift: TimeShift, interpolates: bool) -> NDArray[np.int64]:
    """Guest times as the host's: scaled, plus the offset of the sample before (trace-input.c, timestamp_host_sync())."""
    times = np.array([t for t, *_ in shift.samples], np.int64)
    offsets = np.array([o for _, o, _, _ in shift.samples], np.int64)
    if len(times) == 1:
        return ts + offsets[0]
    i = np.clip(np.searchsorted(times, ts, side="right") - 1, 0, len(times) - 2)
    offset = offsets[i]
    if interpolates:
        delta = times[i + 1] - times[i]
        offset = offset + ((ts - times[i]).astype(object) * (offsets[i + 1] - offsets[i]) + delta // 2) // delta
        offset = offset.astype(np.int64)
    scaling = np.array([s for _, _, s, _ in shift.samples], np.int64)[i]
    fraction = np.array([f for *_, f in shift.samples], np.int64)[i]
    scaled = ts if not fraction.any() else ((ts.astype(object) * scaling) >> fraction).astype(np.int64)
    return scaled + offset


def _mended(parsed: ParsedFormat, system: str, long_size: int) -> ParsedFormat:
    """Stack records say ``caller[8]``; the record goes on as far as the stack is deep (kernel/trace/trace_entries.h)."""
    if system != "ftrace" or parsed.name not in ("kernel_stack", "user_stack"):
        return parsed
    fields = tuple(replace(f, kind="tail", size=0, item=long_size, count=0) if f.name == "caller" else f for f in parsed.fields)
    return replace(parsed, fields=fields)


def _uname(text: str | None) -> tuple[str | None, str | None, str | None]:
    """(release, machine, host) of "Linux HOST RELEASE MACHINE"."""
    parts = (text or "").split()
    if len(parts) < 4:
        return None, None, None
    return parts[-2], parts[-1], " ".join(parts[1:-2])


def _comms(cmdlines: bytes) -> dict[int, str]:
    comms = {}
    for line in cmdlines.decode("utf-8", "replace").splitlines():
        pid, _, comm = line.partition(" ")
        if pid.isdigit() and comm:
            comms[int(pid)] = comm
    return comms


def cached_symbols(kallsyms: bytes):  # type: ignore[no-untyped-def]
    """Symbols parsed when first asked for, once."""
    found: list[Symbols] = []

    def symbols() -> Symbols:
        if not found:
            found.append(Symbols.parse(kallsyms))
        return found[0]

    return symbols


def _read_cpustats(h: Head, info: TraceInfo) -> None:
    remedy = "record with a larger buffer (trace-cmd record -b KB) or fewer events"
    buffers: list[BufferData] = h.buffers or [BufferData("", None, h.page_size, [])]
    for i, text in enumerate(h.cpustats):
        cpu_line = re.match(r"CPU:\s*(\d+)", text)
        cpu = int(cpu_line[1]) if cpu_line else i
        per_buffer = max((len(b.cpus) for b in buffers), default=0) or 1
        buffer = buffers[min(i // per_buffer, len(buffers) - 1)].name if len(h.cpustats) > per_buffer else ""
        for kind, number in _COUNTS.findall(text):
            if int(number):
                kind = "dropped" if kind == "dropped events" else kind
                info.losses.append(LossNote(kind, cpu, int(number), remedy, buffer))


READER = TraceDat
__all__ = ["READER", "FormatError", "TraceDat"]
