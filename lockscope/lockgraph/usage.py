"""In which irq states each lock was taken and held: lockdep's usage bits, each with the event that set it.

Follows mark_usage and mark_held_locks of kernel/locking/lockdep.c (6.12). What lockdep learns from the irq flag when it
changes, a trace shows in the flags of the events: a lock that is held when irqs are seen on was held with irqs on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lockscope.evidence.evidence import Evidence
from lockscope.kvm.versions import parse
from lockscope.lockgraph.graph import lock_graph
from lockscope.lockgraph.rows import (
    BH_OFF,
    CHECK,
    FLAGS,
    IN_NMI,
    IN_SOFTIRQ,
    IRQS_OFF,
    IRQS_UNKNOWN,
    READ,
    SYNC,
    TRYLOCK,
    Bools,
    Ints,
    Rows,
    hardirq_of,
    softirq_of,
)
from lockscope.tables.events import TraceInfo
from lockscope.walk.chains import NMI, TASK, Anomaly

# Bit numbers, as enum lock_usage_bit has them: state * 4 + 2 * enabled + read; state 0 hardirq, 1 softirq.
READ_BIT, ENABLED_BIT, STATE_BITS = 1, 2, 4
USED, USED_READ, IN_NMI_USE, IN_NMI_READ = 8, 9, 10, 11
# A reader that waits for writers behaves like one in an irq; only lockdep's bit does not tell the two apart.
WAITING_READ = 12  # + state

STATES = ("HARDIRQ", "SOFTIRQ")

_CACHE = "lock_usage"


def bit_name(bit: int) -> str:
    """``IN-HARDIRQ-W``, ``SOFTIRQ-ON-R`` ..., as lockdep prints them."""
    if bit >= USED:
        return {USED: "INITIAL USE", USED_READ: "INITIAL READ USE", IN_NMI_USE: "IN-NMI", IN_NMI_READ: "IN-NMI"}[bit]
    state, kind = STATES[bit // STATE_BITS], "R" if bit & READ_BIT else "W"
    return f"{state}-ON-{kind}" if bit & ENABLED_BIT else f"IN-{state}-{kind}"


@dataclass(frozen=True, slots=True)
class Mark:
    """What set a bit: the row of the lock, and the row of the acquisition that showed it, or an anomaly that did."""

    row: int
    by: int
    anomaly: Anomaly | None = None


@dataclass(slots=True)
class Usage:
    """``mask`` int64[nodes]: a node's bits. ``mark`` says what first set each."""

    mask: Ints
    rows: Ints  # int64[nodes, bits]: the lock's row, -1 unset
    by: Ints  # the acquisition's row; -2 - i: anomaly i
    anomalies: list[Anomaly]

    def has(self, node: int, bit: int) -> bool:
        """Whether a node was ever used so."""
        return bool(self.mask[node] >> bit & 1)

    def having(self, bit: int) -> Bools:
        """bool[nodes]."""
        flags: Bools = (self.mask >> bit & 1) != 0
        return flags

    def mark(self, node: int, bit: int) -> Mark:
        """The first witness of a bit that is set."""
        by = int(self.by[node, bit])
        return Mark(int(self.rows[node, bit]), by, self.anomalies[-2 - by] if by < -1 else None)

    def letters(self, node: int) -> str:
        """lockdep's ``{+.-.}``: hardirq, hardirq read, softirq, softirq read (get_usage_chars)."""
        text = ""
        for state in range(len(STATES)):
            for read in (0, READ_BIT):
                used, enabled = (self.has(node, state * STATE_BITS + b + read) for b in (0, ENABLED_BIT))
                text += "?" if used and enabled else "+" if enabled else "-" if used else "."
        return "{" + text + "}"


def irqs_on(flags: Ints, kernel: str | None) -> Bools:
    """Whether irqs were on. Unknown counts as off: before 6.13, 0x02 says that the architecture cannot tell.

    Before 5.10 lock events fire after irqs were turned off, so there they never say that irqs are on.
    """
    version = parse(kernel)
    unsure = 0 if version is not None and version.at_least(6, 13) else IRQS_UNKNOWN
    on: Bools = (flags & (IRQS_OFF | unsure | IN_NMI)) == 0
    return on


def bh_told(info: TraceInfo, flags: Ints) -> bool:
    """Whether events say if BH is off: since 6.1 (TRACE_FLAG_BH_OFF), and where text shows the bit.

    ``flags``: of all events at hand. Where the kernel's version is not known, one of them with BH off says so.
    """
    if int(info.options.get("flags_hidden", 0)) & BH_OFF:
        return False
    version = parse(info.kernel)
    if version is not None:
        return version.at_least(6, 1)
    return bool(info.options.get("bh_shown", False)) or bool((flags & BH_OFF).any())


def softirqs_on(flags: Ints, info: TraceInfo, *, told: bool) -> Bools:
    """Whether a softirq could have come in; not where nothing tells if BH is off."""
    on: Bools = irqs_on(flags, info.kernel) & ((flags & (BH_OFF | IN_SOFTIRQ)) == 0) & told
    return on


def _used_in(rows: Rows, at: Ints, info: TraceInfo) -> list[tuple[Ints, Ints]]:
    """Acquisitions that mark their own lock as used in irqs: (bit, row) columns.

    On PREEMPT_RT softirqs are tasks', and interrupt none (lockdep_softirq_enter(), include/linux/irqflags.h).
    """
    version = parse(info.kernel)
    contexts = (hardirq_of,) if version is not None and version.rt else (hardirq_of, softirq_of)
    entry = rows.entry
    read = (entry[at, READ] != 0).astype(np.int64)
    blocking = entry[at, TRYLOCK] == 0
    found = []
    for state, inside in enumerate(contexts):
        now = blocking & inside(rows.context[at], entry[at, FLAGS])
        found.append((state * STATE_BITS + read[now], at[now]))
        waits = now & (entry[at, READ] == 1)
        found.append((np.full(int(waits.sum()), WAITING_READ + state, np.int64), at[waits]))
    return found


def _enabled(rows: Rows, row: Ints, by: Ints, info: TraceInfo) -> list[tuple[Ints, Ints, Ints]]:
    """Locks (``row``) marked by acquisitions (``by``) that saw irqs on: (bit, row, by) columns."""
    flags = rows.entry[by, FLAGS]
    read = (rows.entry[row, READ] != 0).astype(np.int64)
    found = []
    told = bh_told(info, rows.entry[:, FLAGS])
    for state, seen in enumerate((irqs_on(flags, info.kernel), softirqs_on(flags, info, told=told))):
        found.append((state * STATE_BITS + ENABLED_BIT + read[seen], row[seen], by[seen]))
    return found


def _in_nmi(rows: Rows) -> list[tuple[Ints, Ints]]:
    """Locks waited for in NMI context, against any use outside it (verify_lock_unused)."""
    entry, last = rows.entry, rows.last
    nmi = rows.context[last] == NMI
    waits = last[nmi & (entry[last, TRYLOCK] == 0)]
    normal = last[~nmi]
    return [
        (IN_NMI_USE + (entry[waits, READ] != 0), waits),
        (USED + (entry[normal, READ] != 0), normal),
    ]


def _marks(evidence: Evidence, rows: Rows) -> tuple[Ints, Ints, Ints]:
    info, entry = evidence.info, rows.entry
    checked = entry[:, CHECK] != 0
    own = rows.last[rows.live & checked[rows.last]]
    under = np.flatnonzero(rows.held & rows.same & checked & rows.live[rows.chain])
    marks = [(bit, row, row) for bit, row in (*_used_in(rows, own, info), *_in_nmi(rows))]
    taken = own[entry[own, CHECK] != SYNC]  # mark_usage(): lock_sync() holds nothing that an interrupt could want
    marks += _enabled(rows, taken, taken, info)
    marks += _enabled(rows, under, rows.next[under], info)
    bit, row, by = (np.concatenate([m[i] for m in marks]).astype(np.int64) for i in range(3))
    return bit, row, by


def _from_anomalies(evidence: Evidence, rows: Rows, usage: Usage) -> None:
    """Irqs seen on at a release, or another event that is no acquisition."""
    info, told = evidence.info, bh_told(evidence.info, rows.entry[:, FLAGS])
    names = zip(rows.node_window.tolist(), rows.node_class.tolist(), rows.node_lock.tolist(), strict=True)
    node_of = {name: node for node, name in enumerate(names)}
    for i, odd in enumerate(evidence.anomalies):
        if odd.what != "irqs-on-held" or not odd.held:
            continue
        held = odd.held[0]
        node = node_of.get((odd.window, odd.cls, 0), node_of.get((odd.window, odd.cls, held.lock)))
        if node is None or not held.check or held.context != TASK:
            continue
        flags = np.array([odd.flags], np.int64)
        for state, seen in enumerate((irqs_on(flags, info.kernel), softirqs_on(flags, info, told=told))):
            bit = state * STATE_BITS + ENABLED_BIT + (held.read != 0)
            if seen[0] and not usage.has(node, bit):
                usage.mask[node] |= 1 << bit
                usage.by[node, bit] = -2 - i


def _table(rows: Rows, bit: Ints, row: Ints, by: Ints) -> tuple[Ints, Ints, Ints]:
    """Masks, and the rows of the first mark of each bit of each node."""
    nodes, width = len(rows.node_class), WAITING_READ + len(STATES)
    place = rows.node[row] * width + bit
    # Chains, and so their rows, are in the order in which they were first seen.
    who = np.full(nodes * width, len(rows.chain), np.int64)
    np.minimum.at(who, place, by)
    where = np.full(nodes * width, -1, np.int64)
    earliest = by == who[place]
    where[place[earliest]] = row[earliest]
    marked = where.reshape(nodes, width)
    mask = ((marked >= 0) * (1 << np.arange(width, dtype=np.int64))).sum(axis=1)
    return mask, marked, np.where(marked >= 0, who.reshape(nodes, width), -1)


def inconsistent(mask: Ints, state: int) -> Bools:
    """bool[nodes]: used in these irqs and held with them on, and not only read both times (mark_lock_irq)."""
    bit = state * STATE_BITS
    used, used_read, on, on_read = ((mask >> (bit + b) & 1) != 0 for b in range(4))
    conflict: Bools = (used & (on | on_read)) | (used_read & on)
    return conflict


def _consequences(rows: Rows, bit: Ints, row: Ints, mask: Ints) -> Bools:
    """Marks "held with irqs on" that another lock's being so explains: it is held further out, and irq-safe.

    Whoever forgets to turn irqs off at the outer lock makes every lock inside look unsafe; one defect, told once.
    """
    explained = np.zeros(len(bit), np.bool_)
    for state in range(len(STATES)):
        culprit = rows.held & rows.same & inconsistent(mask, state)[rows.node]
        outermost = np.full(len(rows.last), len(rows.chain), np.int64)
        np.minimum.at(outermost, rows.chain[culprit], np.flatnonzero(culprit))
        enabled = (bit // STATE_BITS == state) & (bit & ENABLED_BIT != 0)
        explained |= enabled & (row > outermost[rows.chain[row]]) & (rows.node[row] != _at(rows, outermost, row))
    return explained


def _at(rows: Rows, outermost: Ints, row: Ints) -> Ints:
    found = outermost[rows.chain[row]]
    return np.where(found < len(rows.chain), rows.node[np.minimum(found, len(rows.chain) - 1)], -1)


def lock_usage(evidence: Evidence) -> Usage:
    """The usage of every node of the lock graph; made on first use and kept in the trace's facts."""
    known = evidence.facts.get(_CACHE)
    if isinstance(known, Usage):
        return known
    rows = lock_graph(evidence).rows
    bit, row, by = _marks(evidence, rows)
    mask, _, _ = _table(rows, bit, row, by)
    keep = ~_consequences(rows, bit, row, mask)
    usage = Usage(*_table(rows, bit[keep], row[keep], by[keep]), evidence.anomalies)
    _from_anomalies(evidence, rows, usage)
    evidence.facts[_CACHE] = usage
    return usage
