"""When tasks began and ended, and who created them: what orders two tasks by other means than locks."""

from __future__ import annotations

from dataclasses import dataclass, field

from lockscope.tables.ops import Op
from lockscope.tables.tape import TapeBatch


@dataclass(slots=True)
class Lifetimes:
    """Times in ns, by pid. A pid that was used twice is in ``reused``, and nothing is known of it."""

    seen: dict[int, int] = field(default_factory=dict)  # first event, at the latest
    born: dict[int, tuple[int, int]] = field(default_factory=dict)  # when, by which task
    ended: dict[int, int] = field(default_factory=dict)
    reused: set[int] = field(default_factory=set)

    def feed(self, batch: TapeBatch) -> None:
        """Learn from a batch: sched_process_fork, sched_process_exit."""
        for row in batch.of(Op.FORK, Op.TASK_EXIT).tolist():
            ts = int(batch.ts_ns[row])
            if int(batch.op[row]) == Op.TASK_EXIT:
                self.ended[int(batch.pid[row])] = ts
                continue
            parent, child = (int(v) for v in batch.slots[row, :2])
            if child in self.born or child in self.ended:
                self.reused.add(child)
            self.born[child] = ts, parent

    def alive(self, pid: int, begin: int, end: int) -> bool:
        """Whether the task is known to have been there all this time."""
        first = min(self.seen.get(pid, end + 1), self.born.get(pid, (end + 1, 0))[0])
        return pid not in self.reused and first <= begin and self.ended.get(pid, end) >= end

    def created_after(self, pid: int, by: int, ts: int) -> bool:
        """Whether the task exists because of what another one did after a time: it, or a forebear, was forked then."""
        seen: set[int] = set()
        while pid in self.born and pid not in seen | self.reused:
            seen.add(pid)
            when, parent = self.born[pid]
            if parent == by:
                return when > ts
            pid = parent
        return False

    def descends(self, pid: int, forebear: int) -> bool:
        """Whether one task was created by the other, or by one that it created."""
        return self.created_after(pid, forebear, -(1 << 62))
