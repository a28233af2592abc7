"""Several files of one recording as one: ``--merge``. Their clocks have to be the same one, or corrected to it.

A guest's events keep their fields and get a system of their own (``guest/kvm``), so that no check takes its locks for
the host's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lockscope.errors import UsageError
from lockscope.formats.merge.rows import Part, merged_batches
from lockscope.formats.merge.terms import Span, check_clocks, guests_of, twice_recorded
from lockscope.formats.open import open_trace
from lockscope.tables.events import LOSS, UNKNOWN, EventBatch, EventFormat, Reader, Stream, TraceInfo, Wanted


def open_merged(paths: str | Sequence[str]) -> Reader:
    """A reader of all files as one trace. Raises ``UsageError`` with the reason where their clocks do not allow it."""
    paths = [paths] if isinstance(paths, str) else paths
    return Merged([open_trace(path) for path in paths]) if len(paths) > 1 else open_trace(paths[0])


class Merged:
    """Files of one recording. ``info.options["files"]``: their paths."""

    name: ClassVar[str] = "merged"

    @classmethod
    def sniff(cls, head: bytes) -> bool:  # noqa: ARG003 (a Reader's; no single file is one)
        """Never: no file is several."""
        return False

    def __init__(self, readers: list[Reader]) -> None:
        self.readers = readers
        self._guests = guests_of([r.info for r in readers])
        check_clocks([r.info for r in readers], self._guests)
        layouts = set()
        spans = []
        for reader in readers:
            span, layout = _scan(reader)
            spans.append(span)
            layouts |= {layout} if layout else set()
        if len(layouts) > 1:
            msg = f"--merge: {_names(readers)}: records of different layouts (byte order or word size) are no one trace"
            raise UsageError(msg)
        self._left_out, notes = twice_recorded([r.info.path for r in readers], spans, self._guests)
        self.formats: list[EventFormat] = [EventFormat(0, -1, "", "loss", ()), EventFormat(1, -1, "", "unknown", ())]
        self._numbers: list[list[int]] = [[LOSS, UNKNOWN] for _ in readers]
        self._streams: list[list[int]] = [[] for _ in readers]
        self.info = self._describe(notes)
        for i in range(len(readers)):
            self._add(i)

    def _describe(self, notes: list[str]) -> TraceInfo:
        host = next(r.info for i, r in enumerate(self.readers) if not self._guests[i])
        info = replace(host, path=_names(self.readers), streams=[], losses=[], notes=notes)
        info.comms, info.parents = dict(host.comms), {}
        info.format = "merged: " + " + ".join(r.info.format for r in self.readers)
        info.only_enabled = all(r.info.only_enabled for r in self.readers)
        info.ns_exact = all(r.info.ns_exact for r in self.readers)
        info.options = dict(host.options, files=[r.info.path for r in self.readers])
        for i, reader in enumerate(self.readers):
            info.cpus = max(info.cpus, reader.info.cpus)
            if not self._guests[i]:
                info.hashed_pointers |= reader.info.hashed_pointers
                for key in ("flags_unknown", "flags_hidden"):
                    if key in reader.info.options:
                        info.options.setdefault(key, reader.info.options[key])
                if not len(info.symbols().names):
                    info.symbols, info.symbol_address = reader.info.symbols, reader.info.symbol_address
        return info

    def _add(self, i: int) -> None:
        """Formats and streams that a reader has got since; text shows its own as it goes."""
        reader, guest = self.readers[i], self._guests[i]
        for fmt in reader.formats[len(self._numbers[i]) :]:
            index = len(self.formats)
            self._numbers[i].append(index)
            self.formats.append(replace(fmt, index=index, system=f"{guest}/{fmt.system}" if guest else fmt.system))
        for stream in reader.info.streams[len(self._streams[i]) :]:
            name = stream.buffer if not guest else f"{guest}:{stream.buffer}".rstrip(":")
            self._streams[i].append(len(self.info.streams))
            self.info.streams.append(Stream(stream.cpu, name, stream.clock or reader.info.clock, i))
        if guest:
            self.info.guest_comms[guest] = reader.info.comms
        else:
            for pid, comm in list(reader.info.comms.items()):
                self.info.comms.setdefault(pid, comm)
            self.info.parents.update(reader.info.parents)

    def _wanted(self, i: int, wanted: Wanted | None) -> Wanted:
        guest, left_out = self._guests[i], self._left_out[i]

        def wants(fmt: EventFormat) -> bool:
            if fmt.full_name in left_out:
                return False
            return wanted is None or wanted(replace(fmt, system=f"{guest}/{fmt.system}") if guest else fmt)

        return wants

    def batches(self, wanted: Wanted | None = None, *, rows: int = 1 << 18) -> Iterator[EventBatch]:
        """Events of all files in time order; see ``tables.events.Reader``."""
        share = max(rows // len(self.readers), 1)
        parts = [
            Part(reader.batches(self._wanted(i, wanted), rows=share), partial(self._maps, i))
            for i, reader in enumerate(self.readers)
        ]
        number = 0

        def told_twice(rows: int) -> None:
            nonlocal number
            number += rows

        yield from merged_batches(parts, self._places, told_twice)
        self._collect()
        if number:
            self.info.add([f"{number} events that two of the files have alike are taken once"], [])

    def _places(self) -> NDArray[np.int64]:
        """By stream, a number for its CPU and buffer."""
        numbers: dict[tuple[int, str], int] = {}
        found = [numbers.setdefault((s.cpu, s.buffer), len(numbers)) for s in self.info.streams]
        return np.array(found, np.int64)

    def _maps(self, i: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        self._add(i)
        return np.array(self._numbers[i], np.int32), np.array(self._streams[i], np.int32)

    def _collect(self) -> None:
        """What each reader says of its file, once it has been read."""
        for reader in self.readers:
            name = Path(reader.info.path).name
            notes = [f"{name}: {note}" for note in reader.info.notes]
            self.info.add(notes, reader.info.losses)


def _names(readers: Sequence[Reader]) -> str:
    return " + ".join(r.info.path for r in readers)


def _scan(reader: Reader) -> tuple[Span, object]:
    """One pass: when the file begins and ends, and which events it really has."""
    first, last, layout = (1 << 63) - 1, -(1 << 63), None
    counts = np.zeros(0, np.int64)
    for batch in reader.batches():
        if not len(batch):
            continue
        layout = batch.layout
        first, last = min(first, int(batch.ts_ns[0])), max(last, int(batch.ts_ns[-1]))
        fresh = np.bincount(batch.kind, minlength=len(counts))
        fresh[: len(counts)] += counts
        counts = fresh
    names = {reader.formats[i].full_name for i in np.flatnonzero(counts).tolist() if i > UNKNOWN}
    return Span(first, last, frozenset(names)), layout
