"""Who waits for a lock at the end of a trace, who holds it, and whether they wait for each other in a circle.

A task waits if it asked for a lock, nothing says that it got it, and it did nothing since that only a task does that
goes on: return to user space, enter another sleeping lock's function, touch KVM. What it holds is what the walk says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lockscope.kernels import walk_attempts as attempts
from lockscope.kernels import walk_memory as kernel
from lockscope.reconstruct.chains import Entry
from lockscope.reconstruct.walk_regions import Memory

_RETURN, _HELD = 2, (kernel.ACQUIRED, kernel.TRYLOCK)


@dataclass(frozen=True, slots=True)
class WaitingTask:
    """A task at the end of a trace.

    ``lock``: what it waits for, 0 for one that only holds. ``cls``: the lock's class, -1 where only its address is
    known (contention events). ``since_ns``: when it asked. ``held``: what it has, outermost first; ``known``: whether
    that is all. ``number``, ``function``, ``how``: its place in the walk.
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


def waiting_tasks(memory: Memory, functions: NDArray[np.int64]) -> list[WaitingTask]:
    """The tasks that hold a lock or wait for one as the walk ends; ``functions``: see ``kernels.walk.function_row``."""
    tasks = memory.region("tasks")[: int(memory.m[kernel.K_TASKS])]
    busy = (tasks[:, kernel.T_DEPTH] > 0) | (tasks[:, kernel.T_FN] > 0) | (tasks[:, kernel.T_WAITS] != 0)
    return [_task(memory, functions, t) for t in np.flatnonzero(busy).tolist()]


def _task(memory: Memory, functions: NDArray[np.int64], t: int) -> WaitingTask:
    row = memory.region("tasks")[t]
    depth, active = int(row[kernel.T_DEPTH]), int(row[kernel.T_ACTIVE])
    stack = memory.region("stacks")[t].reshape(kernel.DEPTH, kernel.WIDTH)[:depth]
    held = tuple(Entry(*e[: kernel.ENTRY].tolist()) for e in stack if e[list(_HELD)].any())
    base = (int(row[kernel.T_PID]), int(row[kernel.T_CPU]))
    known = bool(row[kernel.T_WHOLE])
    for f in range(int(row[kernel.T_FN]) - 1, -1, -1):
        at = memory.region("functions")[t].reshape(kernel.FN_DEPTH, kernel.FN_WIDTH)[f]
        how = int(functions[at[attempts.F_TEXT], 0])
        if how & attempts.HOW_WAITS and not how & attempts.HOW_TRIES and active <= at[attempts.F_TS]:
            cls = _class_of_attempt(memory, at)
            lock, ts, seq, ip = (
                int(at[i]) for i in (attempts.F_LOCK, attempts.F_TS, attempts.F_SEQ, attempts.F_CALLER)
            )
            return WaitingTask(*base, lock, cls, how & attempts.HOW_READ, ts, seq, ip, held, known, t, f, how)
    asked = _asked(memory, stack)
    if asked is not None and active <= asked.ts_ns:
        return WaitingTask(*base, asked.lock, asked.cls, asked.read, asked.ts_ns, asked.seq, asked.ip, held, known, t)
    lock, since = int(row[kernel.T_WAITS]), int(row[kernel.T_WAITS_TS])
    if lock and active <= since:
        return WaitingTask(*base, lock, -1, 0, since, -1, 0, held, known, t)
    return WaitingTask(*base, 0, -1, 0, 0, -1, 0, held, known, t)


def _class_of_attempt(memory: Memory, at: NDArray[np.int64]) -> int:
    """The class of a lock whose attempt was noted as a chain; -1 where it was not."""
    chain = int(at[attempts.F_CHAIN]) - 1
    if chain < 0:
        return -1
    row = memory.region("chains")[chain]
    return int(memory.region("rows")[row[0] + row[7] - 1, 0])


def _asked(memory: Memory, stack: NDArray[np.int64]) -> Entry | None:
    """The lock that lockdep's events say a task asked for, and did not get."""
    tasks = stack[stack[:, kernel.CONTEXT] == 0] if len(stack) else stack
    if not len(tasks) or tasks[-1, list(_HELD)].any():
        return None
    waited_for = memory.region("classes")[int(tasks[-1, kernel.CLS]), kernel.C_GOT] > 0
    return Entry(*tasks[-1, : kernel.ENTRY].tolist()) if waited_for else None


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
