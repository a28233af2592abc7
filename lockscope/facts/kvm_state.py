"""State that compiled loops about KVM keep between batches: hash tables and rows that grow before they are full."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockscope.core.c_types import Row
from lockscope.core.kvm_tables import (
    C_CPU,
    C_FLAGS,
    C_HOW,
    C_OP,
    C_OWN,
    C_PID,
    C_ROW,
    C_SEQ,
    C_TS,
    C_VM,
)  # fmt: skip
from lockscope.core.numbering import number_all, rehash
from lockscope.tables.ops import SLOTS, Op
from lockscope.tables.tape import TapeBatch

_MOST_DISTINCT = 1 << 18
_MOST = 1 << 23  # keys; what a hostile or endless trace brings beyond that is forgotten, and said so


class OpIndex:
    """The rows of a batch by operation, found once for all facts that ask. ``tasks``, ``cpus``: how many of them."""

    def __init__(self, batch: TapeBatch) -> None:
        self._batch = batch
        pids, cpus = Distinct(), Distinct()
        pids.number(batch.pid)
        cpus.number(batch.cpu)
        self.tasks, self.cpus = len(pids), len(cpus)
        self._ops = batch.op.astype(np.uint8)
        self._order = np.argsort(self._ops, kind="stable")  # of bytes: a radix sort
        self._bounds = np.concatenate(([0], np.cumsum(np.bincount(self._ops, minlength=256))))

    def of(self, op: Op) -> NDArray[np.int64]:
        """The rows of an operation, in order."""
        return self._order[self._bounds[op] : self._bounds[op + 1]]

    def any_of(self, ops: frozenset[Op]) -> NDArray[np.int64]:
        """The rows of several operations, in order."""
        wanted = np.zeros(256, np.bool_)
        wanted[list(ops)] = True
        return np.flatnonzero(wanted[self._ops])

    def slot(self, op: Op, name: str) -> NDArray[np.int64]:
        """A slot of all rows of an operation."""
        found: NDArray[np.int64] = self._batch.slots[self.of(op), SLOTS[op].index(name)]
        return found


def columns_of(batch: TapeBatch, rows: NDArray[np.int64], how: NDArray[np.int64], own: int = 0) -> NDArray[np.int64]:
    """The rows as a loop takes them (``core.kvm_tables``), with room for ``own`` more columns."""
    cols = np.empty((C_OWN + own, len(rows)), np.int64)
    cols[C_ROW], cols[C_HOW], cols[C_OWN:] = rows, how, 0
    given = ((C_TS, batch.ts_ns), (C_SEQ, batch.seq), (C_CPU, batch.cpu), (C_PID, batch.pid), (C_FLAGS, batch.flags),
             (C_OP, batch.op), (C_VM, batch.vm))  # fmt: skip
    for column, values in given:
        if values is None:
            cols[column] = 0
        elif values.dtype == np.int64:
            np.take(values, rows, out=cols[column], mode="clip")  # checked modes take a detour through a copy
        else:
            cols[column] = values[rows]
    return cols


class Table:
    """Keys, their numbers, and a row by number; without ``kind`` it is an int64."""

    def __init__(self, kind: type[Row] | None = None, room: int = 256) -> None:
        self._kind = kind
        self.forgotten = 0
        self._empty(room)

    def _empty(self, room: int) -> None:
        self.table: NDArray[np.int64] = np.zeros(2 + 8 * room, np.int64)
        self.rows = self._rows(room)

    def _rows(self, number: int) -> NDArray[Any]:
        return np.zeros(number, np.int64) if self._kind is None else self._kind.many(number)

    def __len__(self) -> int:
        return int(self.table[0])

    def make_room(self, more: int) -> None:
        """Let ``more`` new keys fit. Beyond a limit that only a hostile or endless trace reaches, all is forgotten."""
        if len(self) > _MOST:
            self.forgotten += len(self)
            self._empty(1 << max(8, int(more).bit_length()))
        need = len(self) + more + 2
        if need > len(self.rows):
            grown = self._rows(1 << int(need).bit_length())
            grown[: len(self)] = self.rows[: len(self)]
            self.rows = grown
        if 4 * need > len(self.table):
            table = np.zeros(2 + (1 << int(4 * need).bit_length()), np.int64)
            rehash(self.table, table)
            self.table = table


class Distinct:
    """Values, numbered in order of first sight: what ``np.unique`` would sort, in one pass."""

    def __init__(self) -> None:
        self._table = Table(None, 64)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def values(self) -> NDArray[np.int64]:
        """The values by number."""
        found: NDArray[np.int64] = self._table.rows[: len(self)]
        return found

    def number(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Each one's number. Nothing is noted beyond a limit that only a hostile trace reaches: -1 then."""
        out = np.full(len(values), -1, np.int64)
        given, reached = np.ascontiguousarray(values, np.int64), 0
        while reached < len(given) and len(self) < _MOST_DISTINCT:
            self._table.make_room(64)
            reached = number_all(given, self._table.table, self._table.rows, out, reached)
        return out


class Rows:
    """Rows that a loop appends to, without ``kind`` int64; ``count[0]`` are in use."""

    def __init__(self, kind: type[Row] | None = None, room: int = 256) -> None:
        self._kind = kind
        self.rows = self._fresh(room)
        self.count: NDArray[np.int64] = np.zeros(1, np.int64)

    def make_room(self, more: int) -> None:
        """Let ``more`` rows fit."""
        need = int(self.count[0]) + more + 1
        if need > len(self.rows):
            grown = self._fresh(1 << int(need).bit_length())
            grown[: int(self.count[0])] = self.rows[: int(self.count[0])]
            self.rows = grown

    def _fresh(self, number: int) -> NDArray[Any]:
        return np.zeros(number, np.int64) if self._kind is None else self._kind.many(number)

    @property
    def used(self) -> NDArray[Any]:
        """The rows in use."""
        return self.rows[: int(self.count[0])]
