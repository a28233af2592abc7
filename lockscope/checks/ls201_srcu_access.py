"""LS201 srcu-unprotected-access: memslots or buses reached without the SRCU that protects them.

What it finds
-------------
A probed function that looks memslots or I/O buses up (gfn_to_memslot, kvm_vcpu_gfn_to_memslot, mark_page_dirty_in_slot,
kvm_io_bus_read, kvm_io_bus_write) runs in a task that is in no read section of kvm->srcu and does not hold
kvm->slots_lock, the update side's lock; of kvm_zap_gfn_range, which enters a section itself on fixed kernels, the same is
asked where it takes mmu_lock. Judged are tasks whose system call or guest exit was seen, so that a section
that began before the recording is no alarm, and VMs that are neither being created nor destroyed.

A section of another VM's kvm->srcu, or its slots_lock, protects nothing: found where it is the task's only one, and where
the VMs' locks lie is known by the accesses that are right (three of four at least).

Why it is a bug
---------------
Somebody who changes the memslots waits in synchronize_srcu() for readers only: without a section the memslot array is
freed under the reader's feet.

What to do
----------
Enter a read section of kvm->srcu around the access (kvm_vcpu_srcu_read_lock() on a vCPU), or hold kvm->slots_lock.

What it looks like
------------------

```firing
     vcpu-101     [001] .....     1.000001: sys_enter: NR 16 (6, 4040aea0, 7ffd00001000, 0, 0, 0)
     vcpu-101     [001] .....     1.000002: srcu_read_lock: (ffffffff811aeb24 <- ffffffff813a93cc) ssp=0xffffc90000003300 idx=0
     vcpu-101     [001] .....     1.000003: gfn_to_memslot: (ffffffff81030ae4) kvm=0xffffc90000001000 gfn=384
     vcpu-101     [001] .....     1.000004: srcu_read_unlock: (ffffffff811aeb44) ssp=0xffffc90000003300 idx=0
     vcpu-101     [001] .....     1.000005: gfn_to_memslot: (ffffffff81030ae4) kvm=0xffffc90000001000 gfn=385
     qemu-100     [000] .....     1.000006: lock_acquire: 0xffffc900000010b8 &kvm->slots_lock
     qemu-100     [000] .....     1.000007: lock_release: 0xffffc900000010b8 &kvm->slots_lock
```

```quiet
     vcpu-101     [001] .....     1.000001: sys_enter: NR 16 (6, 4040aea0, 7ffd00001000, 0, 0, 0)
     vcpu-101     [001] .....     1.000002: srcu_read_lock: (ffffffff811aeb24 <- ffffffff813a93cc) ssp=0xffffc90000003300 idx=0
     vcpu-101     [001] .....     1.000003: gfn_to_memslot: (ffffffff81030ae4) kvm=0xffffc90000001000 gfn=384
     vcpu-101     [001] .....     1.000004: srcu_read_unlock: (ffffffff811aeb44) ssp=0xffffc90000003300 idx=0
     qemu-100     [000] .....     1.000005: sys_enter: NR 16 (5, 4010ae42, 7ffd00001000, 0, 0, 0)
     qemu-100     [000] .....     1.000006: lock_acquire: 0xffffc900000010b8 &kvm->slots_lock
     qemu-100     [000] .....     1.000007: gfn_to_memslot: (ffffffff81030ae4) kvm=0xffffc90000001000 gfn=386
     qemu-100     [000] .....     1.000008: lock_release: 0xffffc900000010b8 &kvm->slots_lock
```

What it cannot see
------------------
kvm_memslots(), __gfn_to_memslot() and kvm_get_bus() are inlined: most accesses leave no event. MSR and PMU filters and
other things that kvm->srcu protects are not probed.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks import _kvm, _kvm_srcu
from lockscope.checks.check import Grounds, check
from lockscope.core.kvm_flush import IOCTL
from lockscope.core.kvm_srcu import BY_SLOTS_LOCK, KVM_CREATE_VM
from lockscope.evidence.evidence import Evidence
from lockscope.facts.srcu_sections import SrcuEvent
from lockscope.kvm.ioctls import ioctl_text
from lockscope.results.findings import Finding, RuleRef, Severity, Witness
from lockscope.units import count

_ACCESSES = (
    "gfn_to_memslot",
    "kvm_vcpu_gfn_to_memslot",
    "mark_page_dirty_in_slot",
    "kvm_io_bus_read",
    "kvm_io_bus_write",
    "kvm_zap_gfn_range",
    "kvm_read_guest_page",
    "kvm_vcpu_read_guest_page",
)


def grounds(evidence: Evidence) -> Grounds:
    """Accesses, read sections, slots_lock, and what shows that a task's sections are all known."""
    if _kvm.never_released(evidence):
        return _kvm.skipped(_kvm.NO_RELEASES)
    if not _kvm.has(evidence, *_ACCESSES):
        return _kvm.skipped(
            f"no memslot or bus accesses: the probes lockscope:{_ACCESSES[0]} and others; {_kvm.RECORD}"
        )
    found = _kvm_srcu.sections_of(evidence)
    lockdep = evidence.plain or evidence.detailed
    if not _kvm_srcu.probed(evidence) and not lockdep:
        return _kvm.skipped(
            f"no read sections: the probes lockscope:srcu_read_lock and srcu_read_unlock; {_kvm.RECORD}"
        )
    if not found.slots_lock_seen and not lockdep:
        return _kvm.skipped("kvm->slots_lock, which protects accesses too, could not be told from other mutexes")
    if found.accesses and not found.judged_accesses:
        return _kvm.skipped("where tasks began is not known: trace-cmd record -e raw_syscalls -e kvm")
    return _kvm.partial_if_lost(evidence)


@check("LS201", "srcu-unprotected-access", Severity.ERROR, grounds, facts=_kvm_srcu.FACTS)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every function and system call."""
    vms = _kvm.vms_of(evidence)
    found = _kvm_srcu.sections_of(evidence).of("unprotected")
    events = [e for e in found if not _creating(e) and vms.follows(e.pid, "locks") and vms.follows(e.pid, "srcu")]
    others = [e for e in _kvm_srcu.sections_of(evidence).of("other-vm") if not _creating(e)]
    rule = next((RuleRef(r.id, r.source) for r in evidence.rules.reference if r.lock == "kvm->srcu"), None)

    def tell(event: SrcuEvent, times: int) -> tuple[str, tuple[Witness, ...], str]:
        name = _kvm.event_name(event.op)
        who = f"{evidence.comm(event.pid)}/{event.pid}"
        vm = _kvm.vms_of(evidence).label(event.vm)
        message = (
            f"{vm}: {name}() was called {count(times)} time{'s' if times != 1 else ''} by a task "
            f"({who} the first time, {_call(event)}) that neither was in a kvm->srcu read section nor held "
            "kvm->slots_lock."
        )
        known = f"enters the kernel ({_call(event).removeprefix('in ')}), in no read section"
        start = _kvm.witness(evidence, event.since_ns, event.cpu, event.pid, "sys_enter", known)
        missing = "neither srcu_read_lock(&kvm->srcu) nor mutex_lock(&kvm->slots_lock)"
        seen = _kvm_srcu.at_event(evidence, event, f"{name}() in no read section of kvm->srcu", missing=missing)
        return message, (start, seen), "The memslots or buses it looks at can be replaced and freed meanwhile."

    def of_another(event: SrcuEvent, times: int) -> tuple[str, tuple[Witness, ...], str]:
        name, guard = _kvm.event_name(event.op), "slots_lock" if event.idx == BY_SLOTS_LOCK else "srcu"
        message = (
            f"{name}() looked at the VM whose kvm is {_kvm.hex64(event.kvm)} {count(times)} "
            f"time{'s' if times != 1 else ''} in a task ({evidence.comm(event.pid)}/{event.pid} the first time, "
            f"{_call(event)}) that held only the {guard} of the one at {_kvm.hex64(event.detail)}."
        )
        seen = _kvm_srcu.at_event(evidence, event, f"{name}() under {guard} at {_kvm.hex64(event.ssp)}")
        return message, (seen,), "The memslots or buses it looks at can be replaced and freed meanwhile."

    yield from _kvm_srcu.findings(
        evidence, events, lambda e: ("&kvm->srcu", "", _kvm.event_name(e.op), _flow(e)), tell,
        code="LS201", name="srcu-unprotected-access", title="memslots or buses accessed without kvm->srcu", rule=rule,
    )  # fmt: skip
    yield from _kvm_srcu.findings(
        evidence, others, lambda e: ("&kvm->srcu", "", _kvm.event_name(e.op), _flow(e), "another VM's"), of_another,
        code="LS201", name="srcu-unprotected-access", title="memslots or buses accessed under another VM's kvm->srcu",
        rule=rule,
    )  # fmt: skip


def _creating(event: SrcuEvent) -> bool:
    """While KVM_CREATE_VM runs, nobody else can know the VM (``users_count`` is 0)."""
    return event.call == IOCTL and event.arg & 0xFFFFFFFF == KVM_CREATE_VM


def _flow(event: SrcuEvent) -> str:
    """The system call as fingerprints have it: by numbers alone, as they always had."""
    return f"in ioctl {event.arg & 0xFFFFFFFF:#x}" if event.call == IOCTL else _call(event)


def _call(event: SrcuEvent) -> str:
    """The system call, by number; of ioctl the request, by name."""
    if event.call == IOCTL:
        return f"in {ioctl_text(event.arg)}"
    return f"in system call {event.call}" if event.call >= 0 else "in no known system call"
