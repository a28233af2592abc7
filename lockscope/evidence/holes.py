"""Stretches that a reading takes for missing: their rows leave the tape, and every CPU has a gap there; and ends of
buffers, behind which the others' rows stay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lockscope.core import tape_rows as head
from lockscope.facts.interruptions import FOREVER, Hole
from lockscope.tables.events import LOSS, Stream
from lockscope.tables.ops import WIDTH, Op
from lockscope.tables.tape import PackedTape

_UNCOUNTED = -1


class Holes:
    """Puts holes into the tape, batch by batch, and gaps over all of it for CPUs that were not recorded."""

    def __init__(self, holes: Iterable[Hole] = (), absent: Iterable[int] = ()) -> None:
        self.holes = sorted(holes, key=lambda h: h.begin)
        self.absent = sorted(absent)
        self._begun = False

    def put(self, tape: PackedTape, first_seq: int, events: int, streams: Sequence[Stream]) -> PackedTape:
        """The rows of a batch of ``events`` events, from ``first_seq`` on, with the holes that it has a part of."""
        made: list[tuple[int, int, int, int, int]] = []  # before which event, operation, time, CPU, stream
        if self.absent and not self._begun and len(tape):
            self._begun = True
            made += [(first_seq, int(Op.GAP), int(tape.head[0, head.H_TS]), cpu, _stream(streams, cpu))
                     for cpu in self.absent]  # fmt: skip
        keep = np.ones(len(tape), np.bool_)
        seq = tape.head[:, head.H_SEQ]
        for hole in self.holes:
            if hole.begin >= first_seq + events or hole.seq < first_seq:
                continue
            inside = (seq >= hole.begin) & (seq < hole.seq)
            keep &= ~(inside & np.isin(tape.head[:, head.H_STREAM], hole.streams) if hole.streams else inside)
            each = [(s.cpu, i) for i, s in enumerate(streams) if s.cpu not in self.absent and _has(hole, i)]
            if first_seq <= hole.begin:
                made += [(hole.begin, int(Op.GAP), hole.start_ns, *at) for at in each]
            if hole.seq < first_seq + events and hole.end_ns < FOREVER:
                made += [(hole.seq, int(Op.LOSS), hole.end_ns, *at) for at in each]
        return _inserted(tape, keep, made) if made or not keep.all() else tape


def _has(hole: Hole, stream: int) -> bool:
    return not hole.streams or stream in hole.streams


def _stream(streams: Sequence[Stream], cpu: int) -> int:
    return next((i for i, s in enumerate(streams) if s.cpu == cpu), len(streams))


def _inserted(tape: PackedTape, keep: NDArray[np.bool_], made: Sequence[tuple[int, int, int, int, int]]) -> PackedTape:
    """The kept rows with those that were made. Slots: one that is -1, then zeros."""
    slots = np.concatenate((tape.slots[: len(tape.slots) - WIDTH], np.zeros(1 + WIDTH, np.int64)))
    slots[len(tape.slots) - WIDTH] = _UNCOUNTED
    rows = np.zeros((len(made), head.HEAD_WIDTH), np.int64)
    values = np.array(made, np.int64).reshape(-1, 5)
    rows[:, head.H_SEQ], rows[:, head.H_OP], rows[:, head.H_TS] = values[:, 0], values[:, 1], values[:, 2]
    rows[:, head.H_CPU], rows[:, head.H_STREAM], rows[:, head.H_KIND] = values[:, 3], values[:, 4], LOSS
    rows[:, head.H_SLOTS] = len(tape.slots) - WIDTH
    at = np.searchsorted(tape.head[keep][:, head.H_SEQ], values[:, 0], side="left")
    return PackedTape(np.insert(tape.head[keep], at, rows, axis=0), slots, tape.widths)
