"""The recorder's script: that shells can read it, and the parts of it that need no kernel."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lockscope.kvm.places import Places, class_name
from lockscope.recording.btf import Btf
from lockscope.recording.catalogue import Wanted
from lockscope.recording.script import shell_script
from tests.builders.btf import kernel_and_module


def sh(text: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", text, "sh", *arguments], capture_output=True, text=True, check=False,
                          env=os.environ | env)  # fmt: skip


def functions(script: str) -> str:
    """The script without what it does: its functions."""
    return script[: script.index("\nwhile getopts")]


@pytest.mark.parametrize(
    "wanted", [Wanted(), Wanted((6, 12), lockdep=True), Wanted((6, 1), frozenset({"LS301"}), lockdep=False)]
)
def test_a_shell_reads_it(wanted: Wanted, tmp_path: Path) -> None:
    script = tmp_path / "probes.sh"
    script.write_text(shell_script(wanted, "1.2.3"))
    assert script.read_text().startswith("#!/bin/sh\n# Made by lockscope 1.2.3 for x86-64, ")
    assert "@" not in "".join(line for line in script.read_text().splitlines() if line.lstrip().startswith("@"))
    checked = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_it_refuses_in_one_line_where_it_may_not(tmp_path: Path) -> None:
    text = functions(shell_script(Wanted(), "1"))
    said = sh(f"{text}\nid() {{ echo 1000; }}\nlook")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == "lockscope: only root may set probes (hint: sudo sh sh ...)\n"
    said = sh(f"{text}\nid() {{ echo 0; }}\nfind_tracefs() {{ T={tmp_path}; }}\nlook")
    assert said.stderr == "lockscope: this kernel has no kprobe events (hint: CONFIG_KPROBE_EVENTS)\n"


@pytest.mark.parametrize("split", [True, False])
def test_places_of_locks_without_python(split: bool, tmp_path: Path) -> None:
    """KVM as a module, and KVM's structures known to vmlinux alone."""
    vmlinux, module = kernel_and_module()
    base, kvm = tmp_path / "vmlinux", tmp_path / "kvm"
    base.write_bytes(vmlinux.bytes())
    kvm.write_bytes(module.bytes())
    text = functions(shell_script(Wanted(), "1")).replace("/sys/kernel/btf", str(tmp_path))
    if not split:
        alone = vmlinux
        alone.types, alone.texts = vmlinux.types + module.types, vmlinux.texts + module.texts
        base.write_bytes(alone.bytes())
        kvm.unlink()
    said = sh(f"{text}\nVERSION=6001\nlayout_from_btf")
    assert said.stderr == ""
    places = Places()
    assert all(places.read(line) for line in said.stdout.splitlines())
    btf = Btf(kvm, base) if split else Btf(base)
    known = {
        p.offset: class_name("kvm", p.path, p.inside, p.kind)
        for p in btf.locks("kvm")
        if p.inside[:3] == "kvm" and p.path != "gpc_lock"
    }
    assert places.kvm == known
    assert places.vcpu == {72: "&vcpu->mutex"}
    older = sh(f"{text}\nVERSION=5010\nlayout_from_btf").stdout
    assert "0=&kvm->mmu_lock" in older


def probed(
    tmp_path: Path, version: int, kernels: str, clones: str, taken: str, fprobes: str = "yes"
) -> tuple[str, str]:
    """The lines that were set, and the notes, on a kernel that takes lines that fit ``taken`` (a shell pattern)."""
    text = functions(shell_script(Wanted(), "1"))
    events, notes = tmp_path / "dynamic_events", tmp_path / "notes"
    events.write_text("")
    notes.write_text("")
    sh(
        f"{text}\nplace() {{ case $1 in {taken}) printf '%s\\n' \"$1\" >> $D ;; *) return 1 ;; esac; }}\n"
        f"D={events} STATE={tmp_path} VERSION={version} KERNELS={kernels} MMU=tdp FPROBES={fprobes} PROBES=0\n"
        f"CLONES='{clones}'\nall_probes"
    )
    return events.read_text(), notes.read_text()


def test_the_best_way_that_the_kernel_takes(tmp_path: Path) -> None:
    lines, notes = probed(tmp_path, 6012, "lockdep", "", "*")
    assert "t:lockscope/lockdep_acquire" in lines
    assert "f:lockscope/srcu_read_lock __srcu_read_lock%return" in lines
    assert "mutex_lock" not in lines
    assert notes == ""
    lines, _ = probed(tmp_path, 6001, "stock", "", "p:*", "")
    assert "p:lockscope/srcu_read_lock_entry __srcu_read_lock ssp=%di:x64;r:lockscope/srcu_read_lock" in lines
    assert "kvm_flush_remote_tlbs_with_address" in lines
    assert "kvm_flush_remote_tlbs_range" not in lines


def test_what_cannot_be_probed_is_named(tmp_path: Path) -> None:
    clones = " gfn_to_memslot.isra.0  kvm_flush_remote_tlbs  kvm_flush_remote_tlbs.part.0  mutex_lock "
    _, notes = probed(tmp_path, 6001, "stock", clones, "*kvm_flush_remote_tlbs\\ *", "")
    assert "kvm_flush_remote_tlbs: calls of which the compiler inlined the beginning are not seen" in notes
    assert "gfn_to_memslot (the compiler left only a clone of gfn_to_memslot with other arguments): LS201 lose" in notes
    assert "mutex_lock (this kernel refuses to probe mutex_lock)" in notes
    assert "kvm_destroy_vm (kvm_destroy_vm is inlined, or not in this kernel)" in notes
    assert "mmu_spte_update" not in notes


def test_kinds_of_locks_are_listed_or_refused(tmp_path: Path) -> None:
    script = tmp_path / "probes.sh"
    script.write_text(shell_script(Wanted(), "1.0"))
    done = subprocess.run(
        ["sh", str(script), "-l", "spinlock,futex", "-n"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "lockscope: -l futex: no such kind (hint: spinlock,rwsem)\n")
