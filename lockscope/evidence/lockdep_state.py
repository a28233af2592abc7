"""Whether lockdep itself was on: what rests on its annotations is only seen as long as it is.

After its first report lockdep is off for the rest of the boot (debug_locks_off(), lib/debug_locks.c). lock_acquire and
lock_release go on, but lock_set_class() and lock_set_subclass() return before they initialise the map of the held lock
(kernel/locking/lockdep.c, 6.12: lock_set_class() asks lockdep_enabled(), __lock_set_class() debug_locks), so that
lockscope:lockdep_init, the only event that they leave, stops coming: two locks of one class that were told apart look
like recursion. lock_downgrade() and lock_pin_lock() leave no event at any time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lockscope.core.tape_rows import H_OP
from lockscope.evidence.nesting import annotated_names
from lockscope.tables.ops import Op
from lockscope.units import seconds

if TYPE_CHECKING:
    from lockscope.evidence.evidence import Evidence
    from lockscope.kvm.versions import KernelVersion
    from lockscope.tables.tape import TapeBatch
    from lockscope.tables.texts import Texts
    from lockscope.walk.chains import Chain, Entry

# Lines of lockdep's reports, after each of which it is off (kernel/locking/lockdep.c, 4.14 to 7.3), and what any other
# report says where it is off already (debug_show_held_locks()). Not "suspicious RCU usage": that leaves it on.
_REPORT = re.compile(
    r"WARNING: (possible (circular locking dependency|recursive locking|irq lock inversion)|inconsistent lock state"
    r"|bad unlock balance|lock held when returning|held lock freed|bad contention"
    r"|.*-safe -> .*-unsafe lock order|Nested lock was not taken)|BUG: Invalid wait context|INFO: lockdep is turned off"
    r"|(?:BUG: MAX_LOCK\w* |MAX_LOCKDEP_\w+ )too low"
)
_ENOUGH = 4096  # situations looked at
_SWAPPED_BEFORE = (5, 13)
_WAITING, _SOME = 4, 8  # tasks that wait as a short text ends; events that say something


@dataclass(slots=True)
class LockdepState:
    """``off_ns``: since when lockdep is known to be off, at the latest; None: nothing says so. ``why``: what did.

    ``annotated``: by class key, when a held lock was last given another subclass. ``exchanged``: lock_acquired and
    lock_contended stood for each other, and were read so.
    """

    off_ns: int | None = None
    why: str = ""
    annotated: dict[int, int] = field(default_factory=dict)
    exchanged: bool = False

    def feed(self, batch: TapeBatch, texts: Texts) -> None:
        """Look for a report on the console, where printk:console was recorded."""
        if self.off_ns is not None:
            return
        words = texts.all()
        for row in batch.of(Op.CONSOLE).tolist():
            number = int(batch.slots[row, 0])
            if 0 <= number < len(words) and _REPORT.search(words[number]):
                self.off_ns, self.why = int(batch.ts_ns[row]), "lockdep's report on the console"
                return

    def learn(self, evidence: Evidence) -> None:
        """From the situations: one pair of call sites that annotated its locks before, and then did not."""
        told = {c.key for c in evidence.classes if c.keyed and c.subclass < 0}
        if not told or evidence.windowed:
            return
        with_note: dict[tuple[int, int, int], int] = {}
        without: list[tuple[tuple[int, int, int], int]] = []
        for chain, held in _twins(evidence, told):
            key = evidence.classes[chain.next.cls].key
            site, marked = (key, held.ip, chain.next.ip), evidence.classes[held.cls].subclass < 0
            if marked:
                last = evidence.classes[held.cls].annotated_ns
                with_note[site] = self.annotated[key] = max(last, chain.next.ts_ns, self.annotated.get(key, 0))
            else:
                without.append((site, chain.next.ts_ns))
        since = [ts for site, ts in without if site in with_note and ts > with_note[site]]
        if since and (self.off_ns is None or min(since) < self.off_ns):
            self.off_ns, self.why = min(since), "code that annotated its locks before no longer does"

    def hides(self, evidence: Evidence, chain: Chain, held: Entry) -> bool:
        """Whether two nested locks of one class may have been told apart by an annotation that left no event.

        A trace without lockscope:lockdep_init has none of these, on or off: there, what was recorded is judged.
        """
        if self.off_ns is None and not evidence.has("lockdep_init"):
            return False
        cls = evidence.classes[chain.next.cls]
        if held.lock == chain.next.lock or not (cls.name in annotated_names() or cls.key in self.annotated):
            return False
        seen_later = self.annotated.get(cls.key, 0) > chain.next.ts_ns
        return not seen_later

    @property
    def doubt(self) -> str | None:
        """For a check's status and for whoever reads the trace; None where lockdep is not known to be off."""
        if self.off_ns is None:
            return None
        return (
            f"lockdep was off from {seconds(self.off_ns)} on at the latest ({self.why}): what code says of locks it "
            "holds (lock_set_class, lock_set_subclass) leaves no event then; boot anew, record before the first report"
        )


def _twins(evidence: Evidence, keys: set[int]) -> list[tuple[Chain, Entry]]:
    """Situations in which a lock with one of these keys was asked for under another one with the same key."""
    chains = evidence.chains
    if not len(chains):
        return []
    key = np.array([c.key if c.keyed and c.key in keys else 0 for c in evidence.classes], np.int64)
    of = key[chains.entries[:, 0]]
    last = chains.start[1:] - 1
    nxt = np.repeat(of[last], np.diff(chains.start))
    same = (of == nxt) & (of != 0)
    same[last] = False
    found = []
    for row in np.flatnonzero(same)[:_ENOUGH].tolist():
        i = int(np.searchsorted(chains.start, row, side="right")) - 1
        chain = chains[i]
        found.append((chain, chain.held[row - int(chains.start[i])]))
    return found


def exchanged(ops: NDArray[np.int64], kernel: KernelVersion | None) -> bool:
    """Whether lock_acquired stands for lock_contended and the reverse.

    From 5.9 to 5.12 lock_acquired() called trace_lock_contended() and lock_contended() trace_lock_acquired()
    (kernel/locking/lockdep.c); stable kernels were mended at different times. A lock is got at least as often as it is
    waited for, so that of such a kernel there are more "contended" than "acquired".
    """
    if kernel is not None and not (kernel.at_least(5, 9) and kernel.before(*_SWAPPED_BEFORE)):
        return False
    got, waited = int(np.count_nonzero(ops == Op.ACQUIRED)), int(np.count_nonzero(ops == Op.CONTENDED))
    if got == 0:  # lock_acquired may not have been recorded; then only what was waited for remains, which is little
        return waited >= _SOME and 4 * waited > int(np.count_nonzero(ops == Op.ACQUIRE))
    return waited > got + _WAITING * (kernel is None)


def swap(head: NDArray[np.int64]) -> None:
    """Give the rows of exchanged events their meaning."""
    op = head[:, H_OP]
    got, waited = op == Op.ACQUIRED, op == Op.CONTENDED
    op[got], op[waited] = Op.CONTENDED, Op.ACQUIRED
