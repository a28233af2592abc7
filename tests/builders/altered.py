"""A recorded trace, less some of its events, as if they had not been recorded: nothing counts them as lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lockscope.formats.open import open_trace
from lockscope.pipeline import AnalyzeOptions, examine
from lockscope.results.findings import Finding, Report, Severity
from lockscope.tables.events import LOSS, EventBatch, Reader, Wanted

Kept = Callable[[EventBatch], NDArray[np.bool_]]
Alarm = tuple[str, tuple[str, ...]]


class Recording:
    """A trace in memory."""

    def __init__(self, path: str) -> None:
        self.reader: Reader = open_trace(path)
        self.batches = list(self.reader.batches())
        self.begin = int(self.batches[0].ts_ns[0])
        self.end = int(self.batches[-1].ts_ns[-1])

    def paused(self, begin: int, end: int) -> Altered:
        """Nothing was recorded between these times."""
        return Altered(self, lambda b: (b.ts_ns < begin) | (b.ts_ns >= end))

    def without(self, kind: int, begin: int = 0, end: int = 1 << 62) -> Altered:
        """One type of events did not come between these times."""
        return Altered(self, lambda b: (b.kind != kind) | (b.ts_ns < begin) | (b.ts_ns >= end))

    def of_cpu(self, cpu: int) -> Altered:
        """One CPU alone."""
        cpus = np.array([s.cpu for s in self.reader.info.streams])
        return Altered(self, lambda b: cpus[b.stream] == cpu)

    def ended(self, at: int, *, cpu: int | None = None, buffer: str | None = None) -> Altered:
        """One CPU, or one buffer, ends at a time; the others go on."""
        its = np.array([buffer in (None, s.buffer) and cpu in (None, s.cpu) for s in self.reader.info.streams])
        return Altered(self, lambda b: ~its[b.stream] | (b.ts_ns < at))

    def shifted(self, by_ns: int, buffer: str) -> Altered:
        """One buffer on another clock: its events come so much later, all behind the others'."""
        its = np.array([s.buffer == buffer for s in self.reader.info.streams])
        found = Altered(self, lambda b: ~its[b.stream])
        moved = Altered(self, lambda b: its[b.stream])
        found.then = (moved, by_ns)
        return found

    def of_task(self, pid: int) -> Altered:
        """One task alone, as with set_event_pid."""
        return Altered(self, lambda b: pids(b) == pid)

    @property
    def kinds(self) -> list[int]:
        """The types of its events, by number."""
        return [int(k) for k in np.unique(np.concatenate([b.kind for b in self.batches])) if k > LOSS + 1]

    @property
    def tasks(self) -> list[int]:
        """The tasks with most events."""
        number, count = np.unique(np.concatenate([pids(b) for b in self.batches]), return_counts=True)
        return [int(p) for p in number[np.argsort(-count, kind="stable")][:6]]


class Altered:
    """A reader of what is left."""

    name = "altered"

    def __init__(self, of: Recording, kept: Kept) -> None:
        self.of, self.kept = of, kept
        self.info, self.formats = replace(of.reader.info), of.reader.formats
        self.then: tuple[Altered, int] | None = None

    @classmethod
    def sniff(cls, _: bytes) -> bool:
        return False

    def batches(self, wanted: Wanted | None = None, *, rows: int = 1 << 20) -> Iterator[EventBatch]:
        """See ``tables.events.Reader``."""
        del rows
        right = np.array([f.index == LOSS or wanted is None or wanted(f) for f in self.formats])
        first = 0
        for b in self.of.batches:
            i = np.flatnonzero(self.kept(b) & right[b.kind])
            yield EventBatch(
                b.data, b.ts_ns[i], b.at[i], b.size[i], b.kind[i], b.stream[i], first, b.layout, b.cut_streams
            )
            first += len(i)
        if self.then is not None:
            moved, by_ns = self.then
            for b in moved.batches(wanted):
                b.ts_ns, b.first_seq = b.ts_ns + by_ns, b.first_seq + first
                yield b


def pids(batch: EventBatch) -> NDArray[np.int64]:
    """Who made each event."""
    found = np.zeros(len(batch), np.int64)
    for k in range(4):
        at = batch.at + batch.layout.pid_at + (3 - k if batch.layout.big else k)
        found |= batch.data[np.clip(at, 0, len(batch.data) - 1)].astype(np.int64) << (8 * k)
    return found


def report_of(reader: Reader) -> Report:
    """Everything that is said of it."""
    return examine(reader, AnalyzeOptions())[0]


def alarms(report: Report) -> dict[Alarm, str]:
    """What was found at warning or error, with how sure it is."""

    def key(f: Finding) -> Alarm:
        return f.code, f.classes

    loud = [f for f in report.findings if f.severity is not Severity.INFO and f.code < "LS9"]
    return {key(f): str(f.confidence) for f in sorted(loud, key=lambda f: f.confidence, reverse=True)}


def fresh(whole: dict[Alarm, str], less: dict[Alarm, str]) -> list[tuple[Alarm, str]]:
    """Alarms of less evidence that the whole has not, or not as certain."""
    return sorted(
        (alarm, sure)
        for alarm, sure in less.items()
        if alarm not in whole or (sure == "certain" and whole[alarm] != "certain")
    )
