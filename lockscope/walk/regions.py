"""The walk's memory from Python: regions by name, and how they grow, within bounds, and lose what is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockscope.core import walk as compiled
from lockscope.core import walk_rows as kernel
from lockscope.core.numbering import number_in, rehash
from lockscope.core.walk_memory import Walk

_ROWS = {
    "tasks": kernel.Task,
    "stacks": kernel.Entry,
    "calls": kernel.Call,
    "cpus": kernel.Cpu,
    "classes": kernel.Class,
    "recent": kernel.Recent,
    "names": kernel.Name,
    "chains": kernel.Chain,
    "links": kernel.Link,
    "anomaly": kernel.Anomaly,
    "anomaly_links": kernel.Link,
    "holds": kernel.Hold,
    "owners": kernel.Owner,
    "taken": kernel.Taken,
    "waiters": kernel.Waiter,
    "no_task": kernel.Task,
    "no_entry": kernel.Entry,
    "no_class": kernel.Class,
    "no_name": kernel.Name,
}
_WIDTHS = {"held": kernel.ROLES, "unsure": kernel.MOST_UNSURE}
_EACH = {"stacks": kernel.DEPTH, "calls": kernel.FN_DEPTH}  # rows of a task
_START = {
    "tasks": 256,
    "stacks": 256,
    "calls": 256,
    "held": 256,
    "unsure": 256,
    "cpus": kernel.CPUS,
    "classes": 2048,
    "recent": kernel.RECENT,
    "names": 1,
    "chains": 4096,
    "links": 1 << 15,
    "anomaly": 1024,
    "anomaly_links": 1 << 13,
    "holds": 0,
    "owners": kernel.OWNED,
    "taken": kernel.TAKEN_SLOTS,
    "waiters": kernel.WAITED,
    "no_task": 1,
    "no_entry": 1,
    "no_class": 1,
    "no_name": 1,
}
_SLOTS = {"task_table": 512, "class_table": 4096, "chain_table": 8192, "anomaly_table": 2048}
_HOLDS = 1 << 17
_OF_TASKS = ("tasks", "stacks", "calls", "held", "unsure")
_GROWN = (  # what must grow together, by the table that counts it
    ("task_table", _OF_TASKS),
    ("class_table", ("classes",)),
    ("chain_table", ("chains",)),
    ("anomaly_table", ("anomaly",)),
)
_MOST_TASKS = 1 << 14  # each takes 9 KB; those that hold nothing need not be remembered
_MOST = {  # real kernels stay far below: lockdep itself ends at 8,192 classes and 524,288 chains (v6.12)
    "classes": ("class_table", 1 << 19),
    "situations in which a lock was taken": ("chain_table", 1 << 20),
    "locks in these situations": ("links_used", 1 << 22),
    "anomalies": ("anomaly_table", 1 << 18),
    "locks held at them": ("anomaly_links_used", 1 << 21),
}


class Memory:
    """The walk's state ``w``, and its regions by name. ``holds``: with room for ended holds."""

    def __init__(self, *, holds: bool) -> None:
        self.sizes: dict[str, int] = {}
        self.regions: dict[str, NDArray[Any]] = {
            name: np.zeros(2 + 2 * slots, np.int64) for name, slots in _SLOTS.items()
        }
        self.drained: list[NDArray[np.int64]] = []  # ended holds, taken out of their region
        self.sink: Callable[[NDArray[np.int64]], None] | None = None  # who takes them instead
        self.w: Walk = compiled.new()
        self.resize(_START | {"holds": _HOLDS if holds else 0})

    def resize(self, changes: dict[str, int]) -> None:
        """Give regions another number of rows; what they hold stays."""
        for name, rows in changes.items():
            grown = self._fresh(name, rows)
            if name in self.regions:
                grown[: len(self.regions[name])] = self.regions[name]
            self.regions[name] = grown
        self.sizes |= changes
        self.w.attach(self.regions)

    def _fresh(self, name: str, rows: int) -> NDArray[Any]:
        if name in _WIDTHS:
            return np.zeros((rows, _WIDTHS[name]), np.int64)
        return _ROWS[name].many(rows * _EACH.get(name, 1))

    def region(self, name: str) -> NDArray[Any]:
        """A region's rows: a view."""
        return self.regions[name]

    def used(self, name: str) -> NDArray[Any]:
        """The rows of a region that are in use, of those that a hash table counts: a view."""
        table = next(table for table, regions in _GROWN if name in regions)
        return self.regions[name][: self.count(table) * _EACH.get(name, 1)]

    def count(self, what: str) -> int:
        """How many keys a table has, or one of the walk's counters."""
        return int(self.regions[what][0]) if what in self.regions else int(getattr(self.w, what))

    def make_room(self) -> None:
        """Room for what one task may add where no row of the tape asks for it: ended holds too."""
        if self.w.holds_used + 4 * kernel.DEPTH > self.sizes["holds"]:
            self.drain()
        self.grow()

    def grow(self) -> None:
        """Make room for what the next row may add.

        Raises ``MemoryError`` where a trace has more of something than any kernel; callers turn it into a format error.
        """
        for what, (count, most) in _MOST.items():
            if self.count(count) > most:
                msg = f"more than {most:,} {what}"
                raise MemoryError(msg)
        if self.count("task_table") >= _MOST_TASKS:
            self.retire()
        for table, regions in _GROWN:
            used = self.count(table)
            self._grow(regions, used)
            if 8 * used + 32 > len(self.regions[table]) - 2:
                self._rehash(table)
        self._grow(("links",), self.w.links_used, 4 * kernel.DEPTH)
        self._grow(("anomaly_links",), self.w.anomaly_links_used, 4 * kernel.DEPTH)

    def _grow(self, regions: tuple[str, ...], used: int, added: int = kernel.DEPTH) -> None:
        """``added``: enough for ``room`` in ``core/walk.py``."""
        if any(2 * (used + added) > self.sizes[name] for name in regions):
            self.resize({name: 2 * self.sizes[name] for name in regions})

    def _rehash(self, name: str) -> None:
        """Double a hash table. Its slots are found anew; the numbers stay."""
        old = self.regions[name]
        self.regions[name] = np.zeros(2 * len(old) - 2, np.int64)
        rehash(old, self.regions[name])
        self.w.attach(self.regions)

    def retire(self) -> None:
        """Drop the tasks that hold nothing; they come back as new ones. If too many would stay, all go."""
        tasks = self.used("tasks")
        n = len(tasks)
        stays = (tasks["depth"] > 0) | (tasks["calls"] > 0)
        if np.count_nonzero(stays) > n // 2:
            self.forget_all()
            self.w.epoch += 1  # as after a gap: whoever comes back may hold anything
            stays[:] = False
        kept = np.flatnonzero(stays)
        for name in _OF_TASKS:
            region = self.region(name)
            by_task = region.reshape(self.sizes[name], -1) if name in _EACH else region
            by_task[: len(kept)] = by_task[kept]
        fresh = np.zeros(n + 1, np.int64)  # by old number + 1
        fresh[kept + 1] = np.arange(1, len(kept) + 1)
        cpus = self.region("cpus")
        cpus["task"], cpus["by"] = fresh[cpus["task"]], fresh[cpus["by"]]
        self.region("owners")[:] = 0
        table = self.regions["task_table"]
        pairs = table[2:].reshape(-1, 2)
        known, numbers = pairs[:, 0].copy(), fresh[pairs[:, 1]]
        order = np.argsort(numbers, kind="stable")
        table[:] = 0
        for key in known[order[numbers[order] > 0]].tolist():
            number_in(table, key)

    def forget_all(self) -> None:
        """What any task holds is no longer known, at the time of the row at hand."""
        for t in np.flatnonzero(self.used("tasks")["depth"] > 0).tolist():
            if self.w.holds_used + 2 * kernel.DEPTH > self.sizes["holds"]:
                self.drain()
            compiled.forget_task(self.w, t)
        self.drain()

    def taken(self) -> list[NDArray[np.int64]]:
        """The ended holds that nobody has taken yet; they are the caller's from here on."""
        drained, self.drained = self.drained, []
        return drained

    def drain(self) -> None:
        """Take the ended holds out of their region: to ``sink``, as a view for as long as the call, or to be kept."""
        n = self.w.holds_used
        if n:
            ended = self.region("holds")[:n].view(np.int64).reshape(n, len(kernel.Hold.fields()))
            if self.sink is not None:
                self.sink(ended)
            else:
                self.drained.append(ended.copy())
            self.w.holds_used = 0
