"""One pass over ftrace text: chunks of lines in, columns of records out.

No Python runs for each line but where a text, task or flag is seen for the first time: a line's form is one regular
expression over a whole chunk, and what it found is looked up in dictionaries that fill themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lockscope.formats.text import lines
from lockscope.formats.text.body import NOTHING, Grammar
from lockscope.formats.text.shapes import Shape
from lockscope.tables.events import LOSS, UNKNOWN, EventFormat, LossNote, Stream, TraceInfo, Wanted

Row = tuple[bytes, ...]  # the groups of a line's form
Loss = tuple[int, bytes, bytes, int]  # before which row, buffer, CPU, how many (-1: unknown)
_ANY_CPU = b"any"

_CACHED = 1 << 16
_CACHED_BYTES = 512  # longer texts are not worth keeping, and 64 KiB ones would fill memory
_STREAMS = 1 << 16
_COMMS = 1 << 20
_MOST_SECONDS = (1 << 63) // 10**9 - 1
_MOST_NS = (1 << 63) - 1
_MORE_EVENTS = "record with larger buffers (trace-cmd record -b, buffer_size_kb), or fewer events"
_PRINTS = ("print", "bprint", "bputs")


class _Memo(dict[bytes, int]):
    """A function's results, remembered; forgets everything when there are too many."""

    def __init__(self, function: Callable[[bytes], int]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, key: bytes) -> int:
        if len(self) >= _CACHED:
            self.clear()
        value = self[key] = self._function(key)
        return value


class Catalogue(dict[bytes, tuple[int, bytes]]):
    """Event texts, each with its format's index and its record (common fields still zero). ``formats`` grows."""

    def __init__(self, grammar: Grammar, formats: list[EventFormat]) -> None:
        super().__init__()
        self.grammar, self.formats = grammar, formats
        self._kinds: dict[int, int] = {id(NOTHING): UNKNOWN}

    def __missing__(self, body: bytes) -> tuple[int, bytes]:
        shape, record = self.grammar.parse(body)
        kind = self._kinds.get(id(shape))
        found = (self._add(shape) if kind is None else kind), record
        if len(body) <= _CACHED_BYTES:
            if len(self) >= _CACHED:
                self.clear()
            self[body] = found
        return found

    def _add(self, shape: Shape) -> int:
        # Shapes live as long as the grammar, so that their identity is a key.
        kind = self._kinds[id(shape)] = len(self.formats)
        self.formats.append(EventFormat(kind, kind, shape.system, shape.name, shape.fields))
        return kind


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows of an ``EventBatch``."""

    data: bytearray
    ts: NDArray[np.int64]
    at: NDArray[np.int64]
    size: NDArray[np.int32]
    kind: NDArray[np.int32]
    stream: NDArray[np.int32]


@dataclass(slots=True)
class Ending:
    """What a pass found wrong."""

    notes: list[str] = field(default_factory=list)
    losses: list[LossNote] = field(default_factory=list)


class Reading:
    """A pass over the text. Feed ``columns`` with chunks of whole lines, then take ``last`` and ``ending``."""

    def __init__(self, facts: lines.Facts, catalogue: Catalogue, info: TraceInfo, wanted: Wanted | None) -> None:
        self._facts, self._catalogue, self._info, self._wanted = facts, catalogue, info, wanted
        self._flags = _Memo(lines.flag_reader(facts.roles, tracefs=facts.tracefs))
        self._tasks = _Memo(self._task)
        self._cpus = _Memo(lambda cpu: self._stream(b"", cpu))
        self._streams = {(s.buffer.encode(), s.cpu): i for i, s in enumerate(info.streams)}
        self._refused: dict[int, bool] = {}
        self._held: list[Row] = []  # the last event so far: the next line may belong to it
        self._losses: list[Loss] = []
        self._lost_anywhere = 0
        self._loss_buffer = b""
        self._line = self._rows = self._row = 0  # lines and rows before the chunk, the row that is looked at
        self._dump_buffer = b""  # of a dump in the kernel's log that is not the top buffer's
        self._any = self._shut = False  # events since the beginning, or that of a dump; whether the dump has ended
        self._last_ns = 0
        self._unparsed = self._long = self._backwards = 0
        self._unparsed_at: list[int] = []
        self.fruitless = 0  # bytes since the last event

    def columns(self, chunk: bytes) -> Columns | None:
        """The events that are complete with this chunk, unwanted ones left out; None if there is none."""
        if self._facts.logged:
            chunk = lines.LOGGED.sub(b"", chunk)
        fresh: list[Row] = self._facts.form.findall(chunk)
        rows = self._held + fresh
        losses, self._losses = self._losses, []
        if self._dump_buffer or any(row[lines.OTHER] for row in fresh):
            rows = self._sort_out(rows, losses, chunk)
        self._any = self._any or len(rows) > len(self._held)
        self._rows += len(fresh)
        self._line += chunk.count(b"\n")
        self.fruitless = 0 if len(rows) > len(self._held) else self.fruitless + len(chunk)
        self._held = [rows.pop()] if rows else []
        done = [loss for loss in losses if loss[0] < len(rows)]
        self._losses = [(place - len(rows), b, c, n) for place, b, c, n in losses if place >= len(rows)]
        return self._build(rows, done) if rows else None

    def last(self) -> Columns | None:
        """What was held back for a line that might have belonged to it."""
        rows, self._held = self._held, []
        return self._build(rows, self._losses) if rows or self._losses else None

    def too_long(self) -> None:
        """A line beyond the limit was left out."""
        self._long += 1

    def ending(self, broken: str | None, *, given_up: bool) -> Ending:
        """Notes and losses of the pass. ``broken``: what ended the data early."""
        ending = Ending()
        self._info.cpus = max([self._info.cpus, *(s.cpu + 1 for s in self._info.streams)])
        self._info.hashed_pointers |= self._catalogue.grammar.hashed
        if self._catalogue.grammar.printk_names:
            self._info.options["printk_functions"] = sorted(self._catalogue.grammar.printk_names)
        if any(f.name == "bprint" and f.field("fmt") for f in self._catalogue.formats):
            ending.notes.append("trace-cmd report -R prints no text of trace_printk(): no such marker is seen")
        if self._backwards:
            ending.notes.append(f"times run backwards at {self._backwards} places: sorted where they are close")
        if self._unparsed:
            where = ", ".join(map(str, self._unparsed_at)) + ", ..." * (self._unparsed > len(self._unparsed_at))
            ending.notes.append(f"{self._unparsed} lines are no event's: line {where}")
            ending.losses.append(LossNote("unparsed", None, self._unparsed, "record as trace.dat, which is not text"))
        if self._long:
            ending.notes.append(f"{self._long} lines are longer than {lines.LINE_LIMIT} bytes and were left out")
            ending.losses.append(LossNote("unparsed", None, self._long, "record as trace.dat"))
        if broken or given_up:
            silent = f"stopped at line {self._line}: no event for {self.fruitless >> 20} MiB"
            ending.notes.append(f"the compressed data is damaged: {broken}" if broken else silent)
            ending.losses.append(LossNote("truncated", None, None, "copy the file again, or look at its end"))
        return ending

    def _task(self, task: bytes) -> int:
        comm, _, digits = task.rpartition(b"-")
        pid = min(int(digits), 0x7FFFFFFF)
        if comm != b"<...>":
            self._name(pid, comm)
        return pid

    def _name(self, pid: int, comm: bytes) -> None:
        if len(self._info.comms) < _COMMS:
            self._info.comms[pid] = comm.decode("utf-8", "replace")

    def _stream(self, buffer: bytes, cpu: bytes) -> int:
        key = (buffer, int(cpu))
        index = self._streams.get(key)
        if index is None:
            if len(self._streams) >= _STREAMS:
                return 0
            index = self._streams[key] = len(self._info.streams)
            self._info.streams.append(Stream(key[1], buffer.decode("utf-8", "replace")))
        return index

    def _sort_out(self, rows: Sequence[Row], losses: list[Loss], chunk: bytes) -> list[Row]:
        """The event rows; losses, continued texts and lines of no event are taken out of the others."""
        kept: list[Row] = []
        more: list[bytes] = []  # lines that belong to the last event
        room = 0
        for number, row in enumerate([*rows, None], self._rows - len(self._held)):
            self._row = number
            other = row[lines.OTHER] if row else b""
            if not other and more:
                kept[-1] = (*kept[-1][: lines.BODY], b"\n".join((kept[-1][lines.BODY], *more)), b"")
                more = []
            if row is None:
                break
            if not other:
                # trace-cmd prints the buffer's name once, before the loss (trace-read.c, process_record())
                adopted = self._loss_buffer or self._dump_buffer
                kept.append((adopted, *row[1:]) if adopted and not row[lines.BUFFER] else row)
                self._loss_buffer = b""
                self._any = True
                room = lines.LINE_LIMIT - len(row[lines.BODY])
                continue
            loss = self._loss(other, len(kept))
            if loss:
                losses.append(loss)
                self._loss_buffer = loss[1]
            elif self._is_no_event(other):
                continue
            elif kept and room > len(other) and (more or self._continues(kept[-1][lines.BODY], other)):
                more.append(other.rstrip(b"\r"))
                room -= len(other) + 1
            else:
                self._note_unparsed(other, chunk)
        return kept

    def _loss(self, line: bytes, place: int) -> Loss | None:
        loss = lines.LOSS.fullmatch(line)
        if loss:
            return place, loss[1] or b"", loss[2], int(loss[3]) if loss[3] else -1
        anywhere, total = lines.LOSS_ANYWHERE.fullmatch(line), lines.LOSS_TOTAL.fullmatch(line)
        if not anywhere and not total:
            return None
        count = int(anywhere[1]) if anywhere else max(int(total[1]) - self._lost_anywhere, 0) if total else 0
        self._lost_anywhere += count
        return (place, b"", _ANY_CPU, count) if count else None

    def _is_no_event(self, line: bytes) -> bool:
        """Whether a line is known to be no event's, and so nothing that was lost."""
        dump = lines.DUMP.fullmatch(line)
        if dump:
            self._any = self._shut = False
            self._dump_buffer = dump[1] or b""
        elif lines.RULE.fullmatch(line):
            self._shut = self._any
        if dump or lines.RULE.fullmatch(line) or lines.LOSS_TOTAL.fullmatch(line):
            return True
        # What a tool or a log says before the first event and behind a dump is nobody's event, unless it has a time.
        said = self._shut or (not self._any and not lines.TIMED.search(line))
        return said or lines.NO_EVENT.fullmatch(line) is not None

    def _on_every_cpu(self, loss: Loss) -> list[Loss]:
        """A loss of no known CPU as one of each that there is; counted once."""
        place, buffer, cpu, count = loss
        if cpu != _ANY_CPU:
            return [loss]
        cpus = [b"%d" % s.cpu for s in self._info.streams if not s.buffer] or [b"0"]
        return [(place, buffer, cpu, 0 if i else count) for i, cpu in enumerate(cpus)]

    def _continues(self, body: bytes, line: bytes) -> bool:
        if lines.FRAME.match(line):
            return b"stack trace" in body
        return self._catalogue.formats[self._catalogue[body][0]].name in _PRINTS

    def _note_unparsed(self, line: bytes, chunk: bytes) -> None:
        self._unparsed += 1
        if len(self._unparsed_at) < 5:
            place = 0 if chunk.startswith(line) else chunk.find(b"\n" + line) + 1
            self._unparsed_at.append(self._line + chunk.count(b"\n", 0, place) + 1)

    def _wants(self, kind: int) -> bool:
        wanted = self._refused.get(kind)
        if wanted is None:
            wanted = self._wanted is None or self._wanted(self._catalogue.formats[kind])
            self._refused[kind] = wanted
        return wanted

    def _times(self, whole: Sequence[bytes], fractions: Sequence[bytes]) -> NDArray[np.int64]:
        digits = set(map(len, fractions))
        if digits == {0}:
            unit = 1000 if self._facts.relative else 1
            return _integers(whole, _MOST_NS // unit) * unit
        seconds = _integers(whole, _MOST_SECONDS)
        if len(digits) > 1:
            fractions = [fraction.ljust(9, b"0") for fraction in fractions]
        scale = 10 ** (9 - len(fractions[0]))
        ns: NDArray[np.int64] = seconds * 10**9 + _integers(fractions, 10**9) * scale
        return ns

    def _build(self, rows: Sequence[Row], losses: Sequence[Loss]) -> Columns | None:
        if rows:
            buffers, tasks, cpus, flags, whole, fractions, bodies, _ = zip(*rows, strict=True)
        else:
            buffers = tasks = cpus = flags = whole = fractions = bodies = ()
        ts = self._times(whole, fractions) if rows else np.zeros(0, np.int64)
        found = list(map(self._catalogue.__getitem__, bodies))
        kinds = [kind for kind, _ in found]
        records = [record for _, record in found]
        if any(buffers):
            stream = [self._stream(buffer, cpu) for buffer, cpu in zip(buffers, cpus, strict=True)]
        else:
            stream = list(map(self._cpus.__getitem__, cpus))
        pid = np.array(list(map(self._tasks.__getitem__, tasks)), np.int64)
        marks = np.array(list(map(self._flags.__getitem__, flags)), np.int64)
        kind, streams = np.array(kinds, np.int32), np.array(stream, np.int32)
        losses = [each for loss in losses for each in self._on_every_cpu(loss)]
        places = np.array([loss[0] for loss in losses], np.int64)
        self._backwards += int(np.count_nonzero(np.diff(ts, prepend=self._last_ns) < 0))
        loss_ts = self._loss_times(ts, places)
        refused = [k for k in set(kinds) if not self._wants(k)]
        if refused:
            keep = np.flatnonzero(~np.isin(kind, refused))
            records = [records[i] for i in keep.tolist()]
            ts, kind, streams, pid, marks = ts[keep], kind[keep], streams[keep], pid[keep], marks[keep]
            places = np.searchsorted(keep, places)
        size = np.array(list(map(len, records)), np.int32)
        data = bytearray(b"".join(records))
        at = np.cumsum(size, dtype=np.int64) - size
        _put_common(np.frombuffer(data, np.uint8), at, kind, marks, pid)
        if losses:
            count = [loss[3] for loss in losses]
            of = [self._stream(buffer, cpu) for _, buffer, cpu, _ in losses]
            ts, at, size = np.insert(ts, places, loss_ts), np.insert(at, places, count), np.insert(size, places, 0)
            kind, streams = np.insert(kind, places, LOSS), np.insert(streams, places, of)
        return Columns(data, ts, at, size, kind, streams)

    def _loss_times(self, ts: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
        # A loss is printed before the first event behind it; the last one of a text may have none.
        if len(ts):
            self._last_ns = int(ts[-1])
        return np.append(ts, self._last_ns)[np.minimum(places, len(ts))]


def _integers(texts: Sequence[bytes], most: int) -> NDArray[np.int64]:
    numbers = np.array(list(map(int, texts)), np.uint64)
    return np.minimum(numbers, np.uint64(most)).astype(np.int64)


def _put_common(
    data: NDArray[np.uint8], at: NDArray[np.int64], kind: NDArray[np.int32], marks: NDArray[np.int64],
    pid: NDArray[np.int64],
) -> None:  # fmt: skip
    data[at], data[at + 1] = kind & 0xFF, kind >> 8 & 0xFF
    data[at + 2], data[at + 3] = marks & 0xFF, marks >> 8 & 0xFF
    for i in range(4):
        data[at + 4 + i] = pid >> 8 * i & 0xFF
