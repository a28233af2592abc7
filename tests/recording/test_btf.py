"""Offsets of locks from BTF, of a kernel with KVM as a module and of damaged files."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockscope.errors import FormatError
from lockscope.recording.btf import Btf, Place
from tests.builders.btf import kernel_and_module


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    vmlinux, kvm = tmp_path / "vmlinux", tmp_path / "kvm"
    base, module = kernel_and_module()
    vmlinux.write_bytes(base.bytes())
    kvm.write_bytes(module.bytes())
    return kvm, vmlinux


def test_locks_of_a_module(files: tuple[Path, Path]) -> None:
    btf = Btf(*files)
    assert btf.locks("kvm") == [
        Place("mmu_lock", 0, "rwlock", "kvm"),
        Place("slots_lock", 8, "mutex", "kvm"),
        Place("gpc_lock", 44, "spinlock", "kvm"),
        Place("lock", 48, "mutex", "kvm"),
        Place("arch.tsc_write_lock", 108, "raw_spinlock", "kvm_arch"),
        Place("arch.apic_map_lock", 116, "mutex", "kvm_arch"),
        Place("arch.cache.lock", 164, "rwlock", "gfn_to_pfn_cache"),
        Place("arch.cache.refresh_lock", 180, "mutex", "gfn_to_pfn_cache"),
        Place("srcu", 400, "srcu", "kvm"),
    ]
    assert btf.locks("kvm_vcpu") == [Place("mutex", 72, "mutex", "kvm_vcpu")]
    assert (btf.size("kvm"), btf.size("mutex"), btf.size("kvm_run")) == (500, 32, None)


def test_a_kernel_without_kvm(files: tuple[Path, Path]) -> None:
    assert Btf(files[1]).locks("kvm") == []


def test_damaged_files_end_in_one_line(files: tuple[Path, Path], tmp_path: Path) -> None:
    whole, broken = files[0].read_bytes(), tmp_path / "broken"
    for length in range(0, len(whole), 7):
        broken.write_bytes(whole[:length])
        with pytest.raises(FormatError, match="broken: offset 0x"):
            Btf(broken, files[1])
    for at in range(24, len(whole)):
        broken.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
        said = str(broken)
        try:
            Btf(broken, files[1]).locks("kvm")
        except FormatError as error:
            said = str(error)
        assert said.startswith(str(broken))
