"""LS202 srcu-index-mismatch: an SRCU read section unlocked with another index than its lock returned.

What it finds
-------------
srcu_read_unlock() of an srcu_struct that the task is reading, with an index that none of its open sections has.
Sections may nest and may be left in any order: only the index has to be that of one of them.

Why it is a bug
---------------
The index says which of two reader counters is decremented. With the wrong one, one side never balances: the next
synchronize_srcu() never returns, or returns while a reader is still there.

What to do
----------
Pass to srcu_read_unlock() the index that the matching srcu_read_lock() returned; look for one variable that two
sections share.

What it looks like
------------------

```firing
     vcpu-101     [001] .....     1.000001: srcu_read_lock: (ffffffff811aeb24 <- ffffffff813a93cc) ssp=0xffffc90000003300 idx=0
     vcpu-101     [001] .....     1.000002: srcu_read_unlock: (ffffffff811aeb44) ssp=0xffffc90000003300 idx=1
```

```quiet
     vcpu-101     [001] .....     1.000001: srcu_read_lock: (ffffffff811aeb24 <- ffffffff813a93cc) ssp=0xffffc90000003300 idx=0
     vcpu-101     [001] .....     1.000002: srcu_read_lock: (ffffffff811aeb24 <- ffffffff813a93cc) ssp=0xffffc90000003300 idx=1
     vcpu-101     [001] .....     1.000003: srcu_read_unlock: (ffffffff811aeb44) ssp=0xffffc90000003300 idx=0
     vcpu-101     [001] .....     1.000004: srcu_read_unlock: (ffffffff811aeb44) ssp=0xffffc90000003300 idx=1
```

What it cannot see
------------------
A wrong index that happens to be right: the index changes only with a grace period.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks import _kvm, _kvm_srcu
from lockscope.checks.check import check
from lockscope.evidence.evidence import Evidence
from lockscope.facts.srcu_sections import SrcuEvent
from lockscope.results.findings import Finding, Severity, Witness


@check("LS202", "srcu-index-mismatch", Severity.ERROR, _kvm_srcu.section_grounds, facts=_kvm_srcu.FACTS)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every kind of srcu_struct."""
    sections = _kvm_srcu.sections_of(evidence)

    def tell(event: SrcuEvent, times: int) -> tuple[str, tuple[Witness, ...], str]:
        name = sections.name(event.ssp)
        message = (
            f"{name} ({_kvm.hex64(event.ssp)}): a read section entered with idx {event.idx} was left with idx "
            f"{event.detail} by {evidence.comm(event.pid)}/{event.pid}, {_kvm_srcu.age(event)} later"
            + (f", {times} times." if times > 1 else ".")
        )
        left = _kvm_srcu.at_event(evidence, event, f"leaves it with idx {event.detail}", "srcu_read_unlock")
        closing = "The counters of both indices are now off by one: a grace period ends too early, or never."
        return message, (_kvm_srcu.opened(evidence, event), left), closing

    yield from _kvm_srcu.findings(
        evidence, sections.of("wrong-index"), lambda e: (_class(sections.name(e.ssp)), "", "index"), tell,
        code="LS202", name="srcu-index-mismatch", title="SRCU read section left with the wrong index",
    )  # fmt: skip


def _class(name: str) -> str:
    """The class, without an address: a fingerprint is the same on another night."""
    return name.partition(" at ")[0]
