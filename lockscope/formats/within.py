"""A stretch of a trace as a trace of its own: what a recording of just that time would have been."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import numpy as np

from lockscope.errors import MatchError, UsageError
from lockscope.tables.events import EventBatch, Reader, Wanted
from lockscope.units import moment, seconds


class Within:
    """A reader's events of the half-open stretch [start_ns, end_ns); None is no bound."""

    name: ClassVar[str] = "within"

    @classmethod
    def sniff(cls, head: bytes) -> bool:  # noqa: ARG003 (a Reader's; no file is one)
        """Never: it stands for a reader that was found already."""
        return False

    def __init__(self, reader: Reader, start_ns: int | None, end_ns: int | None) -> None:
        self._reader, self.info, self.formats = reader, reader.info, reader.formats
        self._start, self._end = start_ns, end_ns

    def batches(self, wanted: Wanted | None = None, *, rows: int = 1 << 20) -> Iterator[EventBatch]:
        """The reader's batches, cut; see ``tables.events.Reader``."""
        for batch in self._reader.batches(wanted, rows=rows):
            ts = batch.ts_ns
            first = 0 if self._start is None else int(np.searchsorted(ts, self._start))
            last = len(ts) if self._end is None else int(np.searchsorted(ts, self._end))
            if first < last:
                yield _rows(batch, first, last) if last - first < len(ts) else batch
            if last < len(ts):
                return  # in order of time: nothing that follows is wanted


def _rows(batch: EventBatch, first: int, last: int) -> EventBatch:
    cut = {name: getattr(batch, name)[first:last] for name in ("ts_ns", "at", "size", "kind", "stream")}
    ends = batch.cut_streams if last == len(batch) else ()
    return replace(batch, **cut, first_seq=batch.first_seq + first, cut_streams=ends)


def within(reader: Reader, from_: str | None, to: str | None) -> Reader:
    """The stretch between two times as the command line has them. Raises ``UsageError`` for no time, and where the
    trace has nothing of it.
    """
    if from_ is None and to is None:
        return reader
    span = _span(reader)
    bounds = _at("--from", from_, span), _at("--to", to, span)
    where = f"{reader.info.path} is from {seconds(span[0])} to {seconds(span[1])}"
    if bounds[0] is not None and bounds[0] > span[1]:
        raise MatchError("--from", seconds(bounds[0]), where)
    if bounds[1] is not None and bounds[1] <= span[0]:
        raise MatchError("--to", seconds(bounds[1]), where)
    return Within(reader, *bounds)


def _span(reader: Reader) -> tuple[int, int]:
    first, last = None, 0
    for batch in reader.batches():
        if len(batch):
            first = int(batch.ts_ns[0]) if first is None else first
            last = int(batch.ts_ns[-1])
    return first or 0, last


def _at(option: str, text: str | None, span: tuple[int, int]) -> int | None:
    if text is None:
        return None
    try:
        origin, ns = moment(text)
    except ValueError as error:
        msg = f"{option}: {error}"
        raise UsageError(msg) from None
    return {"": ns, "+": span[0] + ns, "-": span[1] - ns}[origin]
