"""Names of locks by where they lie, as markers say them and as they are read again."""

from __future__ import annotations

import pytest

from lockscope.kvm.known_places import of_release
from lockscope.kvm.locks import KVM_LOCKS, Role, role_of
from lockscope.kvm.places import STATIC, Places, class_name, markers, ways_to_locks


@pytest.mark.parametrize(
    ("struct", "path", "inside", "kind", "name"),
    [
        ("kvm", "slots_lock", "kvm", "mutex", "&kvm->slots_lock"),
        ("kvm", "mmu_lock", "kvm", "rwlock", "&(kvm)->mmu_lock"),
        ("kvm", "mmu_lock", "kvm", "spinlock", "&kvm->mmu_lock"),
        ("kvm", "arch.nx_once.lock", "once", "mutex", "&kvm->arch.nx_once"),
        ("kvm", "arch.hyperv.hv_lock", "kvm_hv", "mutex", "&hv->hv_lock"),
        ("kvm", "arch.xen.shinfo_cache.lock", "gfn_to_pfn_cache", "rwlock", "&gpc->lock"),
        ("kvm_vcpu", "mutex", "kvm_vcpu", "mutex", "&vcpu->mutex"),
        ("kvm_vcpu", "arch.pv_time.refresh_lock", "gfn_to_pfn_cache", "mutex", "&gpc->refresh_lock"),
    ],
)
def test_class_names(struct: str, path: str, inside: str, kind: str, name: str) -> None:
    assert class_name(struct, path, inside, kind) == name


def test_what_is_sought_is_known_to_the_rulebooks() -> None:
    ways = {name: steps for steps, name in ways_to_locks()}
    assert ways["&kvm->lock"] == ("kvm.lock",)
    assert ways["&vcpu->mutex"] == ("kvm_vcpu.mutex",)
    assert ways["&hv->hv_lock"] == ("kvm.arch", "kvm_arch.hyperv", "kvm_hv.hv_lock")
    assert ways["&kvm->irqfds.resampler_lock"] == ("kvm.irqfds", "irqfds.resampler_lock")
    per_vm = {name for lock in KVM_LOCKS if lock.per_vm for name in lock.names}
    # 6.12 made vcpu->pid's lock an rwlock
    assert {name for name in ways if name not in per_vm} <= {"&(kvm)->mmu_lock", "&kvm->irqfds.lock", "&vcpu->pid_lock"}
    assert role_of("&(kvm)->mmu_lock") is Role.MMU_LOCK
    assert role_of(STATIC[0]) is Role.KVM_LOCK


def test_markers_are_read_again() -> None:
    places = Places()
    kvm = {8 * i: f"&kvm->member_{i:02}" for i in range(60)}
    texts = markers("kvm", kvm.items())
    assert len(texts) > 1
    assert max(map(len, texts)) < 1000
    assert [places.read(text + "\n") for text in texts] == [True] * len(texts)
    assert places.read(texts[0]) is False
    assert places.read("lockscope: struct kvm_vcpu: 72=&vcpu->mutex")
    assert places.read("lockscope: symbols: 0xffffffffc0001000=kvm_lock 0x1000=other")
    assert (places.kvm, places.vcpu) == (kvm, {72: "&vcpu->mutex"})
    assert places.static == {0xFFFFFFFFC0001000 - (1 << 64): "kvm_lock", 0x1000: "other"}


@pytest.mark.parametrize("text", ["", "lockscope: struct kvm:", "lockscope: struct page: 8=&x", "struct kvm: x=&y",
                                  "lockscope: struct kvm: 8=", "lockscope: symbols: 5=kvm_lock"])  # fmt: skip
def test_other_markers_say_nothing(text: str) -> None:
    places = Places()
    assert not places.read(text)
    assert not places


def test_known_releases() -> None:
    known = of_release("6.1.0-56-amd64")
    assert (known.kvm[8], known.kvm[39624], known.vcpu[72]) == ("&kvm->slots_lock", "&kvm->srcu", "&vcpu->mutex")
    assert not of_release("6.1.0-57-amd64")
    assert not of_release(None)
