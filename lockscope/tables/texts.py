"""Texts of a trace, each stored once and known by its number."""

from __future__ import annotations

import numpy as np

from lockscope.errors import LockscopeError
from lockscope.kernels.interner import STATE_SIZE, intern

_MOST_BYTES = 256 << 20  # a hostile trace could make every text another one
_MOST_TEXTS = 1 << 22


class Texts:
    """The interner's tables (see ``kernels.interner``), and the way back from numbers to text."""

    def __init__(self) -> None:
        self.table = np.zeros(1 << 14, np.int32)
        self.pool = np.zeros(1 << 18, np.uint8)
        self.ends = np.zeros(1 << 13, np.int64)
        self.state = np.zeros(STATE_SIZE, np.int64)
        self.shared = False
        self._decoded: list[str] = []

    def __len__(self) -> int:
        return int(self.state[0])

    def grow(self) -> None:
        """Double whatever is full. Raises ``LockscopeError`` beyond the limit."""
        texts, used = int(self.state[0]), int(self.state[1])
        if texts >= _MOST_TEXTS or len(self.pool) >= _MOST_BYTES:
            msg = f"more than {texts} different texts in one field: the trace is damaged"
            raise LockscopeError(msg)
        self.pool = np.concatenate((self.pool, np.zeros(max(len(self.pool), 1 << 17), np.uint8)))
        if 2 * (texts + 1) > len(self.table) or texts + 1 > len(self.ends):
            self.ends = np.concatenate((self.ends, np.zeros_like(self.ends)))
            pool = self.pool[:used]
            self.table = np.zeros(2 * len(self.table), np.int32)
            _rehash(pool, self.ends, texts, self.table)

    def number(self, text: str) -> int:
        """The number of a text that need not come from a record."""
        raw = np.frombuffer(text.encode() or b"\0", np.uint8)
        while (number := int(intern(raw, 0, len(text.encode()), self.table, self.pool, self.ends, self.state))) < 0:
            self.grow()
        return number

    def all(self) -> list[str]:
        """Every text, by number. While another thread adds texts (``shared``): those published so far."""
        if not self.shared:
            self.publish()
        return self._decoded

    def publish(self) -> None:
        """Decode what is new; of a shared list, by the thread that adds.

        The new list takes the old one's place: a thread that asked for it before goes on with one that does not grow.
        """
        known, fresh = len(self._decoded), []
        for i in range(known, len(self)):
            begin = int(self.ends[i - 1]) if i else 0
            fresh.append(bytes(self.pool[begin : int(self.ends[i])]).decode("utf-8", "replace"))
        if fresh:
            self._decoded = [*self._decoded, *fresh]

    def __getitem__(self, number: int) -> str:
        return self.all()[number]


def _rehash(pool: np.ndarray, ends: np.ndarray, texts: int, table: np.ndarray) -> None:
    fresh_pool, fresh_ends, state = (
        np.zeros(len(pool) + 1, np.uint8),
        np.zeros(len(ends), np.int64),
        np.zeros(2, np.int64),
    )
    begin = 0
    for i in range(texts):
        end = int(ends[i])
        intern(pool, begin, end - begin, table, fresh_pool, fresh_ends, state)
        begin = end
