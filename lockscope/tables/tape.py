"""The tape's rows, and how sources become a plan for the compiled projection (``tables/ops.py`` says what they
mean).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lockscope.core import columns, tape_rows
from lockscope.registry import modules
from lockscope.tables.events import LOSS, EventBatch, EventFormat, Field
from lockscope.tables.lock_code import lock_code
from lockscope.tables.ops import SLOTS, TEXT_SLOTS, WIDTH, Op
from lockscope.tables.symbols import Symbols
from lockscope.tables.texts import Texts

SlotSource = str | int | tuple[str, ...]
CALLER = "callchain()"  # the innermost address of the callchain that is not of the code that takes locks


@dataclass(frozen=True, slots=True)
class Source:
    """Which event feeds an operation.

    ``event``: "system:name", or "*:name" for any system. ``slots``: by slot name, the field that fills it, several
    spellings (the first that the format has; "field[2]" is an element of an array), or an integer constant. A slot left
    out is filled from the field of its own name where there is one; "@" is the event's own name, ``CALLER`` who called
    by its callchain, 0 where it has none. ``requires``: fields without which the event is not this source,
    ``not_with``: with which it is not. ``*`` in the name stands for any text.
    """

    op: Op
    event: str
    slots: dict[str, SlotSource] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    not_with: tuple[str, ...] = ()

    def matches(self, fmt: EventFormat) -> bool:
        """Whether this format feeds the operation. "guest/kvm" is another kernel's, in a merged trace: never."""
        if "/" in fmt.system:
            return False
        system, _, name = self.event.partition(":")
        if system not in ("*", fmt.system) or not (fnmatchcase(fmt.name, name) if "*" in name else fmt.name == name):
            return False
        return all(fmt.field(f) for f in self.requires) and not any(fmt.field(f) for f in self.not_with)


@cache
def sources() -> tuple[Source, ...]:
    """All sources: the ``SOURCES`` of every ``tables/sources_*.py``."""
    found: list[Source] = []
    for module in modules("lockscope.tables"):
        found.extend(getattr(module, "SOURCES", ()))
    return tuple(found)


def source_of(fmt: EventFormat, among: frozenset[Op] | None = None) -> Source | None:
    """The source a format is, if any (of these operations)."""
    return next((s for s in sources() if (among is None or s.op in among) and s.matches(fmt)), None)


def _element(fmt: EventFormat, spelling: str) -> tuple[Field, int] | None:
    name, _, index = spelling.partition("[")
    found = fmt.field(name)
    return (found, int(index.rstrip("]")) if index else 0) if found else None


_CHAIN_HOW = {"before": columns.BEFORE, "data_loc": columns.DATA_LOC, "rel_loc": columns.REL_LOC}
_TEXT_HOW = {"data_loc": columns.DATA_LOC, "rel_loc": columns.REL_LOC, "string": columns.TEXT, "tail": columns.TAIL}


def callchain_place(fmt: EventFormat) -> tuple[int, int] | None:
    """How an event's callchain lies in its records, as ``core.columns.span`` has it, and where; None without one."""
    chain = fmt.field("callchain")
    how = _CHAIN_HOW.get(chain.kind) if chain is not None else None
    return (how, chain.offset) if chain is not None and how else None


def _slot_plan(fmt: EventFormat, source: Source, name: str) -> tuple[int, int, int, int]:
    wanted = source.slots.get(name, name)
    if isinstance(wanted, int):
        return columns.CONSTANT, wanted, 0, 0
    if wanted == CALLER:
        place = callchain_place(fmt)
        return (columns.CALLER, place[1], place[0], 0) if place else (columns.CONSTANT, 0, 0, 0)
    for spelling in (wanted,) if isinstance(wanted, str) else wanted:
        found = _element(fmt, spelling)
        if found is None:
            continue
        field_, index = found
        if name in TEXT_SLOTS:
            if field_.kind in _TEXT_HOW:
                return _TEXT_HOW[field_.kind], field_.offset, field_.size, 0
            continue
        if field_.kind in ("int", "array"):
            return (
                (columns.SIGNED if field_.signed else columns.UNSIGNED),
                field_.offset + index * field_.item,
                field_.item,
                0,
            )
    if name in TEXT_SLOTS:
        return columns.TEXT, -1, 0, 0  # nowhere in the record reads as the empty text, which has a number of its own
    return columns.CONSTANT, (-1 if name in ("vcpu_id", "ip", "ret") else 0), 0, 0


@dataclass(slots=True)
class TapeBatch:
    """Rows of the tape, in time order. ``slots`` int64[n, 12]: the bits of an unsigned value are kept."""

    ts_ns: NDArray[np.int64]
    cpu: NDArray[np.int32]
    pid: NDArray[np.int64]
    flags: NDArray[np.int64]
    preempt: NDArray[np.int64]
    op: NDArray[np.int64]
    slots: NDArray[np.int64]
    seq: NDArray[np.int64]
    stream: NDArray[np.int32]
    kind: NDArray[np.int32]  # the event's format
    held: NDArray[np.int64] | None = None  # [n, roles]: what the walk adds, see walk.walk
    vm: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.ts_ns)

    def of(self, *ops: Op) -> NDArray[np.int64]:
        """The rows that are one of these operations."""
        found = self.op == ops[0]
        for op in ops[1:]:
            found |= self.op == op
        return np.flatnonzero(found)

    def slot(self, op: Op, name: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """A named slot of rows of one operation, as int64 (view as uint64 for addresses and SPTEs)."""
        picked: NDArray[np.int64] = self.slots[rows, SLOTS[op].index(name)]
        return picked


@dataclass(frozen=True, slots=True)
class PackedTape:
    """All rows of a batch as the walk takes them, one cache line each: most are of locks, and only it reads those.

    ``head`` int64[n, 10]: ``core.tape_rows``. ``slots`` int64[]: each row's behind the one's before, as many as
    its operation has, and room for one more row. ``widths`` int64[formats]. The memory is used again some batches
    later.
    """

    head: NDArray[np.int64]
    slots: NDArray[np.int64]
    widths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.head)

    def rows(self, picked: NDArray[np.int64]) -> TapeBatch:
        """These rows as columns."""
        columns_of = np.empty((tape_rows.HEAD_WIDTH, len(picked)), np.int64)
        slots = np.empty((len(picked), WIDTH), np.int64)
        columns.unpack(self.head, self.slots, self.widths, picked, columns_of, slots)
        op, pid, flags, preempt, ts, seq, cpu, stream, kind, _ = columns_of
        small = (column.astype(np.int32) for column in (cpu, stream, kind))
        return TapeBatch(ts, next(small), pid, flags, preempt, op, slots, seq, next(small), next(small))


_ROUNDS = 4  # one made, one waiting, one walked, and one to spare


class _Room:
    """Memory for packed rows, used in turns: fresh memory costs more than filling it."""

    def __init__(self) -> None:
        self._turns = [(np.empty((0, tape_rows.HEAD_WIDTH), np.int64), np.empty(0, np.int64))] * _ROUNDS

    def take(self, rows: int, slots: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """At least so much."""
        head, values = self._turns.pop(0)
        if len(head) < rows:
            head = np.empty((rows + rows // 8, tape_rows.HEAD_WIDTH), np.int64)
        if len(values) < slots:
            values = np.empty(slots + slots // 8, np.int64)
        self._turns.append((head, values))
        return head, values


class Projector:
    """Turns event batches into rows of the tape. One per reading of a trace: it holds the texts seen.

    ``symbols``: of the kernel; without them nobody's caller is known.
    """

    def __init__(self, ops: frozenset[Op] | None = None, symbols: Callable[[], Symbols] = Symbols.none) -> None:
        self.ops = ops
        self._symbols = symbols
        self._code = np.zeros((0, 2), np.int64)
        self.texts = Texts()
        self._known = 0
        self._ops = np.zeros(0, np.int64)
        self._widths = np.zeros(0, np.int64)
        self._plan = np.zeros((0, WIDTH, 4), np.int64)
        self._room = _Room()

    def wants(self, fmt: EventFormat) -> bool:
        """Whether an event of this format makes a row."""
        return source_of(fmt, self.ops) is not None

    def _plan_for(self, formats: list[EventFormat]) -> None:
        if len(formats) == self._known:
            return
        ops, widths = np.zeros(len(formats), np.int64), np.zeros(len(formats), np.int64)
        plan = np.zeros((len(formats), WIDTH, 4), np.int64)
        ops[: self._known], widths[: self._known], plan[: self._known] = self._ops, self._widths, self._plan
        ops[LOSS], widths[LOSS] = Op.LOSS, len(SLOTS[Op.LOSS])
        for fmt in formats[self._known :]:
            source = source_of(fmt, self.ops)
            if source is None or fmt.index == LOSS:
                continue
            ops[fmt.index], widths[fmt.index] = source.op, len(SLOTS[source.op])
            for i, name in enumerate(SLOTS[source.op]):
                if source.slots.get(name) == "@":
                    plan[fmt.index, i] = columns.CONSTANT, self.texts.number(fmt.name), 0, 0
                else:
                    plan[fmt.index, i] = self._slot(fmt, source, name)
        self._ops, self._widths, self._plan, self._known = ops, widths, plan, len(formats)

    def _slot(self, fmt: EventFormat, source: Source, name: str) -> tuple[int, int, int, int]:
        found = _slot_plan(fmt, source, name)
        if found[0] != columns.CALLER:
            return found
        if not len(self._code):
            self._code = lock_code(self._symbols())
        return found if len(self._symbols().names) else (columns.CONSTANT, 0, 0, 0)

    def project(self, batch: EventBatch, formats: list[EventFormat], cpu_of: NDArray[np.int32]) -> PackedTape:
        """The rows of a batch. ``cpu_of``: a stream's CPU."""
        self._plan_for(formats)
        counts = np.bincount(batch.kind, minlength=len(formats))
        rows, room = int(counts[self._ops != 0].sum()), int(counts @ self._widths)
        gaps = _gaps(batch)
        head, slots = self._room.take(rows, room + WIDTH)
        lay = batch.layout
        common = np.array([lay.flags_at, lay.preempt_at, lay.pid_at, 1], np.int64)
        reached, done = 0, np.zeros(2, np.int64)
        while reached < len(batch):
            t = self.texts
            reached = columns.project(
                batch.data, batch.at, batch.size, batch.kind, batch.ts_ns, batch.stream, batch.first_seq, lay.big,
                common, cpu_of, self._ops, self._widths, self._plan, self._code, reached, done, head, slots,
                t.table, t.pool, t.ends, t.state,
            )  # fmt: skip
            if reached < len(batch):
                t.grow()
        used = int(done[1])
        slots[used : used + WIDTH] = 0
        tape = PackedTape(head[:rows], slots[: used + WIDTH], self._widths)
        return _with_gaps(tape, batch, gaps, cpu_of) if gaps else tape


def _gaps(batch: EventBatch) -> list[tuple[int, int]]:
    """(row behind which events of a stream are missing, stream); row -1: from the batch's beginning.

    A loss is known at the first event behind it. What other CPUs did in between is no evidence of what tasks hold that
    came from the lossy CPU, so the gap's beginning gets a row of its own, behind the stream's last event before it.
    """
    losses = np.flatnonzero(batch.kind == LOSS)
    streams = {int(batch.stream[row]) for row in losses} | set(batch.cut_streams)
    found = []
    for s in streams:
        rows = np.flatnonzero(batch.stream == s)
        before = np.searchsorted(rows, losses[batch.stream[losses] == s]) - 1
        found += [(int(rows[i]) if i >= 0 else -1, s) for i in before]
        if s in batch.cut_streams:
            found.append((int(rows[-1]) if len(rows) else -1, s))
    return sorted(found)


def _with_gaps(
    tape: PackedTape, batch: EventBatch, gaps: list[tuple[int, int]], cpu_of: NDArray[np.int32]
) -> PackedTape:
    """The tape with a GAP row where each gap begins."""
    rows = np.array([row for row, _ in gaps], np.int64)
    streams = np.array([s for _, s in gaps], np.int64)
    made = np.zeros((len(gaps), tape_rows.HEAD_WIDTH), np.int64)
    made[:, tape_rows.H_OP], made[:, tape_rows.H_KIND] = Op.GAP, LOSS
    made[:, tape_rows.H_TS] = batch.ts_ns[np.maximum(rows, 0)] if len(batch) else 0
    made[:, tape_rows.H_SEQ] = np.maximum(rows, 0) + batch.first_seq
    made[:, tape_rows.H_CPU], made[:, tape_rows.H_STREAM] = cpu_of[streams], streams
    made[:, tape_rows.H_SLOTS] = len(tape.slots) - WIDTH  # zeros
    at = np.searchsorted(tape.head[:, tape_rows.H_SEQ], rows + batch.first_seq, side="right")
    return PackedTape(np.insert(tape.head, at, made, axis=0), tape.slots, tape.widths)
