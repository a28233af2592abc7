"""The compiled walk's memory from Python: regions by name, and how they grow, within bounds, and lose what is over."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lockscope.kernels import walk_memory as kernel
from lockscope.kernels import walk_notes as notes

_START = {
    "task_keys": 512,
    "task_table": 512,
    "tasks": 256,
    "stacks": 256,
    "functions": 256,
    "held": 256,
    "running": kernel.CPUS,
    "class_keys": 4096,
    "class_table": 4096,
    "classes": 2048,
    "recent": kernel.RECENT,
    "names": 1,
    "chain_keys": 8192,
    "chain_table": 8192,
    "chains": 4096,
    "rows": 1 << 15,
    "odd_keys": 2048,
    "odd_table": 2048,
    "odd": 1024,
    "odd_rows": 1 << 13,
    "holds": 0,
    "owners": kernel.OWNED,
    "unsure": 256,
    "taken": kernel.TAKEN_SLOTS,
    "waiters": kernel.WAITED,
}
_HOLDS = 1 << 17
_GROWN = (  # what must grow together, by the count that fills it
    (kernel.K_TASKS, ("task_keys", "task_table"), ("tasks", "stacks", "functions", "held", "unsure")),
    (kernel.K_CLASSES, ("class_keys", "class_table"), ("classes",)),
    (kernel.K_CHAINS, ("chain_keys", "chain_table"), ("chains",)),
    (kernel.K_ODD, ("odd_keys", "odd_table"), ("odd",)),
    (kernel.K_ROWS, (), ("rows",)),
    (kernel.K_ODD_ROWS, (), ("odd_rows",)),
)
GUARD = 64  # words behind each region that nothing may write
_GUARD_WORD = 0x5AFE_5AFE_5AFE_5AFE
_MOST_TASKS = 1 << 14  # each takes 9 KB; those that hold nothing need not be remembered
_MOST = {  # real kernels stay far below: lockdep itself ends at 8,192 classes and 524,288 chains (v6.12)
    "classes": (kernel.K_CLASSES, 1 << 19),
    "situations in which a lock was taken": (kernel.K_CHAINS, 1 << 20),
    "locks in these situations": (kernel.K_ROWS, 1 << 22),
    "oddities": (kernel.K_ODD, 1 << 18),
    "locks held at them": (kernel.K_ODD_ROWS, 1 << 21),
}


class Memory:
    """The compiled walk's one array, and its regions by name. ``holds``: with room for ended holds."""

    def __init__(self, *, holds: bool) -> None:
        self.sizes = _START | {"holds": _HOLDS if holds else 0}
        self.drained: list[NDArray[np.int64]] = []  # ended holds, taken out of their region
        self.sink: Callable[[NDArray[np.int64]], None] | None = None  # who takes them instead
        self.m = np.zeros(kernel.HEAD, np.int64)
        self.resize({})

    def resize(self, changes: dict[str, int]) -> None:
        """Give regions another number of rows; what they hold stays."""
        old = {name: self.region(name) for name in kernel.REGIONS} if len(self.m) > kernel.HEAD else {}
        self.sizes |= changes
        rows = [self.sizes[name] for name in kernel.REGIONS]
        ends = kernel.HEAD + np.cumsum([n * w + GUARD for n, w in zip(rows, kernel.WIDTHS, strict=True)])
        self._guards = (ends[:, None] - np.arange(1, GUARD + 1)).reshape(-1)
        grown = np.zeros(int(ends[-1]), np.int64)
        grown[self._guards] = _GUARD_WORD
        grown[: kernel.HEAD] = self.m[: kernel.HEAD]
        for i, end in enumerate(ends):
            grown[kernel.BASES + i] = end - GUARD - rows[i] * kernel.WIDTHS[i]
            grown[kernel.SIZES + i] = rows[i]
        self.m = grown
        for name, kept in old.items():
            self.region(name)[: len(kept)] = kept

    def region(self, name: str) -> NDArray[np.int64]:
        """A region's rows: a view."""
        i = kernel.REGIONS.index(name)
        base, rows = int(self.m[kernel.BASES + i]), int(self.m[kernel.SIZES + i])
        return self.m[base : base + rows * kernel.WIDTHS[i]].reshape(rows, kernel.WIDTHS[i])

    def verify(self) -> None:
        """Raises ``RuntimeError`` if the compiled code met a full region, or wrote beside one: a fault of ours,
        whatever the trace holds.
        """
        if self.m[kernel.K_FULL]:
            msg = f"{int(self.m[kernel.K_FULL])} rows of the walk found no room"
            raise RuntimeError(msg)
        if (self.m[self._guards] != _GUARD_WORD).any():
            msg = "the walk wrote beside its regions"
            raise RuntimeError(msg)

    def make_room(self) -> None:
        """Room for what one task may add where no row of the tape asks for it: ended holds too."""
        if self.m[kernel.K_HOLDS] + 4 * kernel.DEPTH > self.sizes["holds"]:
            self.drain()
        self.grow()

    def grow(self) -> None:
        """Make room for what the next row may add.

        Raises ``MemoryError`` where a trace has more of something than any kernel; callers turn it into a format error.
        """
        for what, (count, most) in _MOST.items():
            if self.m[count] > most:
                msg = f"more than {most:,} {what}"
                raise MemoryError(msg)
        if self.m[kernel.K_TASKS] >= _MOST_TASKS:
            self.retire()
        for count, tables, regions in _GROWN:
            used = int(self.m[count])
            if any(2 * (used + 4 * kernel.DEPTH) > self.sizes[name] for name in regions):
                self.resize({name: 2 * self.sizes[name] for name in regions})
            if tables and 4 * used + 16 > self.sizes[tables[1]]:
                self.rehash(*tables)

    def rehash(self, keys: str, table: str) -> None:
        """Double a hash table. Its slots are found anew; the numbers stay."""
        filled = np.flatnonzero(self.region(table)[:, 0])
        known, numbers = self.region(keys)[filled, 0], self.region(table)[filled, 0]
        self.resize({keys: 2 * self.sizes[keys], table: 2 * self.sizes[table]})
        self._fill(keys, table, known, numbers)

    def _fill(self, keys: str, table: str, known: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        self.region(keys)[:], self.region(table)[:] = 0, 0
        base_keys, base_table = (int(self.m[kernel.BASES + kernel.REGIONS.index(n)]) for n in (keys, table))
        for key, number in zip(known, numbers, strict=True):
            at = kernel.find_in(self.m, base_keys, base_table, self.sizes[table], key)
            self.m[base_keys + at], self.m[base_table + at] = key, number

    def retire(self) -> None:
        """Drop the tasks that hold nothing; they come back as new ones. If too many would stay, all go."""
        n = int(self.m[kernel.K_TASKS])
        tasks = self.region("tasks")
        stays = (tasks[:n, kernel.T_DEPTH] > 0) | (tasks[:n, kernel.T_FN] > 0)
        if np.count_nonzero(stays) > n // 2:
            self.forget_all()
            self.m[kernel.K_EPOCH] += 1  # as after a gap: whoever comes back may hold anything
            stays[:] = False
        kept = np.flatnonzero(stays)
        for name in ("tasks", "stacks", "functions", "held", "unsure"):
            self.region(name)[: len(kept)] = self.region(name)[kept]
        self.m[kernel.K_TASKS] = len(kept)
        fresh = np.zeros(n + 1, np.int64)  # by old number + 1
        fresh[kept + 1] = np.arange(1, len(kept) + 1)
        running = self.region("running")
        running[:, 0], running[:, 3] = fresh[running[:, 0]], fresh[running[:, 3]]
        self.region("owners")[:] = 0
        filled = np.flatnonzero(self.region("task_table")[:, 0])
        known, numbers = self.region("task_keys")[filled, 0], fresh[self.region("task_table")[filled, 0]]
        self._fill("task_keys", "task_table", known[numbers > 0], numbers[numbers > 0])

    def forget_all(self) -> None:
        """What any task holds is no longer known, at the time of the row at hand."""
        depths = self.region("tasks")[: int(self.m[kernel.K_TASKS]), kernel.T_DEPTH]
        for t in np.flatnonzero(depths > 0).tolist():
            if self.m[kernel.K_HOLDS] + 2 * kernel.DEPTH > self.sizes["holds"]:
                self.drain()
            notes.forget_task(self.m, t)
        self.drain()

    def taken(self) -> list[NDArray[np.int64]]:
        """The ended holds that nobody has taken yet; they are the caller's from here on."""
        drained, self.drained = self.drained, []
        return drained

    def drain(self) -> None:
        """Take the ended holds out of their region: to ``sink``, as a view for as long as the call, or to be kept."""
        n = int(self.m[kernel.K_HOLDS])
        if n:
            ended = self.region("holds")[:n]
            if self.sink is not None:
                self.sink(ended)
            else:
                self.drained.append(ended.copy())
            self.m[kernel.K_HOLDS] = 0
