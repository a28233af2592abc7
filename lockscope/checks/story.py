"""Telling findings about locks in lockdep's dialect: who takes what, under what, where, and how it can go wrong.

The acts and their order are those of kernel/locking/lockdep.c (print_circular_bug, print_bad_irq_dependency,
print_usage_bug, print_deadlock_bug); what lockdep has no memory of - times, CPUs, the other tasks - is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from lockscope.evidence.evidence import Evidence
from lockscope.lockgraph.graph import Graph, chain_at, lock_graph
from lockscope.lockgraph.rows import CLS, SYNC
from lockscope.lockgraph.usage import lock_usage
from lockscope.results.findings import Confidence, Context, Finding, Witness
from lockscope.units import count, seconds
from lockscope.walk.chains import Anomaly, Chain, Entry

_CONTEXTS = (Context.TASK, Context.SOFTIRQ, Context.HARDIRQ, Context.NMI)
_COLUMN = 31  # where lockdep's second CPU column begins
_TRUST = (Confidence.CERTAIN, Confidence.LIKELY, Confidence.POSSIBLE)


def address(value: int) -> str:
    """A lock's address as lockdep prints it, without 0x."""
    return f"{value & (1 << 64) - 1:016x}"


def lock_word(entry: Entry) -> str:
    """``lock``, ``rlock`` or ``trylock``; ``sync`` for a wait for readers, as lockdep has it since 6.4."""
    if entry.check == SYNC:
        return "sync"
    return "trylock" if entry.trylock else "rlock" if entry.read else "lock"


class Teller:
    """Words for one trace's locks."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.graph: Graph = lock_graph(evidence)
        self.usage = lock_usage(evidence)
        self._letters: dict[tuple[int, int], str] = {}

    def class_text(self, cls: int, window: int) -> str:
        """``(&kvm->lock){+.+.}-{0:4}``: the class with its usage and, where recorded, its wait types."""
        lock_class = self.evidence.classes[cls]
        if not self._letters:
            rows = self.graph.rows
            for node, key in enumerate(zip(rows.node_class.tolist(), rows.node_window.tolist(), strict=True)):
                self._letters.setdefault(key, self.usage.letters(node))
        inner = lock_class.wait_inner
        waits = f"-{{{lock_class.wait_outer or inner}:{inner}}}" if lock_class.keyed else ""
        return f"({lock_class.label}){self._letters.get((cls, window), '{....}')}{waits}"

    def lock_text(self, entry: Entry, window: int) -> str:
        """A lock as lockdep prints a held one: address, class, where it was taken."""
        place = self.evidence.symbol(entry.ip)
        at = f", at: {place}" if place else ""
        return f"{address(entry.lock)} {self.class_text(entry.cls, window)}{at}"

    def task(self, pid: int) -> str:
        """``comm/pid``."""
        return f"{self.evidence.comm(pid)}/{pid}"

    def moment(self, ts_ns: int, cpu: int) -> str:
        """``[12.000000345, CPU 1]``."""
        return f"[{seconds(ts_ns)}, CPU {cpu}]"

    def held_lines(self, held: Sequence[Entry], pid: int, window: int) -> Iterator[str]:
        """``2 locks held by qemu/100:`` and the locks."""
        if not held:
            yield f"no locks held by {self.task(pid)}."
            return
        yield f"{len(held)} lock{'s' if len(held) > 1 else ''} held by {self.task(pid)}:"
        for i, entry in enumerate(held):
            how = " (read)" if entry.read else ""
            context = "" if entry.context == 0 else f" in {_CONTEXTS[entry.context & 3]}"
            yield f" #{i}: {self.lock_text(entry, window)}{how}{context}, since {seconds(entry.ts_ns)}"

    def attempt(self, chain: Chain, held: Entry | None) -> Iterator[str]:
        """Who tries to take what, and what it already holds."""
        yield f"{self.task(chain.pid)} is trying to acquire lock: {self.moment(chain.next.ts_ns, chain.cpu)}"
        yield self.lock_text(chain.next, chain.window)
        if held is not None:
            yield ""
            yield "but task is already holding lock:"
            yield f"{self.lock_text(held, chain.window)}, since {seconds(held.ts_ns)}"

    def dependency(self, number: int, row: int) -> Iterator[str]:
        """One link of "the existing dependency chain": a lock, and where it was taken under the one before."""
        chain, place = chain_at(self.evidence, self.graph.rows, row)
        held = chain.held[place]
        symbol = self.evidence.symbol(chain.next.ip)
        where = f" at {symbol}" if symbol else ""
        outer = self.class_text(held.cls, chain.window)
        yield f"-> #{number} {self.class_text(chain.next.cls, chain.window)}:"
        yield f"       {self.task(chain.pid)} {self.moment(chain.next.ts_ns, chain.cpu)}{where}"
        yield (
            f"       {lock_word(chain.next)} {address(chain.next.lock)} while holding {outer}"
            f" {address(held.lock)}{' for read' if held.read else ''}; seen {times(chain.count)}"
        )

    def witnesses(self, row: int) -> tuple[Witness, Witness]:
        """The two events of an edge: the held lock's acquisition, and the one under it."""
        chain, place = chain_at(self.evidence, self.graph.rows, row)
        held = chain.held[place]
        took = f"takes {self.name(held.cls)} at {address(held.lock)}"
        first = self.evidence.witness(held, chain.cpu, chain.pid, note=took)
        waits = chain.next.check == SYNC
        what = (
            f"waits for the readers of {self.name(chain.next.cls)}" if waits else f"takes {self.name(chain.next.cls)}"
        )
        note = f"{what} at {address(chain.next.lock)} under {self.name(held.cls)}"
        event = "synchronize_srcu" if waits else "lock_acquire"
        return first, self.evidence.witness(chain.next, chain.cpu, chain.pid, event, note)

    def name(self, cls: int) -> str:
        """The class name without its subclass, as findings list it."""
        return self.evidence.classes[cls].name

    def anomaly_witness(self, odd: Anomaly, event: str, note: str) -> Witness:
        """An anomaly's event as a witness."""
        context = 3 if odd.flags & 0x40 else 2 if odd.flags & 0x08 else 1 if odd.flags & 0x10 else 0
        return Witness(odd.ts_ns, odd.cpu, odd.pid, self.evidence.comm(odd.pid), event, _CONTEXTS[context], None, note)

    def node_of(self, row: int) -> int:
        """The class at a row."""
        return int(self.graph.rows.entry[row, CLS])


_MOST_RESTS = 1000
_SPINNING = ("spinlock", "raw_spinlock", "rwlock")


def rests_on(*chains: Chain) -> tuple[tuple[int, int], ...] | None:
    """For ``Finding.rests``: nothing, where all that was held was later seen to be released; it was held then."""
    return () if all(chain.released for chain in chains) else None


def rests_on_held(evidence: Evidence, chain: Chain, held: Entry) -> tuple[tuple[int, int], ...] | None:
    """What it rests on that ``held`` was held: nothing also where the task waits to the end with a spinning lock, whose
    preemption level the walk counts; that a mutex was not released meanwhile, only the events say.
    """
    spins = evidence.classes[held.cls].kind in _SPINNING and chain.preempt & 0x0F > 0
    return () if chain.whole and spins else rests_on(chain)


def times(number: int) -> str:
    """``once``, ``7 times``."""
    return "once" if number == 1 else f"{count(number)} times"


def ring_scenario(sides: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Every CPU takes its first lock, then waits for the next one's. ``sides``: (first, second) call of each CPU."""
    width = max(_COLUMN - 7, 2 + max(len(call) for side in sides for call in side))
    yield " Possible unsafe locking scenario:"
    yield ""
    for what in ("CPU{}", "----"):
        yield ("       " + "".join(what.format(i).ljust(width) for i in range(len(sides)))).rstrip()
    for i, (first, _) in enumerate(sides):
        yield "  " + " " * (width * i) + first
    for i, (_, second) in reversed(list(enumerate(sides))):
        yield "  " + " " * (width * i) + second
    yield ""
    yield " *** DEADLOCK ***"


def self_scenario(first: str, second: str, interrupt: bool = False) -> Iterator[str]:
    """One CPU that gets in its own way."""
    yield " Possible unsafe locking scenario:"
    yield ""
    yield "       CPU0"
    yield "       ----"
    yield f"  {first};"
    if interrupt:
        yield "  <Interrupt>"
    yield f"  {'  ' if interrupt else ''}{second};"
    yield ""
    yield " *** DEADLOCK ***"


def merged(findings: Iterable[Finding]) -> Iterator[Finding]:
    """One finding for each defect and window: the loudest, most trusted and first of them is told, counts add up."""
    kept: dict[tuple[str | None, str], Finding] = {}
    for finding in findings:
        key = finding.window, finding.fingerprint
        known = kept.get(key)
        if known is None:
            kept[key] = finding
            continue
        teller = min(known, finding, key=lambda f: (f.severity == "info", _TRUST.index(f.confidence)))
        behind = {f.fingerprint: f for f in (*known.behind, *finding.behind)}
        kept[key] = replace(
            teller,
            count=known.count + finding.count,
            behind=tuple(behind.values()),
            rests=_either(teller, finding if teller is known else known),
        )
    yield from kept.values()


def _either(told: Finding, other: Finding) -> tuple[tuple[int, int], ...] | None:
    """What a defect that was met twice rests on: each time for itself, and on nothing where one time does not."""
    if told.rests is None or other.rests is None:
        return told.rests
    return () if not told.rests or not other.rests else (*told.rests, *other.rests)[:_MOST_RESTS]
