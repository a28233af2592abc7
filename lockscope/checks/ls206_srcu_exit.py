"""LS206 srcu-held-on-exit: a read section open on return to user space.

What it finds
-------------
A task returns from a system call with an open SRCU read section, by the probes on both ends of sections. Where only
lockdep's events were recorded, by those. One that another task leaves is LS203's.

Why it is a bug
---------------
User space can do anything next, or nothing for hours: every synchronize_srcu() waits until the task comes back.

What to do
----------
Leave the section on every path out of the system call; look at the error paths first.

What it looks like
------------------

```firing
     vcpu-101     [001] .....     1.000001: sys_enter: NR 16 (6, ae80, 0, 0, 0, 0)
     vcpu-101     [001] .....     1.000002: srcu_read_lock: (ffffffff811aeb24 <- ffffffff813a93cc) ssp=0xffffc90000003300 idx=0
     vcpu-101     [001] .....     1.000003: srcu_read_unlock: (ffffffff811aeb44) ssp=0xffffc90000003300 idx=0
     vcpu-101     [001] .....     1.000004: srcu_read_lock: (ffffffff811aeb24 <- ffffffff813a93cc) ssp=0xffffc90000003300 idx=0
     vcpu-101     [001] .....     1.000005: sys_exit: NR 16 = -4
```

```quiet
     vcpu-101     [001] .....     1.000001: sys_enter: NR 16 (6, ae80, 0, 0, 0, 0)
     vcpu-101     [001] .....     1.000002: srcu_read_lock: (ffffffff811aeb24 <- ffffffff813a93cc) ssp=0xffffc90000003300 idx=0
     vcpu-101     [001] .....     1.000003: srcu_read_unlock: (ffffffff811aeb44) ssp=0xffffc90000003300 idx=0
     vcpu-101     [001] .....     1.000004: sys_exit: NR 16 = -4
```

What it cannot see
------------------
Sections that began before the recording.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks import _kvm, _kvm_srcu
from lockscope.checks._anomaly import balance_confidence, balance_reason
from lockscope.checks.check import Grounds, check
from lockscope.checks.story import merged
from lockscope.evidence.evidence import Evidence
from lockscope.facts.srcu_sections import SrcuEvent
from lockscope.kvm.locks import kind_of
from lockscope.results.findings import Finding, Severity, Witness
from lockscope.walk.chains import TASK, Anomaly, Entry

_TITLE = "SRCU read section held when returning to user space"
_EFFECT = "Every synchronize_srcu() waits until it is left."


def grounds(evidence: Evidence) -> Grounds:
    """System calls, and sections by probes or by lockdep."""
    if not _kvm.has(evidence, "sys_exit"):
        return _kvm.skipped("no returns to user space: trace-cmd record -e raw_syscalls")
    if not _kvm_srcu.probed(evidence) and not (evidence.plain or evidence.detailed):
        return _kvm.skipped(
            f"no read sections: the probes lockscope:srcu_read_lock and srcu_read_unlock; {_kvm.RECORD}"
        )
    return _kvm.partial_if_lost(evidence)


@check("LS206", "srcu-held-on-exit", Severity.ERROR, grounds, facts=_kvm_srcu.FACTS)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every kind of srcu_struct."""
    if not _kvm_srcu.probed(evidence):
        yield from merged(
            f for odd in evidence.anomalies if odd.what == "held-at-user" for f in _by_lockdep(evidence, odd)
        )
        return
    sections = _kvm_srcu.sections_of(evidence)
    left_by_others = {(e.pid, e.ssp, e.open_ns) for e, _ in sections.handed_over()}  # LS203 tells of them
    events = [e for e in sections.of("open-at-user") if (e.pid, e.ssp, e.open_ns) not in left_by_others]

    def tell(event: SrcuEvent, times: int) -> tuple[str, tuple[Witness, ...], str]:
        name = sections.name(event.ssp)
        message = (
            f"{evidence.comm(event.pid)}/{event.pid} returned to user space in a read section of {name} "
            f"({_kvm.hex64(event.ssp)}), entered {_kvm_srcu.age(event)} before"
            + (f" ({times} times)." if times > 1 else ".")
        )
        left = _kvm_srcu.at_event(evidence, event, f"returns with a section of {name} open, idx {event.idx}",
                                  missing=f"no srcu_read_unlock() of {name}")  # fmt: skip
        return message, (_kvm_srcu.opened(evidence, event), left), _EFFECT

    yield from _kvm_srcu.findings(
        evidence, events, lambda e: (sections.name(e.ssp).partition(" at ")[0], "", "user"), tell,
        code="LS206", name="srcu-held-on-exit", title=_TITLE,
    )  # fmt: skip


def _by_lockdep(evidence: Evidence, odd: Anomaly) -> Iterator[Finding]:
    for entry in odd.held:
        cls = evidence.classes[entry.cls]
        if entry.context == TASK and (cls.kind or kind_of(cls.name)) == "srcu" and _stands(evidence, entry, odd):
            took = evidence.witness(entry, odd.cpu, odd.pid, note=f"enters a read section of {cls.name}")
            left = _kvm.witness(
                evidence, odd.ts_ns, odd.cpu, odd.pid, "sys_exit", f"returns with a section of {cls.name} open",
                missing=f"no srcu_read_unlock() of {cls.name}",
            )  # fmt: skip
            message = f"{evidence.comm(odd.pid)}/{odd.pid} returned to user space in a read section of {cls.name}."
            yield Finding(
                "LS206",
                "srcu-held-on-exit",
                Severity.ERROR,
                balance_confidence(evidence),
                _TITLE,
                message,
                (cls.name,),
                count=odd.count,
                witnesses=(took, left),
                flow="user",
                window=evidence.window(odd.window),
                story=_kvm.story(evidence, (message,), (took, left)),
                effect=_EFFECT,
                reason=balance_reason(evidence),
                by_events=True,
            )


def _stands(evidence: Evidence, entry: Entry, odd: Anomaly) -> bool:
    return _kvm.stands(evidence, entry.ts_ns, odd.ts_ns)
