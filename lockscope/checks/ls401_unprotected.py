"""LS401 unprotected-field: what a lock protects by the reference table was touched without it.

What it finds
-------------
KVM's reference table says which lock protects what. Of that, tracepoints show the bookkeeping of the guest's TSC:
kvm_track_tsc and kvm_update_master_clock are emitted where KVM compares and copies the last TSC written, which
kvm->arch.tsc_write_lock protects (from 5.17 on; pvclock_gtod_sync_lock had a part of it before). Memslots and buses are
LS201, SPTEs are LS303.

Why it is a bug
---------------
Two vCPUs that synchronise their TSC at the same time each see the other's half-written values: their guests' clocks drift
apart, or jump.

What to do
----------
Take the lock around the access.

What it looks like
------------------

```firing
     qemu-100     [000] d..1.     1.000001: lock_acquire: 0xffffc90000002868 &kvm->arch.tsc_write_lock
     qemu-100     [000] d..1.     1.000002: lock_release: 0xffffc90000002868 &kvm->arch.tsc_write_lock
     qemu-100     [000] .....     1.020003: kvm_track_tsc: vcpu_id 0 masterclock 0 offsetmatched 0 nr_online 1 hostclock tsc
```

```quiet
     qemu-100     [000] d..1.     1.000001: lock_acquire: 0xffffc90000002868 &kvm->arch.tsc_write_lock
     qemu-100     [000] d..1.     1.000002: kvm_track_tsc: vcpu_id 0 masterclock 0 offsetmatched 0 nr_online 1 hostclock tsc
     qemu-100     [000] d..1.     1.000003: lock_release: 0xffffc90000002868 &kvm->arch.tsc_write_lock
```

What it cannot see
------------------
The rest of the table: no event shows vm_list, the hardware-enable count or the lists of blocked vCPUs being touched.
kvm_write_tsc_offset does not count: loading a vCPU on a CPU with an unstable TSC moves its own offset without the lock.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks import _kvm
from lockscope.checks.check import Grounds, check
from lockscope.evidence.evidence import Evidence
from lockscope.facts.kvm_reference import ReferenceUse
from lockscope.kvm.locks import Role, role_of
from lockscope.kvm.versions import parse
from lockscope.results.findings import Confidence, Finding, RuleRef, Severity

_LOCK = "&kvm->arch.tsc_write_lock"
_TITLE = "the guest's TSC bookkeeping touched without its lock"


def grounds(evidence: Evidence) -> Grounds:
    """The events, the lock, and a kernel for which the rule is known."""
    if _kvm.never_released(evidence):
        return _kvm.skipped(_kvm.NO_RELEASES)
    if not _kvm.has(evidence, "kvm_track_tsc", "kvm_update_master_clock"):
        return _kvm.skipped("none of the events that show protected fields: trace-cmd record -e kvm")
    if not evidence.seen("kvm_track_tsc", "kvm_update_master_clock"):
        return _kvm.partial_if_lost(evidence)  # switched on, and nothing touched
    if not _lock_recorded(evidence) or not any(role_of(c.name) is Role.TSC_WRITE_LOCK for c in evidence.classes):
        return _kvm.skipped(
            "tsc_write_lock was not recorded: lockscope record -- COMMAND on a kernel with CONFIG_PROVE_LOCKING, "
            "lockscope record --locks spinlock -- COMMAND elsewhere"
        )
    kernel = parse(evidence.info.kernel)
    if kernel is not None and kernel.before(5, 17):
        return _kvm.skipped("before 5.17 other locks protect what the events show")
    return _kvm.partial_if_lost(evidence)


def _lock_recorded(evidence: Evidence) -> bool:
    """Whether every way of taking the lock shows (kvm_synchronize_tsc() and __kvm_start_pvclock_update(),
    arch/x86/kvm/x86.c, 5.17 to 7.3).
    """
    return (
        evidence.plain
        or evidence.detailed
        or all(_kvm.has(evidence, f"raw_spin_lock_{how}") for how in ("irq", "irqsave"))
    )


@check("LS401", "unprotected-field", Severity.WARNING, grounds, facts=("kvm_reference", "vms"))
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for what is protected."""
    use = evidence.facts.get("kvm_reference")
    if not isinstance(use, ReferenceUse):
        return
    vms = _kvm.vms_of(evidence)
    bare = [e for e in _kvm.standing(evidence, use.bare["tsc"]) if vms.follows(e.pid, "locks")]
    if not bare:
        return
    first = bare[0]
    rule = next((RuleRef(r.id, r.source) for r in evidence.rules.reference if "tsc_write_lock" in r.lock), None)
    message = (
        f"{_kvm.vms_of(evidence).label(first.vm)}: {evidence.comm(first.pid)}/{first.pid} compared or copied the last "
        f"TSC written without {_LOCK} ({len(bare)} of {use.seen['tsc']} times)."
    )
    seen = (
        _kvm.witness(
            evidence,
            first.ts_ns,
            first.cpu,
            first.pid,
            "kvm_track_tsc",
            f"without {_LOCK}",
            first.flags,
            missing=f"{_LOCK} not taken",
        ),
    )
    yield Finding(
        "LS401",
        "unprotected-field",
        Severity.WARNING,
        Confidence.LIKELY,
        _TITLE,
        message,
        (_LOCK,),
        rule,
        len(bare),
        seen,
        _kvm.story(evidence, (message,), seen),
        "tsc",
        _kvm.window_at(evidence, first.ts_ns, first.ts_ns),
        effect="Two vCPUs can see different guest TSCs, or a clock that was computed from half an update.",
        reason="the event is in the function that reads the fields, not at the access itself",
        by_events=True,
    )
