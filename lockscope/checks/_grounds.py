"""Whether the evidence for a lock check is there: what was recorded, what was lost, and what the events leave out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lockscope.checks.check import Grounds
from lockscope.evidence.evidence import Evidence
from lockscope.kvm.versions import parse
from lockscope.lockgraph.rows import FLAGS, contexts_unknown
from lockscope.lockgraph.usage import bh_told
from lockscope.results.findings import Status

_LOCKS = "no lock events were recorded: lockscope record -- COMMAND, best on a kernel with CONFIG_PROVE_LOCKING"
_RELEASES = "releases were not recorded, so what was held when is not known: trace-cmd record -e lock:lock_release"
_CONTEXTS = "nothing says what ran in an interrupt: record with the tracefs option irq-info on"
_DEEPEST = 48  # locks a task can hold under lockdep (MAX_LOCK_DEPTH): more than that were released


@dataclass(frozen=True, slots=True)
class LockGrounds:
    """What a check on locks rests on.

    ``classes``: exact classes, read kinds, nest locks. ``waits``: wait types. ``irqs``: irq flags of the events.
    ``balance``: that no task's acquisition or release is missing. ``events``: one of these must be there (names without
    system), or ``hint`` says how to record them.
    """

    classes: bool = False
    waits: bool = False
    irqs: bool = False
    balance: bool = False
    events: tuple[str, ...] = ()
    hint: str = ""

    def __call__(self, evidence: Evidence) -> Grounds:
        """The grounds of one trace."""
        if not (evidence.plain or evidence.detailed or len(evidence.chains)):
            return Grounds(Status.SKIPPED, _LOCKS)
        if not recorded(evidence, "lock_release") and _number(evidence, "lock_acquire", "lockdep_acquire") > _DEEPEST:
            return Grounds(Status.SKIPPED, _RELEASES)
        if self.events and not recorded(evidence, *self.events):
            return Grounds(Status.SKIPPED, self.hint)
        if self.irqs and contexts_unknown(evidence):
            return Grounds(Status.SKIPPED, _CONTEXTS)
        reasons = list(self._doubts(evidence))
        return Grounds(Status.PARTIAL, "; ".join(reasons)) if reasons else Grounds()

    def _doubts(self, evidence: Evidence) -> Iterator[str]:
        if evidence.lost != 0:
            yield "events were lost (LS901)"
        if self.classes and evidence.lockdep.doubt is not None:
            yield evidence.lockdep.doubt
        if contexts_unknown(evidence):
            yield "without interrupt contexts only sleeping locks are judged (tracefs option irq-info)"
        if self.balance and evidence.filtered:
            yield "events of other tasks, and some around sched_switch, are missing: record without a PID filter"
        if not evidence.detailed and not evidence.plain:
            yield "no lockdep: only the locks whose functions were probed"
        elif not evidence.detailed:
            missing = ["read kind, subclass and nest lock" if self.classes else "", "wait types" if self.waits else ""]
            if any(missing):
                what = " and ".join(m for m in missing if m)
                yield f"{what} inferred from names (record lockscope:lockdep_acquire, see lockscope probes)"
        if self.irqs:
            yield from _irq_doubts(evidence)


def _irq_doubts(evidence: Evidence) -> Iterator[str]:
    kernel = parse(evidence.info.kernel)
    if kernel is not None and kernel.before(5, 10):
        yield "before 5.10 lock events always say that irqs are off"
    if not bh_told(evidence.info, evidence.chains.entries[:, FLAGS]):
        if kernel is not None and kernel.before(6, 1):
            yield "before 6.1 no event says whether softirqs were off"
        else:
            yield "nothing in the trace says whether softirqs were off (trace-cmd report never does: use the trace.dat)"


def recorded(evidence: Evidence, *names: str) -> bool:
    """Whether any of these events, by name without its system, was recorded: seen, or switched on and quiet."""
    return evidence.has(*names)


def _number(evidence: Evidence, *names: str) -> int:
    return sum(number for full, number in evidence.recorded.items() if full.rpartition(":")[2] in names)
