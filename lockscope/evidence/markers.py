"""Windows: stretches between two marker events (print, bprint, bputs, trace_marker writes) whose text matches."""

from __future__ import annotations

import re

import numpy as np

from lockscope.core.tape_rows import H_SEQ
from lockscope.errors import MatchError
from lockscope.evidence.evidence import Window
from lockscope.tables.binary_print import PrintFormats, render
from lockscope.tables.events import EventBatch, EventFormat, TraceInfo
from lockscope.tables.tape import PackedTape

_TEXTS_KEPT = 1000
_MARKERS = ("print", "bprint", "bputs", "tracing_mark_write")


class Markers:
    """Finds the windows of a trace, batch by batch. Without patterns it finds none and costs nothing."""

    def __init__(self, info: TraceInfo, start: str | None, end: str | None) -> None:
        from lockscope.errors import UsageError

        if bool(start) != bool(end):
            msg = "--window-start and --window-end go together: one of them is missing"
            raise UsageError(msg)
        self.wanted = bool(start)
        self._start, self._end = (_compiled(p, o) for p, o in ((start, "--window-start"), (end, "--window-end")))
        self._info = info
        self._formats: PrintFormats | None = None
        self._found: list[tuple[str, int, int | None]] = []
        self._closed = False
        self._texts: dict[str, None] = {}  # for who mistyped a pattern

    def windows(self, end_ns: int) -> list[Window]:
        """All windows so far; one that was never closed ends with the trace."""
        return [Window(name, begin, end_ns if end is None else end) for name, begin, end in self._found]

    def refuse_unmatched(self) -> None:
        """Raise ``MatchError`` where no marker began a window, or several began and none ended one.

        One that never ends is a recording that stopped in it; several are a pattern that matches nothing.
        """
        if not self.wanted or (self._found and (self._closed or len(self._found) == 1)):
            return
        option, pattern = ("--window-end", self._end) if self._found else ("--window-start", self._start)
        what = f"no marker of {self._info.path} matches" if self._texts else f"{self._info.path} has no marker"
        raise MatchError(option, pattern.pattern if pattern else "", what, self._texts)

    def in_batch(self, batch: EventBatch, tape: PackedTape, formats: list[EventFormat]) -> list[tuple[int, int]]:
        """(row of the tape, number of the window that begins there, or -1 where one ends)."""
        if not self.wanted or not len(batch):
            return []
        kinds = [f.index for f in formats if f.name in _MARKERS and f.system in ("ftrace", "")]
        marks = []
        for row in np.flatnonzero(np.isin(batch.kind, kinds)).tolist():
            window = self._window(self._text(batch, row, formats[batch.kind[row]]), int(batch.ts_ns[row]))
            if window is not None:
                marks.append((int(np.searchsorted(tape.head[:, H_SEQ], batch.first_seq + row)), window))
        return marks

    def _window(self, text: str, ts: int) -> int | None:
        if len(self._texts) < _TEXTS_KEPT:
            self._texts[text.rstrip("\n")] = None
        is_open = bool(self._found) and self._found[-1][2] is None
        begins = self._start.search(text) if self._start else None
        if begins:
            if is_open:
                self._found[-1] = (*self._found[-1][:2], ts)
            name = begins.groupdict().get("name") or begins.group(0)
            self._found.append((name, ts, None))
            return len(self._found) - 1
        if is_open and self._end and self._end.search(text):
            self._closed = True
            self._found[-1] = (*self._found[-1][:2], ts)
            return -1
        return None

    def _text(self, batch: EventBatch, row: int, fmt: EventFormat) -> str:
        if self._formats is None:
            self._formats = PrintFormats(self._info.options.get("printk", b""), self._info.symbols())
        return render(batch, row, fmt, self._formats)


def _compiled(pattern: str | None, option: str) -> re.Pattern[str] | None:
    from lockscope.errors import UsageError

    if not pattern:
        return None
    try:
        return re.compile(pattern)
    except re.error as wrong:
        msg = f"{option} {pattern!r} is no regular expression: {wrong}"
        raise UsageError(msg) from wrong
