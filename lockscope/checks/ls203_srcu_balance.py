"""LS203 srcu-unbalanced: a read section never left, or left without being entered.

What it finds
-------------
srcu_read_unlock() by a task that has no open section of that srcu_struct, though all its sections are known; a section
of kvm->srcu open when the task's vCPU enters the guest; a section open when its task ends; and one that was open on a
return to user space (LS206 says so too) and is not left in the whole rest of the trace. A section that one task enters
and another one leaves is told once, here.

Why it is a bug
---------------
A section that is never left blocks every grace period after it: the next change of memslots hangs. One that is left
twice lets a grace period end while somebody is still reading.

What to do
----------
Pair srcu_read_lock() and srcu_read_unlock() on every path; look at the error paths first.

What it looks like
------------------

```firing
     vcpu-101     [001] .....     1.000001: sys_enter: NR 16 (6, ae80, 0, 0, 0, 0)
     vcpu-101     [001] .....     1.000002: srcu_read_lock: (ffffffff811aeb24 <- ffffffff813a93cc) ssp=0xffffc90000003300 idx=0
     vcpu-101     [001] .....     1.000003: srcu_read_unlock: (ffffffff811aeb44) ssp=0xffffc90000003300 idx=0
     vcpu-101     [001] .....     1.000004: srcu_read_unlock: (ffffffff811aeb44) ssp=0xffffc90000003300 idx=0
```

```quiet
     vcpu-101     [001] .....     1.000001: srcu_read_unlock: (ffffffff811aeb44) ssp=0xffffc90000003300 idx=0
     vcpu-101     [001] .....     1.000002: sys_enter: NR 16 (6, ae80, 0, 0, 0, 0)
     vcpu-101     [001] .....     1.000003: srcu_read_lock: (ffffffff811aeb24 <- ffffffff813a93cc) ssp=0xffffc90000003300 idx=0
     vcpu-101     [001] .....     1.000004: srcu_read_unlock: (ffffffff811aeb44) ssp=0xffffc90000003300 idx=0
     vcpu-101     [001] d....     1.000005: kvm_entry: vcpu 0 rip 0x4081b0
```

What it cannot see
------------------
Tasks without system calls or guest entries: what they had open before the recording is not known.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks import _kvm, _kvm_srcu
from lockscope.checks.check import check
from lockscope.evidence.evidence import Evidence
from lockscope.facts.srcu_sections import SrcuEvent
from lockscope.results.findings import Finding, Severity, Witness

_HOW = {
    "not-open": "left without being entered",
    "open-at-guest": "still open when the vCPU entered the guest",
    "open-at-end": "still open when its task ended",
    "never-left": "never left",
}
_BY_OTHER = "left by another task than the one that entered it"


@check("LS203", "srcu-unbalanced", Severity.ERROR, _kvm_srcu.section_grounds, facts=_kvm_srcu.FACTS)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every kind of srcu_struct and of imbalance."""
    sections = _kvm_srcu.sections_of(evidence)
    # srcu_up_read() may leave what another task entered with srcu_down_read(); KVM has neither.
    handed_over = {e.ssp for e in sections.of("never-left", "open-at-user")} & {e.ssp for e in sections.of("not-open")}
    pairs = [pair for pair in sections.handed_over() if _is_kvms(sections.name(pair[0].ssp))]
    told = {(by.ssp, by.idx, by.open_ns) for by, _ in pairs} | {(left.ssp, left.pid, left.seq) for _, left in pairs}
    events = [
        e for e in sections.of(*_HOW)
        if not {(e.ssp, e.idx, e.open_ns), (e.ssp, e.pid, e.seq)} & told
        and (e.ssp not in handed_over or _is_kvms(sections.name(e.ssp)))
    ]  # fmt: skip
    yield from _by_others(evidence, pairs)
    ended = [e._replace(ts_ns=evidence.end_ns) if e.what == "never-left" else e for e in events]

    def tell(event: SrcuEvent, times: int) -> tuple[str, tuple[Witness, ...], str]:
        name = sections.name(event.ssp)
        message = f"{name} ({_kvm.hex64(event.ssp)}): a read section was {_HOW[event.what]}"
        witnesses: tuple[Witness, ...] = ()
        if event.open_ns:
            witnesses += (_kvm_srcu.opened(evidence, event),)
        if event.what != "never-left":
            message += f" ({evidence.comm(event.pid)}/{event.pid})"
            witnesses += (_kvm_srcu.at_event(evidence, event, f"a section of {name} {_HOW[event.what]}"),)
        blocked = "the next synchronize_srcu() never returns"
        closing = (
            "A grace period can now end under a reader."
            if event.what == "not-open"
            else f"As long as it is open, {blocked}."
        )
        return message + (f", {times} times." if times > 1 else "."), witnesses, closing

    yield from _kvm_srcu.findings(
        evidence, ended, lambda e: (sections.name(e.ssp).partition(" at ")[0], "", e.what), tell,
        code="LS203", name="srcu-unbalanced", title="SRCU read section not balanced",
    )  # fmt: skip


def _by_others(evidence: Evidence, pairs: list[tuple[SrcuEvent, SrcuEvent]]) -> Iterator[Finding]:
    sections = _kvm_srcu.sections_of(evidence)
    entered = {(left.seq, left.pid): by for by, left in pairs}
    events = [left._replace(open_ns=by.open_ns, since_ns=by.open_ns) for by, left in pairs]

    def tell(event: SrcuEvent, times: int) -> tuple[str, tuple[Witness, ...], str]:
        by, name = entered[event.seq, event.pid], sections.name(event.ssp)
        message = (
            f"{name} ({_kvm.hex64(event.ssp)}): a read section was {_BY_OTHER}: {evidence.comm(by.pid)}/{by.pid} "
            f"entered it, {evidence.comm(event.pid)}/{event.pid} left it" + (f", {times} times." if times > 1 else ".")
        )
        witnesses = _kvm_srcu.opened(evidence, by), _kvm_srcu.at_event(evidence, event, f"leaves a section of {name}")
        return message, witnesses, "lockdep has a reader that never ends in the one task, and none in the other."

    yield from _kvm_srcu.findings(
        evidence, events, lambda e: (sections.name(e.ssp).partition(" at ")[0], "", "left-by-other"), tell,
        code="LS203", name="srcu-unbalanced", title="SRCU read section not balanced",
    )  # fmt: skip


def _is_kvms(name: str) -> bool:
    return name in ("&kvm->srcu", "&kvm->irq_srcu")
