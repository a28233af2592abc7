"""Who waits for a lock at the end of a trace, who holds it, and whether they wait for each other in a circle.

A task waits if it asked for a lock, nothing says that it got it, and it did nothing since that only a task does that
goes on: return to user space, enter another sleeping lock's function, or any lock's where it asked for a spinning one,
touch KVM. What it holds is what the walk says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockscope.core import walk_rows as kernel
from lockscope.walk.chains import Entry
from lockscope.walk.regions import Memory

_LINK = list(kernel.Link.fields())


@dataclass(frozen=True, slots=True)
class WaitingTask:
    """A task at the end of a trace.

    ``lock``: what it waits for, 0 for one that only holds. ``cls``: the lock's class, -1 where only its address is
    known (contention events). ``since_ns``: when it asked. ``held``: what it has, outermost first; ``known``: whether
    that is all. ``lost``: events may be missing since it was last seen. ``number``, ``function``, ``how``: its place
    in the walk.
    """

    pid: int
    cpu: int
    lock: int
    cls: int
    read: int
    since_ns: int
    seq: int
    ip: int
    held: tuple[Entry, ...]
    known: bool
    number: int
    function: int = -1
    how: int = 0
    lost: bool = False


def waiting_tasks(memory: Memory, functions: NDArray[np.int64]) -> list[WaitingTask]:
    """The tasks that hold a lock or wait for one as the walk ends; ``functions``: see ``core.walk.function_row``."""
    tasks = memory.used("tasks")
    busy = (tasks["depth"] > 0) | (tasks["calls"] > 0) | (tasks["waits"] != 0)
    lost = tasks["epoch"] != memory.w.epoch
    return [replace(_task(memory, functions, t), lost=bool(lost[t])) for t in np.flatnonzero(busy).tolist()]


def _task(memory: Memory, functions: NDArray[np.int64], t: int) -> WaitingTask:
    row = memory.region("tasks")[t]
    depth, active = int(row["depth"]), int(row["active"])
    stack = memory.region("stacks")[t * kernel.DEPTH :][:depth]
    held = tuple(Entry(*e) for e in stack[_got(stack)][_LINK].tolist())
    base = (int(row["pid"]), int(row["cpu"]))
    known = bool(row["whole"])
    for f in range(int(row["calls"]) - 1, -1, -1):
        at = memory.region("calls")[t * kernel.FN_DEPTH + f]
        how = int(functions[at["text"], 0])
        if how & kernel.HOW_WAITS and not how & kernel.HOW_TRIES and active <= at["ts"]:
            cls = _class_of_attempt(memory, at)
            lock, ts, seq, ip = (int(at[name]) for name in ("lock", "ts", "seq", "caller"))
            return WaitingTask(*base, lock, cls, how & kernel.HOW_READ, ts, seq, ip, held, known, t, f, how)
    asked = _asked(memory, stack)
    if asked is not None and active <= asked.ts_ns:
        return WaitingTask(*base, asked.lock, asked.cls, asked.read, asked.ts_ns, asked.seq, asked.ip, held, known, t)
    lock, since = int(row["waits"]), int(row["waits_ts"])
    if lock and active <= since:
        return WaitingTask(*base, lock, -1, 0, since, -1, 0, held, known, t)
    return WaitingTask(*base, 0, -1, 0, 0, -1, 0, held, known, t)


def _got(stack: NDArray[Any]) -> NDArray[np.bool_]:
    """Which entries of a stack their task has."""
    found: NDArray[np.bool_] = (stack["acquired"] != 0) | (stack["trylock"] != 0)
    return found


def _class_of_attempt(memory: Memory, at: Any) -> int:
    """The class of a lock whose attempt was noted as a chain; -1 where it was not."""
    chain = int(at["chain"]) - 1
    if chain < 0:
        return -1
    row = memory.region("chains")[chain]
    return int(memory.region("links")["cls"][row["first"] + row["length"] - 1])


def _asked(memory: Memory, stack: NDArray[Any]) -> Entry | None:
    """The lock that lockdep's events say a task asked for, and did not get."""
    own = stack[stack["context"] == 0]
    if not len(own) or _got(own)[-1]:
        return None
    waited_for = memory.region("classes")["got"][own["cls"][-1]] > 0
    return Entry(*own[_LINK][-1].tolist()) if waited_for else None


def owners(waiter: WaitingTask, tasks: Sequence[WaitingTask]) -> list[tuple[WaitingTask, Entry]]:
    """The tasks that hold what one waits for, each with the hold; readers do not keep readers out."""
    return [
        (task, entry)
        for task in tasks
        for entry in task.held
        if waiter.lock and entry.lock == waiter.lock and not (entry.read and waiter.read)
    ]


def circles(tasks: Sequence[WaitingTask]) -> list[list[tuple[WaitingTask, Entry]]]:
    """Tasks that wait for each other in a circle: each with the lock it holds that the one before waits for.

    A task that waits for what it holds itself is a circle of one.
    """
    found: list[list[tuple[WaitingTask, Entry]]] = []
    done: set[int] = set()
    for first in tasks:
        path: list[tuple[WaitingTask, Entry]] = []
        here = first
        while here.number not in done and here.lock:
            done.add(here.number)
            behind = owners(here, tasks)
            if not behind:
                break
            path.append(behind[0])
            here = behind[0][0]
            start = next((i for i, (task, _) in enumerate(path[:-1]) if task.number == here.number), -1)
            if start >= 0 or here.number == first.number:
                found.append(path[start + 1 :])
                break
    return found
