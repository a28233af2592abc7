"""State that compiled loops about KVM keep between batches: hash tables and rows that grow before they are full."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockscope.kernels.kvm_tables import place

_MOST = 1 << 23  # keys; what a hostile or endless trace brings beyond that is forgotten, and said so


class Table:
    """Keys, their numbers, and rows of ``width`` int64 by number."""

    def __init__(self, width: int, room: int = 256) -> None:
        self.width = width
        self.forgotten = 0
        self._empty(room)

    def _empty(self, room: int) -> None:
        self.keys: NDArray[np.int64] = np.zeros(4 * room, np.int64)
        self.numbers: NDArray[np.int32] = np.zeros(4 * room, np.int32)
        self.count: NDArray[np.int64] = np.zeros(1, np.int64)
        self.rows: NDArray[np.int64] = np.zeros((room, self.width), np.int64)

    def make_room(self, more: int) -> None:
        """Let ``more`` new keys fit."""
        used = int(self.count[0])
        if used > _MOST:
            self.forgotten += used
            self._empty(1 << max(8, int(more).bit_length()))
            used = 0
        need = used + more + 1
        if need > len(self.rows):
            grown = np.zeros((1 << int(need).bit_length(), self.width), np.int64)
            grown[:used] = self.rows[:used]
            self.rows = grown
        if 2 * need > len(self.numbers):
            size = 1 << int(4 * need).bit_length()
            keys, numbers = np.zeros(size, np.int64), np.zeros(size, np.int32)
            for slot in np.flatnonzero(self.numbers).tolist():
                at = place(keys, numbers, int(self.keys[slot]))
                keys[at], numbers[at] = self.keys[slot], self.numbers[slot]
            self.keys, self.numbers = keys, numbers

    @property
    def table(self) -> tuple[Any, Any, Any]:
        """What the loops take: keys, numbers, count."""
        return self.keys, self.numbers, self.count


class Rows:
    """Rows of ``width`` int64 that a loop appends to; ``count[0]`` are in use."""

    def __init__(self, width: int, room: int = 256) -> None:
        self.rows: NDArray[np.int64] = np.zeros((room, width), np.int64)
        self.count: NDArray[np.int64] = np.zeros(1, np.int64)

    def make_room(self, more: int) -> None:
        """Let ``more`` rows fit."""
        need = int(self.count[0]) + more + 1
        if need > len(self.rows):
            grown = np.zeros((1 << int(need).bit_length(), self.rows.shape[1]), np.int64)
            grown[: int(self.count[0])] = self.rows[: int(self.count[0])]
            self.rows = grown

    @property
    def used(self) -> NDArray[np.int64]:
        """The rows in use."""
        return self.rows[: int(self.count[0])]
