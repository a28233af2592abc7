"""Locks of a kernel without lockdep, named by where they lie: from markers, and from what is known of a build."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lockscope.evidence.gather import GatherOptions, gather
from lockscope.formats.open import open_trace
from lockscope.kvm.locks import Role
from lockscope.pipeline import AnalyzeOptions, analyze
from lockscope.rules.load import choose
from lockscope.tables.ops import Op
from lockscope.tables.tape import Projector, TapeBatch
from lockscope.trace.locks import LockQuery, lock_figures
from lockscope.walk.lock_places import LockPlaces
from tests.builders.found import anomalies, chains, holds, walked
from tests.builders.records import EVENTS
from tests.builders.script import Script, Task

KVM, VCPU = 0xFFFFC90000001000, 0xFFFF888100200000
MMU, SLOTS, LOCK, SRCU, MUTEX = KVM, KVM + 8, KVM + 200, KVM + 400, VCPU + 72
PLACES = "lockscope: struct kvm: 0=&(kvm)->mmu_lock 8=&kvm->slots_lock 200=&kvm->lock 400=&kvm->srcu\n"
VCPU_PLACES = "lockscope: struct kvm_vcpu: 72=&vcpu->mutex\n"
STOCK = EVENTS | {
    "lockscope:kvm_arch_vcpu_ioctl_run": "__probe_ip:u64 vcpu:u64 kvm:u64",
    "lockscope:kvm_arch_vcpu_create": "__probe_ip:u64 vcpu:u64 kvm:u64",
    "lockscope:kvm_destroy_vm": "__probe_ip:u64 kvm:u64",
    "lockscope:synchronize_srcu_expedited": "__probe_ip:u64 ssp:u64",
    "lockscope:srcu_read_lock_entry": "__probe_ip:u64 ssp:u64",
}


def take(t: Task, at: int, function: str = "mutex_lock") -> Task:
    t.event(f"lockscope:{function}_entry", lock=at, caller=0xDEAD)
    return t.event(f"lockscope:{function}", __probe_ret_ip=0x99)


def give(t: Task, at: int, function: str = "mutex_unlock") -> Task:
    return t.event(f"lockscope:{function}", lock=at)


def nested(t: Task, outer: int, inner: int) -> Task:
    return give(give(take(take(t, outer), inner), inner), outer)


def run(t: Task) -> Task:
    return t.event("lockscope:kvm_arch_vcpu_ioctl_run", vcpu=VCPU, kvm=KVM)


def recorded(*markers: str, kernel: str = "6.1.0") -> tuple[Script, Task]:
    s = Script(kernel, events=STOCK)
    t = s.task("qemu", 100).sys_exit(at=1_000_000)
    for marker in markers:
        s.marker(marker)
    return s, t


def codes(s: Script, path: Path, *select: str) -> list[tuple[str, tuple[str, ...]]]:
    s.save(path)
    return [(f.code, f.classes) for f in analyze([str(path)], AnalyzeOptions(select=select)).findings]


def test_locks_of_a_vm_and_its_vcpu() -> None:
    s, t = recorded(PLACES, VCPU_PLACES)
    nested(run(t), MUTEX, SLOTS)
    take(t, MMU, "raw_read_lock")
    give(t, MMU, "raw_read_unlock")
    found = walked(s)
    assert chains(found) == ["&vcpu->mutex", "&vcpu->mutex > &kvm->slots_lock", "&(kvm)->mmu_lock"]
    assert [(h.name, h.known) for h in holds(found)] == [
        ("&vcpu->mutex", "both"), ("&kvm->slots_lock", "both"), ("&(kvm)->mmu_lock", "both"),
    ]  # fmt: skip
    assert {c.name: (c.kind, c.keyed) for c in found.evidence.classes} == {
        "&vcpu->mutex": ("mutex", False), "&kvm->slots_lock": ("mutex", False), "&(kvm)->mmu_lock": ("rwlock", False),
    }  # fmt: skip


def test_a_vcpu_that_never_runs() -> None:
    """As in irqfd_test and recalc_apic_map_test of 7.3: its mutex is taken all the same, by kvm_vm_ioctl()."""
    s, t = recorded(PLACES, VCPU_PLACES)
    nested(t.event("lockscope:kvm_arch_vcpu_create", vcpu=VCPU, kvm=KVM), LOCK, MUTEX)
    assert chains(walked(s)) == ["&kvm->lock", "&kvm->lock > &vcpu->mutex"]


def test_two_vms_have_one_class() -> None:
    s, t = recorded(PLACES)
    other = 0xFFFFC90000101000
    t.event("lockscope:kvm_arch_vcpu_ioctl_run", vcpu=VCPU, kvm=KVM)
    t.event("lockscope:kvm_arch_vcpu_ioctl_run", vcpu=VCPU + 4096, kvm=other)
    give(take(t, SLOTS), SLOTS)
    give(take(t, other + 8), other + 8)
    found = walked(s)
    assert [c.name for c in found.evidence.classes] == ["&kvm->slots_lock"]
    assert [h.lock + (1 << 64) for h in holds(found)] == [SLOTS, other + 8]


def test_a_lock_taken_before_its_vm_was_named() -> None:
    s, t = recorded(PLACES)
    give(take(t, SLOTS), SLOTS)
    run(t)
    assert [c.name for c in walked(s).evidence.classes] == ["&kvm->slots_lock"]


def test_without_places_nothing_is_claimed() -> None:
    s, t = recorded()
    nested(run(t), MUTEX, SLOTS)
    assert [c.name for c in walked(s).evidence.classes] == ["mutex without a name"] * 2


def test_places_of_a_known_build() -> None:
    s, t = recorded(kernel="6.1.0-56-amd64")
    nested(run(t), MUTEX, SLOTS)
    assert [c.name for c in walked(s).evidence.classes] == ["&vcpu->mutex", "&kvm->slots_lock"]


def fed(places: LockPlaces, projector: Projector, s: Script) -> list[int]:
    """Hand a script to ``places`` as one batch; the names that its rows of functions entered got."""
    reader, found = s.reader(), []
    for batch in reader.batches():
        packed = projector.project(batch, reader.formats, np.zeros(8, np.int32))
        places.take(batch, packed, reader.formats)
        tape = packed.rows(np.arange(len(packed)))
        found += tape.slot(Op.FN_ENTRY, "name", tape.of(Op.FN_ENTRY)).tolist()
    return found


def test_memory_of_a_vm_that_is_gone_is_no_lock_of_one() -> None:
    projector = Projector(frozenset(Op))
    s, t = recorded(PLACES, VCPU_PLACES)
    nested(run(t), MUTEX, SLOTS).event("lockscope:kvm_destroy_vm", kvm=KVM)
    places = LockPlaces(s.reader().info, projector.texts)
    assert [projector.texts[n] for n in fed(places, projector, s)] == ["&vcpu->mutex", "&kvm->slots_lock"]
    later, u = recorded()
    nested(u, MUTEX, SLOTS)
    assert fed(places, projector, later) == [-1, -1]


def test_roles_are_held_at_the_rows() -> None:
    seen: list[tuple[int, int]] = []

    def look(tape: TapeBatch) -> None:
        assert tape.held is not None
        rows = tape.of(Op.FN_RETURN, Op.FN_UNLOCK, Op.REQUEST)
        seen.extend(zip(tape.op[rows].tolist(), tape.held[rows, Role.SLOTS_LOCK].tolist(), strict=True))

    s, t = recorded(PLACES)
    take(run(t), SLOTS).event("lockscope:kvm_make_all_cpus_request", kvm=KVM, req=0)
    give(t, SLOTS)
    s.gathered(GatherOptions(tape=look, ops=frozenset({Op.REQUEST, Op.FN_RETURN, Op.FN_UNLOCK})))
    signed = SLOTS - (1 << 64)
    assert seen == [(Op.FN_RETURN, signed), (Op.REQUEST, signed), (Op.FN_UNLOCK, 0)]


def test_documented_order_is_judged(tmp_path: Path) -> None:
    s, t = recorded(PLACES)
    nested(run(t), SLOTS, LOCK)
    assert codes(s, tmp_path / "a.dat", "LS102") == [("LS102", ("&kvm->slots_lock", "&kvm->lock"))]
    s, t = recorded(PLACES)
    nested(run(t), LOCK, SLOTS)
    assert codes(s, tmp_path / "b.dat", "LS102") == []


def srcu_section(t: Task, lock: int) -> Task:
    t.event("lockscope:srcu_read_lock_entry", ssp=SRCU).event("lockscope:srcu_read_lock", ssp=0, idx=0)
    give(take(t, lock), lock)
    return t.event("lockscope:srcu_read_unlock", ssp=SRCU, idx=0)


def test_lock_inside_srcu_is_judged(tmp_path: Path) -> None:
    s, t = recorded(PLACES)
    give(take(run(t), SLOTS).event("lockscope:synchronize_srcu_expedited", ssp=SRCU), SLOTS)
    srcu_section(t, SLOTS)
    assert codes(s, tmp_path / "a.dat", "LS204") == [("LS204", ("&kvm->srcu", "&kvm->slots_lock"))]
    s, t = recorded(PLACES)
    give(take(run(t), SLOTS).event("lockscope:synchronize_srcu_expedited", ssp=SRCU), SLOTS)
    srcu_section(t, MMU + 40)
    assert codes(s, tmp_path / "b.dat", "LS204") == []


def test_a_missed_unlock_is_no_sleep_in_atomic() -> None:
    s, t = recorded(PLACES)
    take(run(t), MMU, "raw_read_lock")
    t.switch_to(s.idle(0))
    assert anomalies(walked(s)) == []


def test_a_release_alone_has_its_name() -> None:
    s, t = recorded(PLACES)
    give(run(t), SLOTS)
    found = walked(s)
    assert [(h.name, h.known) for h in holds(found)] == [("&kvm->slots_lock", "end")]
    assert anomalies(found) == []


def test_a_recording_of_a_stock_kernel_that_says_where_its_locks_lie() -> None:
    """The places come from the trace's markers alone: to its readers the kernel is an unknown one."""
    samples = Path(__file__).parents[2] / "sample_traces"
    reader = open_trace(str(samples / "stock61_smm.dat"))
    reader.info.kernel = "6.1.0-57-unknown"
    found = gather(reader, choose("6.1")[0], GatherOptions(facts=("srcu_sections",)))
    named = {c.name for c in found.evidence.classes}
    assert {"&kvm->lock", "&kvm->slots_lock", "&kvm->irq_lock", "&vcpu->mutex", "&(kvm)->mmu_lock",
            "&kvm->slots_arch_lock", "kvm_lock"} <= named  # fmt: skip
    facts = found.evidence.facts
    assert "&kvm->srcu" in facts["srcu_sections"].names.values()
    assert facts["srcu_sections"].slots_lock_seen


def test_an_order_planted_in_the_rules_is_found_in_a_recording_by_name() -> None:
    samples = Path(__file__).parents[2] / "sample_traces"
    options = AnalyzeOptions(rules=str(samples / "planted_order.toml"), select=("LS102",))
    (found,) = analyze([str(samples / "stock61_smm.dat")], options).findings
    assert found.classes == ("&kvm->lock", "&kvm->slots_lock")
    assert [w.location.partition("+")[0] for w in found.witnesses if w.location] == [
        "kvm_arch_vm_ioctl",
        "kvm_pic_init",
    ]


def test_statistics_have_the_names_of_the_checks(tmp_path: Path):
    """struct kvm stands three times in the markers, as in the BTF of 7.3's kvm.ko: each lock is one class still."""
    s, t = recorded(PLACES, PLACES, PLACES, VCPU_PLACES, kernel="7.3.4")
    run(t)
    nested(nested(t, MUTEX, SLOTS), SLOTS, MMU)
    s.save(tmp_path / "trace.dat")
    for query in (LockQuery(), LockQuery(by=("class", "vm"))):
        figures = lock_figures(str(tmp_path / "trace.dat"), query)
        named = {row.names[0]: row.acquired for row in figures.rows}
        assert named == {"&vcpu->mutex": 1, "&kvm->slots_lock": 2, "&(kvm)->mmu_lock": 1}
    patterns = LockQuery(classes=("&kvm*",))
    found = {row.names[0] for row in lock_figures(str(tmp_path / "trace.dat"), patterns).rows}
    assert found == {"&kvm->slots_lock", "&(kvm)->mmu_lock"}
