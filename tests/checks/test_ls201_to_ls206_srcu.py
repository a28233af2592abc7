"""LS201 to LS206: SRCU read sections, by probes and by lockdep, whole and with gaps."""

from __future__ import annotations

import pytest

from lockscope.results.findings import Confidence, Severity, Status, Verdict
from tests.builders.kvm import GET_LOG, RUN, SET_MEMORY, KvmScript
from tests.builders.script import HARDIRQ

SRCU = ("LS2",)
LOCKS = ("lock_acquire", "lock_acquired", "lock_release", "lockdep_acquire")
PROBES = ("srcu_read_lock", "srcu_read_unlock")


def test_a_host_at_work_is_clean():
    script = KvmScript()
    with script.qemu.ioctl(GET_LOG), script.qemu.slots_lock():
        script.qemu.access()
    with script.vcpu.ioctl(RUN), script.vcpu.srcu():
        script.vcpu.access()
    runs, found = script.judged("LS2")
    assert found == []
    assert {run.code: (run.status, run.verdict) for run in runs} == {
        f"LS20{n}": (Status.RAN, Verdict.CLEAN) for n in range(1, 7)
    }


def test_an_access_says_who_and_in_which_ioctl():
    script = KvmScript()
    for _ in range(3):
        with script.vcpu.ioctl(0x8004AE98):
            script.vcpu.access()
    (finding,) = script.found("LS201")
    assert (finding.code, finding.severity, finding.confidence, finding.count) == (
        "LS201",
        Severity.ERROR,
        "certain",
        3,
    )
    assert finding.classes == ("&kvm->srcu",)
    assert "ioctl(KVM_GET_MP_STATE)" in finding.message
    assert finding.flow == "gfn_to_memslot|in ioctl 0x8004ae98"  # fingerprints stay
    assert finding.witnesses[-1].missing == "neither srcu_read_lock(&kvm->srcu) nor mutex_lock(&kvm->slots_lock)"
    assert "gfn_to_memslot() was called 3 times" in finding.message
    assert f"VM 1 (kvm at {script.vm.kvm:#x})" in finding.message
    assert finding.rule is not None


def test_two_ways_to_the_same_function_are_two_findings():
    script = KvmScript()
    for cmd in (0x8004AE98, 0x8004AE98, RUN):
        with script.vcpu.ioctl(cmd):
            script.vcpu.access()
    found = script.found("LS201")
    assert sorted(f.count for f in found) == [1, 2]
    assert len({f.fingerprint for f in found}) == 2


@pytest.mark.parametrize("guard", ["srcu", "slots_lock", "both", "own"])
@pytest.mark.parametrize("by_vcpu", [False, True])
def test_another_vms_guard_protects_nothing(guard, by_vcpu):
    """S15: the memslots of one VM, looked at inside a section of another one's kvm->srcu, or with its slots_lock."""
    script = KvmScript()
    for _ in range(4):
        with script.qemu.ioctl(RUN), script.qemu.srcu():
            script.qemu.access()
        with script.stranger.ioctl(GET_LOG), script.stranger.slots_lock():
            script.stranger.access(vm=script.other)
    vcpu = 0xFFFF888107390000
    task = script.stranger  # works on script.other
    with task.ioctl(RUN):
        kvm = script.other if guard == "own" else script.vm
        if by_vcpu:
            task.event("lockscope:kvm_arch_vcpu_ioctl_run", vcpu=vcpu, kvm=kvm.kvm)
        with task.slots_lock() if guard == "slots_lock" else task.srcu():
            if guard == "both":
                task.read_lock(ssp=script.vm.srcu)
            if by_vcpu:
                task.event("lockscope:kvm_vcpu_gfn_to_memslot", vcpu=vcpu, gfn=0x180)
            else:
                task.access(vm=kvm)
            if guard == "both":
                task.read_unlock(ssp=script.vm.srcu)
    found = script.found("LS201")
    assert [f.severity for f in found] == ([Severity.ERROR] if guard in ("srcu", "slots_lock") else [])
    if found:
        assert f"held only the {guard} of the one at 0x{script.other.kvm:x}" in found[0].message


def test_where_the_guard_lies_in_struct_kvm_must_be_known():
    """One access, and nothing that says where kvm->srcu lies: it is the right one as far as anybody knows."""
    script = KvmScript(without=("lock_acquire", "lockdep_acquire"))
    with script.qemu.ioctl(RUN), script.qemu.srcu():
        script.qemu.access(vm=script.other)
    assert [f for f in script.found("LS201") if "held only" in f.message] == []


def test_a_vm_being_created_is_nobody_elses():
    script = KvmScript()
    with script.qemu.ioctl(0xAE01):
        script.qemu.access()
    assert script.found("LS201") == []


@pytest.mark.parametrize("gap", ["before", "inside", "after"])
def test_an_access_after_a_gap_is_no_alarm(gap):
    script = KvmScript()
    if gap == "before":
        script.vcpu.enter()
        script.loss(1)
        script.at(script.now + 5_000_000)
    with script.vcpu.ioctl(RUN):
        script.at(script.now + 5_000_000)
        if gap == "inside":
            script.loss(1)
        script.vcpu.access()
    script.at(script.now + 5_000_000)
    if gap == "after":
        script.vcpu.enter()
        script.at(script.now + 5_000_000)
        script.loss(1)
    runs, found = script.judged("LS201")
    assert [f.code for f in found] == ([] if gap == "inside" else ["LS201"])
    assert runs[0].status is Status.PARTIAL


def test_sections_by_lockdep_alone_protect_too():
    script = KvmScript(without=PROBES)
    with script.vcpu.ioctl(RUN):
        with script.vcpu.srcu():
            script.vcpu.access()
        script.vcpu.access(0x181)
    (finding,) = script.found("LS201")
    assert finding.count == 1


@pytest.mark.parametrize(
    ("without", "code", "says"),
    [
        (("gfn_to_memslot",), "LS201", "lockscope record"),
        ((*LOCKS, *PROBES), "LS201", "srcu_read_lock"),
        (LOCKS, "LS201", "slots_lock"),
        (PROBES, "LS202", "lockscope:srcu_read_lock"),
        (PROBES, "LS203", "lockscope:srcu_read_lock"),
        (("synchronize_srcu", "synchronize_srcu_expedited"), "LS205", "synchronize_srcu"),
        (("sys_exit",), "LS206", "raw_syscalls"),
        ((*LOCKS,), "LS204", "lock events"),
        (("lock_release",), "LS204", "lock_release"),
        (("lock_release",), "LS201", "lock_release"),
    ],
)
def test_what_is_missing_is_said_with_how_to_record_it(without, code, says):
    script = KvmScript(without=without)
    (run,), found = script.judged(code)
    assert (run.status, run.verdict, found) == (Status.SKIPPED, Verdict.UNKNOWN, [])
    assert says in (run.reason or "")


def test_wrong_index():
    script = KvmScript()
    with script.vcpu.ioctl(RUN):
        script.vcpu.read_lock(0).read_unlock(1)
    (finding,) = script.found("LS202")
    assert finding.classes == ("&kvm->srcu",)
    assert "entered with idx 0 was left with idx 1" in finding.message
    assert [w.event for w in finding.witnesses] == ["srcu_read_lock", "srcu_read_unlock"]


def test_a_section_that_is_never_left_is_told_as_both():
    script = KvmScript()
    with script.vcpu.ioctl(RUN):
        script.vcpu.read_lock(0)
    assert script.loud(*SRCU) == ["LS203", "LS206"]


def test_a_section_left_in_the_next_call_was_only_open_on_exit():
    script = KvmScript()
    with script.vcpu.ioctl(RUN):
        script.vcpu.read_lock(0)
    with script.vcpu.ioctl(RUN):
        script.vcpu.read_unlock(0)
    assert script.loud(*SRCU) == ["LS206"]


def test_open_on_exit_by_lockdep_alone():
    script = KvmScript(without=PROBES)
    with script.vcpu.ioctl(RUN):
        script.vcpu.read_lock(0)
    found = script.found("LS206")
    assert [(f.code, f.classes) for f in found] == [("LS206", ("&kvm->srcu",))]


def test_a_section_that_another_task_leaves_is_one_finding():
    script = KvmScript()
    with script.qemu.ioctl(RUN):
        script.qemu.read_lock(0)
    with script.vcpu.ioctl(RUN):
        script.vcpu.read_unlock(0)
    assert script.loud(*SRCU, "LS105", "LS106") == ["LS203"]
    (finding,) = script.found("LS203")
    assert "left by another task than the one that entered it" in finding.message
    assert [w.pid for w in finding.witnesses] == [script.qemu.pid, script.vcpu.pid]


FUNCTION = 0xFFFFFFFF81190000


@pytest.mark.parametrize("unlock_seen", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_sections_of_srcus_own_code_are_nobodys(unlock_seen, inside):
    """srcu_gp_start_if_needed() with its unlock inlined (Debian's arm64 6.1), and not."""
    script = KvmScript()
    vcpu, ssp = script.vcpu, script.vm.srcu

    def call_srcu() -> None:
        own = {"ssp": ssp, "idx": 0, "__probe_func": FUNCTION, "__probe_ret_ip": FUNCTION + 0x900}
        vcpu.event("lockscope:srcu_read_lock", **own)
        if unlock_seen:
            vcpu.event("lockscope:srcu_read_unlock", ssp=ssp, idx=0)

    with vcpu.ioctl(RUN):
        call_srcu()
    with vcpu.ioctl(RUN):
        vcpu.read_lock(0)
        if inside:
            call_srcu()
        vcpu.read_unlock(0)
    assert script.loud(*SRCU) == []


def test_sections_of_srcus_own_code_hide_no_leak():
    script = KvmScript()
    own = {"ssp": script.vm.srcu, "idx": 0, "__probe_func": FUNCTION, "__probe_ret_ip": FUNCTION + 0x900}
    with script.vcpu.ioctl(RUN):
        script.vcpu.event("lockscope:srcu_read_lock", **own)
        script.vcpu.read_lock(0)
    assert script.loud(*SRCU) == ["LS203", "LS206"]


@pytest.mark.parametrize("lost", ["unlock", "lock"])
def test_a_lost_end_is_no_imbalance(lost):
    script = KvmScript()
    vcpu = script.vcpu
    with vcpu.ioctl(RUN):
        if lost == "unlock":
            vcpu.read_lock(0)
        script.loss(1)
        if lost == "lock":
            vcpu.read_unlock(0)
    assert script.loud(*SRCU) == []


def test_handed_over_sections_of_another_srcu_are_no_imbalance():
    script = KvmScript()
    foreign = 0xFFFF888101000000
    for task, event in ((script.qemu, "lockscope:srcu_read_lock"), (script.vcpu, "lockscope:srcu_read_unlock")):
        with task.ioctl(RUN):
            task.event(event, ssp=foreign, idx=0)
    assert script.loud("LS203") == []


@pytest.mark.parametrize("kernel", ["6.12.1", "5.15.3", "4.14.336"])
def test_slots_lock_inside_a_read_section(kernel):
    script = KvmScript(kernel)
    with script.vcpu.ioctl(RUN), script.vcpu.srcu(), script.vcpu.slots_lock():
        pass
    (finding,) = script.found("LS204")
    assert finding.classes == ("&kvm->srcu", "&kvm->slots_lock")
    assert finding.confidence in (Confidence.CERTAIN, Confidence.LIKELY)
    assert "*** DEADLOCK ***" in finding.story


def test_near_misses_of_lock_inside_srcu():
    script = KvmScript()
    vcpu, vm = script.vcpu, script.vm
    with vcpu.ioctl(RUN):
        with vcpu.srcu():
            vcpu.take("&kvm->slots_arch_lock", vm.kvm + 344).release("&kvm->slots_arch_lock", vm.kvm + 344)
            vcpu.acquire("&kvm->slots_lock", vm.slots_lock, trylock=True).release("&kvm->slots_lock", vm.slots_lock)
        with vcpu.slots_lock(), vcpu.srcu():
            pass
        with vcpu.mmu_lock():
            pass
    assert script.found("LS204") == []


def test_slots_arch_lock_around_a_grace_period():
    script = KvmScript()
    qemu, vm = script.qemu, script.vm
    with qemu.ioctl(SET_MEMORY), qemu.slots_lock():
        qemu.take("&kvm->slots_arch_lock", vm.kvm + 344)
        qemu.event("lockscope:synchronize_srcu_expedited", ssp=vm.srcu)
        qemu.release("&kvm->slots_arch_lock", vm.kvm + 344)
    (finding,) = script.found("LS204")
    assert finding.classes == ("&kvm->srcu", "&kvm->slots_arch_lock")


XEN = ("&kvm->arch.xen.xen_lock", 7472)


@pytest.mark.parametrize(
    ("kernel", "classes"), [("6.12.1", ("&kvm->srcu", XEN[0])), ("6.1.100", ("&kvm->srcu", XEN[0]))]
)
def test_a_lock_that_only_the_trace_shows_around_a_grace_period(kernel, classes):
    """a79b53aaaab5: xen_lock held around synchronize_srcu(), and taken by a hypercall inside the read section."""
    script = KvmScript(kernel)
    name, at = XEN[0], script.vm.kvm + XEN[1]
    with script.qemu.ioctl(SET_MEMORY):
        script.qemu.take(name, at).event("lockscope:synchronize_srcu", ssp=script.vm.srcu).release(name, at)
    with script.vcpu.ioctl(RUN), script.vcpu.srcu():
        script.vcpu.take(name, at).release(name, at)
    found = script.found("LS204")
    assert [f.classes for f in found] == [classes]


def test_another_vms_lock_is_another_lock():
    script = KvmScript()
    name, at = XEN[0], script.other.kvm + XEN[1]
    with script.stranger.ioctl(SET_MEMORY):
        script.stranger.take(name, at).release(name, at)
        script.stranger.event("lockscope:synchronize_srcu", ssp=script.other.srcu)
    with script.vcpu.ioctl(RUN), script.vcpu.srcu():
        script.vcpu.take("&kvm->slots_lock", script.other.slots_lock).release(
            "&kvm->slots_lock", script.other.slots_lock
        )
    assert script.found("LS204") == []


def test_the_lock_of_a_vm_that_nothing_else_shows_is_another_lock():
    """No VM is known by its locks, but one struct kvm is not as large as these two are apart."""
    script = KvmScript()
    near, far = script.vm.srcu - 0x2000, script.vm.srcu - 0x200000
    for task, lock in ((script.vcpu, far), (script.vcpu, near)):
        with task.ioctl(RUN), task.srcu():
            task.take("&kvm->slots_lock", lock).release("&kvm->slots_lock", lock)
        assert [f.code for f in script.found("LS204")] == ([] if lock == far else ["LS204"])


def test_synchronize_inside():
    script = KvmScript()
    with script.qemu.ioctl(SET_MEMORY), script.qemu.srcu():
        script.qemu.event("lockscope:synchronize_srcu", ssp=script.vm.srcu)
    (finding,) = script.found("LS205")
    assert finding.classes == ("&kvm->srcu",)
    assert "called synchronize_srcu()" in finding.message


def test_windows_are_judged_one_by_one():
    script = KvmScript()
    script.marker("begin first")
    with script.vcpu.ioctl(RUN):
        script.vcpu.read_lock(0).read_unlock(1)
    script.marker("end")
    with script.vcpu.ioctl(RUN):
        script.vcpu.read_lock(0).read_unlock(1)
    from lockscope.evidence.gather import GatherOptions
    from lockscope.pipeline import judged, selected_checks

    checks = selected_checks(("LS202",))
    options = GatherOptions(("srcu_sections",), window_start="begin (?P<name>.*)", window_end="end")
    _, found = judged(script.gathered(options).evidence, checks)
    assert [(f.window, f.count) for f in found] == [("first", 1)]


def test_an_interrupts_section_is_nobody_elses():
    script = KvmScript()
    assert script.qemu.pid ^ 2 == script.vcpu2.pid  # 2: hardirq context
    with script.qemu.context(0x9, preempt=2):
        script.qemu.read_lock(ssp=script.vm.irq_srcu)
        script.vcpu2.sys_exit()
        script.qemu.read_unlock(ssp=script.vm.irq_srcu)
    script.qemu.sys_exit()
    assert script.found("LS2") == []


def test_what_an_interrupt_takes_inside_a_tasks_section_is_not_inside_it():
    script = KvmScript()
    with script.vcpu.ioctl(RUN), script.vcpu.srcu(), script.vcpu.context(HARDIRQ):
        script.vcpu.take("&kvm->slots_lock", script.vm.slots_lock)
        script.vcpu.release("&kvm->slots_lock", script.vm.slots_lock)
    assert script.found("LS204") == []
    with script.vcpu.ioctl(RUN), script.vcpu.srcu(), script.vcpu.slots_lock():
        pass
    assert [f.code for f in script.found("LS204")] == ["LS204"]
