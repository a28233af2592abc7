"""What a host has, from a directory that looks like its root."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockscope.errors import UsageError
from lockscope.recording.catalogue import Wanted
from lockscope.recording.host import look, missing
from lockscope.recording.listing import comments, probes_for, tracefs_lines
from tests.builders.btf import kernel_and_module

KALLSYMS = """ffffffff81000000 T mutex_lock
ffffffff81000010 T mutex_unlock
ffffffff81000020 T __srcu_read_lock
ffffffffc0001000 t kvm_make_all_cpus_request\t[kvm]
ffffffffc0001100 t gfn_to_memslot.isra.0\t[kvm]
ffffffffc0001200 t kvm_flush_remote_tlbs\t[kvm]
ffffffffc0001300 t kvm_flush_remote_tlbs.part.0\t[kvm]
ffffffffc0001400 t kvm_destroy_vm.cold\t[kvm]
"""


def write(root: Path, name: str, text: str | bytes) -> None:
    place = root / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text if isinstance(text, bytes) else text.encode())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "proc/sys/kernel/osrelease", "6.1.0-56-amd64\n")
    write(tmp_path, "proc/kallsyms", KALLSYMS)
    write(tmp_path, "sys/kernel/tracing/events/enable", "0\n")
    write(tmp_path, "sys/kernel/tracing/README", "p[:[<group>/][<event>]] <place>\n")
    write(tmp_path, "sys/kernel/tracing/available_filter_functions", "mutex_lock\nkvm_make_all_cpus_request [kvm]\n")
    write(tmp_path, "sys/module/kvm/parameters/tdp_mmu", "Y\n")
    write(tmp_path, "sys/module/kvm_amd/parameters/npt", "1\n")
    write(tmp_path, "sys/module/kvm/initstate", "live\n")
    write(tmp_path, "boot/config-6.1.0-56-amd64", "CONFIG_KVM=m\nCONFIG_KPROBE_EVENTS=y\n")
    vmlinux, module = kernel_and_module()
    write(tmp_path, "sys/kernel/btf/vmlinux", vmlinux.bytes())
    write(tmp_path, "sys/kernel/btf/kvm", module.bytes())
    return tmp_path


def test_a_stock_host(root: Path) -> None:
    host = look(root)
    assert (host.release, host.kernel, host.lockdep, host.fprobes, host.legacy_mmu) == (
        "6.1.0-56-amd64", (6, 1), False, False, False,
    )  # fmt: skip
    assert host.parameters == {"tdp_mmu": "Y", "npt": "1"}
    assert host.modules == ("kvm",)
    assert (host.config["KVM"], host.config["PROVE_LOCKING"]) == ("m", "n")
    assert host.traceable == {"mutex_lock", "kvm_make_all_cpus_request"}
    assert host.layout[0].startswith("lockscope: struct kvm: 0=&(kvm)->mmu_lock 8=&kvm->slots_lock 44=&kvm->gpc_lock")
    assert host.layout[1] == "lockscope: struct kvm_vcpu: 72=&vcpu->mutex"
    assert host.lines()[0] == "kernel 6.1.0-56-amd64, no lockdep, fprobes no"


def test_what_cannot_be_probed_is_named_with_who_loses(root: Path) -> None:
    host = look(root)
    wanted = Wanted(host.kernel, lockdep=False)
    why = {p.event: missing(p, host) for p in probes_for(wanted, host)}
    assert why["mutex_lock"] is None
    assert why["gfn_to_memslot"] == "the compiler left only gfn_to_memslot.isra.0, with other arguments"
    assert why["kvm_destroy_vm"] == "kvm_destroy_vm is inlined, or not in this kernel"
    assert "mmu_spte_update" not in why  # tdp_mmu
    told = list(comments(wanted, host))
    assert any(line.startswith("# cannot be probed: gfn_to_memslot") and "LS201 lose by it; next best: " in line
               for line in told)  # fmt: skip
    assert any("go to kvm_flush_remote_tlbs.part.0, unseen" in line for line in told)
    assert [line.split()[0] for line in tracefs_lines(wanted, host) if line[0] != "#"] == [
        "r:lockscope/srcu_read_lock", "p:lockscope/srcu_read_lock_entry", "p:lockscope/kvm_make_all_cpus_request",
        "p:lockscope/kvm_flush_remote_tlbs", "r:lockscope/mutex_lock", "p:lockscope/mutex_lock_entry",
        "p:lockscope/mutex_unlock",
    ]  # fmt: skip


def test_a_lockdep_host_with_fprobes(root: Path) -> None:
    write(root, "sys/kernel/tracing/events/lock/lock_acquire/enable", "0\n")
    write(root, "sys/kernel/tracing/README", "f[:[<group>/][<event>]] <func-name>[%return]\n")
    write(root, "proc/sys/kernel/osrelease", "6.12.3\n")
    host = look(root)
    lines = list(tracefs_lines(Wanted(host.kernel, lockdep=host.lockdep), host))
    assert any(line.startswith("t:lockscope/lockdep_acquire lock_acquire") for line in lines)
    assert any(line.startswith("f:lockscope/srcu_read_lock __srcu_read_lock%return") for line in lines)
    assert not any("mutex_lock" in line for line in lines)


def test_a_host_without_tracefs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"hint: as root, mount -t tracefs"):
        look(tmp_path)


def test_a_host_with_preempt_rt(root: Path) -> None:
    assert not look(root).rt
    write(root, "proc/sys/kernel/version", "#1 SMP PREEMPT_RT Debian 7.3.4-1~bpo13+1 (2026-11-10)\n")
    write(root, "proc/kallsyms", KALLSYMS + "ffffffff81000030 T rt_write_lock\n")
    host = look(root)
    assert host.rt
    assert host.lines()[0] == "kernel 6.1.0-56-amd64, PREEMPT_RT, no lockdep, fprobes no"
    lines = list(tracefs_lines(Wanted(host.kernel, lockdep=False, rt=host.rt), host))
    assert "p:lockscope/rt_write_lock_entry rt_write_lock lock=%di:x64 caller=+0(%sp):x64" in lines
    assert not any("raw_write_lock" in line for line in lines)  # it is not missed either
    write(root, "proc/sys/kernel/version", "#1 SMP\n")
    write(root, "sys/kernel/realtime", "1\n")
    assert look(root).rt


def test_damaged_btf_is_a_note(root: Path) -> None:
    write(root, "sys/kernel/btf/kvm", b"nothing of the kind")
    host = look(root)
    assert host.layout == ()
    assert "no little-endian BTF" in host.notes[0]
