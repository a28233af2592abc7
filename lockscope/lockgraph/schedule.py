"""Whether the sides of a ring can all be under way at once: a schedule of what was recorded that ends in the deadlock.

A *sync-preserving* deadlock (SPDOffline: Tunc, Mathur, Pavlogiannis, Viswanathan, PLDI 2023) is one that a reordering
of the recorded events reaches in which every lock still changes hands in the recorded order, as far as it does at all.
Such a reordering is searched for with the closure of what the sides did before their attempts: wherever two of its
critical sections are of one lock, the earlier must be over. It contains no attempt of a side, and so exists, unless

* one task exists because of what another side's task did after its attempt, or may have waited for that task's end;
* before its attempt a side took a lock that another side holds at its own, after that one had taken it: the other
  would have to release it first, which comes after its attempt.

Reads and writes of data are in no lock trace; a task that read what another wrote under a lock is taken to have gone
the same way without. That is the one assumption in ``certain``, and tasks that were not there together (or of which
that is not known) are not given its benefit.
"""

from __future__ import annotations

from dataclasses import dataclass

from lockscope.evidence.evidence import Evidence
from lockscope.lockgraph.graph import Graph
from lockscope.lockgraph.guards import is_lock
from lockscope.lockgraph.rows import BEFORE, CLS, LOCK, READ, TS

_OUT_OF_STEP = 1_000_000  # ns that local clocks of CPUs may differ


@dataclass(frozen=True, slots=True)
class Side:
    """One task's part of a ring: it holds ``holds`` (address -> exclusively, and since when) and asks for ``wants``."""

    pid: int
    cpu: int
    holds: dict[int, tuple[bool, int]]
    wants: int
    first: int  # lock of the ring that it holds
    before: int  # when it last asked for what it wants before this; 0 never
    began_ns: int
    asked_ns: int

    @property
    def who(self) -> tuple[int, int]:
        """The task; the idle tasks are told apart by CPU."""
        return self.pid, self.cpu if self.pid == 0 else 0


def side_of(evidence: Evidence, graph: Graph, row: int) -> Side:
    """The side that a held row witnesses."""
    rows = graph.rows
    entry, chain = rows.entry, int(rows.chain[row])
    begin, last = int(evidence.chains.start[chain]), int(rows.last[chain])
    held = [r for r in range(begin, last) if rows.same[r] and is_lock(evidence.classes[int(entry[r, CLS])])]
    return Side(
        pid=int(evidence.chains.pid[chain]),
        cpu=int(evidence.chains.cpu[chain]),
        holds={int(entry[r, LOCK]): (bool(entry[r, READ] == 0), int(entry[r, TS])) for r in held},
        wants=int(entry[last, LOCK]),
        first=int(entry[row, LOCK]),
        before=int(entry[last, BEFORE]),
        began_ns=min([int(entry[row, TS]), *(int(entry[r, TS]) for r in held)]),
        asked_ns=int(entry[last, TS]),
    )


def apart(one: Side, other: Side) -> bool:
    """Whether two sides can be under way at once: different tasks, and no lock that only one may hold."""
    shared = one.holds.keys() & other.holds.keys()
    return one.who != other.who and not any(one.holds[k][0] or other.holds[k][0] for k in shared)


def crosses(one: Side, other: Side) -> bool:
    """Whether what one side waits for is the instance that the other holds."""
    return one.wants == other.first


def ordered(evidence: Evidence, sides: list[Side]) -> str:
    """Why the sides come one after the other, by creation or join; empty where nothing says so."""
    lives, comm = evidence.lives, evidence.comm
    for one in sides:
        for other in sides:
            if one.pid == other.pid:
                continue
            if lives.created_after(other.pid, one.pid, one.asked_ns):
                return f"{comm(other.pid)}/{other.pid} was created by {comm(one.pid)}/{one.pid} afterwards"
            ended = lives.ended.get(one.pid)
            if ended is not None and ended < other.began_ns and lives.descends(one.pid, other.pid):
                return f"{comm(other.pid)}/{other.pid} can have waited for the end of {comm(one.pid)}/{one.pid}"
    return ""


def unscheduled(evidence: Evidence, sides: list[Side]) -> str:
    """Why no schedule of what was recorded brings all sides to their attempts; empty where one does."""
    lives = evidence.lives
    begin, end = min(s.began_ns for s in sides), max(s.asked_ns for s in sides)
    absent = next((s.pid for s in sides if s.pid and not lives.alive(s.pid, begin, end)), None)
    if absent is not None:
        return f"{evidence.comm(absent)}/{absent} is not known to have been there all the while"
    slack = 0 if evidence.info.orders_cpus else _OUT_OF_STEP
    for one in sides:
        for other in sides:
            if one is not other and _released_before(evidence, one, other, slack):
                return f"{evidence.comm(other.pid)}/{other.pid} took a lock of the others in between"
    return ""


def _released_before(evidence: Evidence, one: Side, other: Side, slack: int) -> bool:
    """Whether the other side took, before its attempt, what this one holds, after this one had taken it."""
    for lock, (_, since) in one.holds.items():
        taken = other.before if lock == other.wants else evidence.last_taken(other.pid, lock)
        if taken > since - slack and since - slack < other.asked_ns:
            return True
    return False
