"""Words for irq usage: which event set a usage bit, as witness and as a line of the story."""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks.story import Teller, address
from lockscope.lockgraph.graph import chain_at
from lockscope.lockgraph.usage import ENABLED_BIT, IN_NMI_USE, STATE_BITS, USED, bit_name
from lockscope.results.findings import Witness

IRQ_WORDS = ("hardirq", "softirq")


def state_word(bit: int) -> str:
    """``hardirq`` or ``softirq``."""
    return IRQ_WORDS[bit // STATE_BITS]


def usage_witnesses(teller: Teller, node: int, bit: int) -> tuple[Witness, ...]:
    """The event that set a bit; where that was seen through another event, the acquisition too."""
    evidence, mark = teller.evidence, teller.usage.mark(node, bit)
    if mark.anomaly is not None:
        odd = mark.anomaly
        name = f"{teller.name(odd.cls)} at {address(odd.lock)}"
        took = evidence.witness(odd.held[0], odd.cpu, odd.pid, note=f"takes {name}")
        return took, teller.anomaly_witness(odd, "lock_release", f"irqs are on while {name} is held")
    chain, place = chain_at(evidence, teller.graph.rows, mark.row)
    entry = (*chain.held, chain.next)[place]
    name = f"{teller.name(entry.cls)} at {address(entry.lock)}"
    how = _how(bit)
    note = f"takes {name} {how}" if mark.row == mark.by else f"takes {name}"
    took = evidence.witness(entry, chain.cpu, chain.pid, note=note)
    if mark.row == mark.by:
        return (took,)
    seen = evidence.witness(chain.next, chain.cpu, chain.pid, note=f"{state_word(bit)}s are on while {name} is held")
    return took, seen


def _how(bit: int) -> str:
    if bit >= USED:
        return "in an NMI" if bit >= IN_NMI_USE else "outside of NMIs"
    return f"with {state_word(bit)}s on" if bit & ENABLED_BIT else f"in {state_word(bit)}"


def usage_lines(teller: Teller, node: int, bit: int) -> Iterator[str]:
    """``{IN-HARDIRQ-W} state was registered at:`` and where."""
    yield f"{{{bit_name(bit)}}} state was registered at:"
    for witness in usage_witnesses(teller, node, bit):
        where = f" at {witness.location}" if witness.location else ""
        yield f"  {witness.comm}/{witness.pid} {teller.moment(witness.ts_ns, witness.cpu)} {witness.note}{where}"


def lock_at(teller: Teller, node: int, bit: int) -> int:
    """The instance that a bit's first witness speaks of."""
    mark = teller.usage.mark(node, bit)
    if mark.anomaly is not None:
        return mark.anomaly.lock
    chain, place = chain_at(teller.evidence, teller.graph.rows, mark.row)
    return (*chain.held, chain.next)[place].lock


def window_of(teller: Teller, node: int) -> int:
    """The judged window of a node."""
    return int(teller.graph.rows.node_window[node])


def own_acquisition(teller: Teller, node: int, bit: int) -> bool:
    """Whether the bit was set by the lock's own acquisition, not by what was seen later under the hold."""
    mark = teller.usage.mark(node, bit)
    return mark.anomaly is None and mark.row == mark.by
