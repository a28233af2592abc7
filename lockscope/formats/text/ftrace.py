"""ftrace as text: ``trace`` and ``trace_pipe`` of tracefs, and ``trace-cmd report``; plain, gzip, xz or zstd.

Lines become binary records, so that everything behind is the same as for a trace.dat. What text cannot give is said in
``TraceInfo``: addresses that ``%p`` has hashed, microseconds, flags that were not printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import ClassVar

import numpy as np

from lockscope.errors import FormatError
from lockscope.formats.files.compressed import HEAD, Stream, open_stream
from lockscope.formats.perf.layout import Kernel
from lockscope.formats.symbols.kallsyms import kallsyms_of
from lockscope.formats.text import lines
from lockscope.formats.text.body import Grammar
from lockscope.formats.text.reading import Catalogue, Columns, Reading
from lockscope.tables.events import LOSS, EventBatch, EventFormat, LossNote, RecordLayout, TraceInfo, Wanted
from lockscope.tables.symbols import Symbols, address_in

_GIVE_UP = 64 << 20  # bytes without one event: no trace, or no trace any more
_LARGER_BUFFER = "record with larger buffers (trace-cmd record -b, buffer_size_kb), or fewer events"


class FtraceText:
    """A reader of ftrace text. Raises ``FormatError`` where no line is an event's, ``UsageError`` for no such file.

    ``info.options``: "text" ("tracefs" or "trace-cmd"); "flags_unknown" True where no irq flags were printed (they are
    0 then); "flags_hidden", the bits of them that the text never shows; "raw_time" True where times are numbers of an
    unknown clock; "printk_functions", names that were taken for callers of trace_printk().
    """

    name: ClassVar[str] = "ftrace text"

    @classmethod
    def sniff(cls, head: bytes) -> bool:
        """Whether text beginning so has ftrace's header or one line of an event."""
        return lines.facts(head) is not None

    def __init__(self, path: str) -> None:
        self._path = str(path)
        with open_stream(self._path) as stream:
            head = stream.read(HEAD)
            codec, broken = stream.codec, stream.broken
        found = self._facts(head)
        if found is None:
            hint = f"the {codec} data is damaged: {broken}" if broken else ""
            raise FormatError(path, "line 1", f"no line of {self.name}", hint)
        if found.tracer == "function_graph" and not found.rows:
            raise FormatError(path, "line 1", "function_graph text, which has no time, task or CPU on its lines",
                              "read the binary trace, or trace-cmd report's text")  # fmt: skip
        if not found.rows and not lines.NO_EVENT.fullmatch(_first_other(head)):
            raise FormatError(path, f"line {_line_of_first_other(head)}", "no line of an event")
        self.facts = found
        self.formats: list[EventFormat] = [EventFormat(0, -1, "", "loss", ()), EventFormat(1, -1, "", "unknown", ())]
        self._catalogue = Catalogue(self._grammar(), self.formats)
        self.info = self._describe(codec)
        kallsyms = cache(lambda: kallsyms_of(self._path, Kernel()))
        self.info.symbols = cache(lambda: Symbols.parse(kallsyms()))
        self.info.symbol_address = lambda name: address_in(kallsyms(), name)
        for row in found.rows:
            self._catalogue.grammar.parse(row[lines.BODY])
        self.info.hashed_pointers = self._catalogue.grammar.hashed
        if self.info.hashed_pointers:
            self.info.notes.append("addresses are hashed (%p): equal ones are equal, but without symbols or distances")
        self._notes, self._losses = list(self.info.notes), list(self.info.losses)

    @staticmethod
    def _facts(head: bytes) -> lines.Facts | None:
        return lines.facts(head)

    def _grammar(self) -> Grammar:
        return Grammar(self.facts.kernel, tracefs=self.facts.tracefs, only_functions=self.facts.tracer == "function")

    def _reading(self, wanted: Wanted | None) -> Reading:
        return Reading(self.facts, self._catalogue, self.info, wanted)

    def _describe(self, codec: str | None) -> TraceInfo:
        f = self.facts
        kind = "tracefs text" if f.tracefs else "trace-cmd report text"
        kind += ", latency format" if f.form is lines.LATENCY else ""
        info = TraceInfo(self._path, f"{kind} ({codec})" if codec else kind)
        info.kernel, info.cpus = f.kernel, f.cpus
        info.options["text"] = "tracefs" if f.tracefs else "trace-cmd"
        info.ns_exact = f.digits > 6
        if not info.ns_exact:
            info.notes.append("times are in microseconds: events of one microsecond are in the order of the text")
        if f.relative:
            info.notes.append("latency format: times count from the start of the trace, names have eight characters")
        elif not f.digits:
            info.options["raw_time"] = True
            info.notes.append("times are numbers of a clock that is not named: taken for nanoseconds")
        flags = f.rows[0][lines.FLAGS] if f.rows else b"....."
        if not flags:
            info.options["flags_unknown"] = True
            info.notes.append("no irq context on the lines (options/irq-info, trace-cmd report -l): all is task's")
        elif not f.tracefs and not flags.startswith(b"-0x"):
            info.options["flags_hidden"] = lines.TRACE_CMD_HIDES
            info.notes.append("trace-cmd report does not print whether softirqs are off, nor NMI context")
        if not f.tracefs:
            info.notes.append("trace-cmd report prints a preempted task (R+) and an idle one (I) as R, unless with -R")
        if f.bh_shown and f.tracefs:
            info.options["bh_shown"] = True
        if f.overwritten:
            info.losses.append(LossNote("overrun", None, f.overwritten, _LARGER_BUFFER))
        return info

    def batches(self, wanted: Wanted | None = None, *, rows: int = 1 << 20) -> Iterator[EventBatch]:
        """The events of wanted formats, in the text's order. See ``tables.events.Reader``; raises ``FormatError``."""
        reading = self._reading(wanted)
        parts: list[Columns] = []
        first_seq = held = 0
        given_up = False
        with open_stream(self._path) as stream:
            for chunk in _chunks(stream, min(1 << 20, max(1 << 14, rows * 64)), reading):
                part = reading.columns(chunk)
                if part is not None:
                    parts.append(part)
                    held += len(part.ts)
                if held >= rows:
                    yield _joined(parts, first_seq)
                    first_seq, held, parts = first_seq + held, 0, []
                given_up = reading.fruitless > _GIVE_UP
                if given_up:
                    break
            part = reading.last()
            broken = stream.broken
        if part is not None:
            parts.append(part)
        if parts:
            yield _joined(parts, first_seq)
        ending = reading.ending(broken, given_up=given_up)
        self.info.notes, self.info.losses = self._notes + ending.notes, self._losses + ending.losses


def _first_other(head: bytes) -> bytes:
    return next((line for line in head.split(b"\n") if not lines.NO_EVENT.fullmatch(line)), b"")


def _line_of_first_other(head: bytes) -> int:
    rows = head.split(b"\n")
    return next((i for i, line in enumerate(rows, 1) if not lines.NO_EVENT.fullmatch(line)), 1)


def _chunks(stream: Stream, size: int, reading: Reading) -> Iterator[bytes]:
    """Whole lines, some ``size`` bytes of them at a time. A line beyond the limit is left out and counted."""
    rest, skipping = b"", False
    while fresh := stream.read(size):
        if skipping:
            end = fresh.find(b"\n")
            skipping = end < 0
            fresh = b"" if skipping else fresh[end + 1 :]
            reading.fruitless += size
        chunk = rest + fresh
        end = chunk.rfind(b"\n") + 1
        rest = chunk[end:]
        if len(rest) > lines.LINE_LIMIT:
            reading.too_long()
            rest, skipping = b"", True
        yield chunk[:end]
    if rest:
        yield rest


def _joined(parts: list[Columns], first_seq: int) -> EventBatch:
    starts = np.cumsum([0, *(len(part.data) for part in parts)])
    at = [np.where(part.kind == LOSS, part.at, part.at + start) for part, start in zip(parts, starts, strict=False)]
    ts = np.concatenate([part.ts for part in parts])
    rows = (
        ts,
        np.concatenate(at),
        np.concatenate([part.size for part in parts]),
        np.concatenate([part.kind for part in parts]),
        np.concatenate([part.stream for part in parts]),
    )
    if np.any(np.diff(ts) < 0):  # trace_pipe merges CPUs only as far as they have come
        order = np.argsort(ts, kind="stable")
        rows = (ts[order], rows[1][order], rows[2][order], rows[3][order], rows[4][order])
    data = np.frombuffer(bytearray().join(part.data for part in parts), np.uint8)
    return EventBatch(data, *rows, first_seq, RecordLayout())
