"""Where KVM's locks lie in ``struct kvm`` and ``struct kvm_vcpu``, and what lockdep would call them there.

A kernel without lockdep names no lock, but an address in a structure says which it is. Who records reads the offsets
from the kernel's BTF and writes them into the trace as markers, in the words of this module; who reads the trace finds
them again. Nothing but the standard library, no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

PREFIX = "lockscope: "  # of every marker that lockscope's recorders write
_MOST_TEXT = 600  # bytes: the kernel cuts a marker after 1024 (TRACE_BUF_SIZE, kernel/trace/trace.h, 6.1)
_STRUCT = re.compile(r"struct (kvm|kvm_vcpu):((?: \d{1,7}=\S+)+)")
_SYMBOLS = re.compile(r"symbols:((?: 0x[0-9a-f]{1,16}=\S+)+)")
_OWNER = {"kvm": "kvm", "kvm_vcpu": "vcpu"}

# lockdep's names are the arguments of the init macros. Most are ``&kvm->`` or ``&vcpu->`` and the member's path; these
# are not: kvm_hv_init_vm() (arch/x86/kvm/hyperv.c, since 5.14), kvm_gpc_init() (virt/kvm/pfncache.c),
# kvm_page_track_init() (arch/x86/kvm/mmu/page_track.c); read in 6.1 and 6.12. once_init() names its mutex after its
# argument (include/linux/call_once.h, 6.14).
_SPELLED = {
    ("kvm", "arch.hyperv.hv_lock"): "&hv->hv_lock",
    ("kvm", "arch.track_notifier_head.track_srcu"): "&head->track_srcu",
    ("kvm", "arch.nx_once.lock"): "&kvm->arch.nx_once",
}
_IN_OTHERS = {"gfn_to_pfn_cache": "gpc", "xarray": "xa"}

# What a recorder without Python looks for: members, from struct kvm or struct kvm_vcpu through the structures on the
# way (read in 6.1, 6.12 and 7.3; what a kernel has not is left out). "irqfds" and "async_pf" stand for structures
# without a name.
_GPC = ("lock", "refresh_lock")
_SOUGHT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("kvm", ("mmu_lock", "slots_lock", "slots_arch_lock", "mn_invalidate_lock", "gpc_lock", "lock", "ring_lock",
             "irq_lock", "srcu", "irq_srcu")),
    ("kvm.irqfds/irqfds", ("lock", "resampler_lock")),
    ("kvm.arch/kvm_arch", ("mmu_unsync_pages_lock", "apic_map_lock", "apicv_update_lock", "tsc_write_lock",
                           "tdp_mmu_pages_lock", "hv_root_tdp_lock", "pvclock_gtod_sync_lock")),
    ("kvm.arch/kvm_arch.track_notifier_head/kvm_page_track_notifier_head", ("track_srcu",)),
    ("kvm.arch/kvm_arch.nx_once/once", ("lock",)),
    ("kvm.arch/kvm_arch.hyperv/kvm_hv", ("hv_lock",)),
    ("kvm.arch/kvm_arch.xen/kvm_xen", ("xen_lock",)),
    ("kvm.arch/kvm_arch.xen/kvm_xen.shinfo_cache/gfn_to_pfn_cache", _GPC),
    ("kvm_vcpu", ("mutex", "pid_lock")),
    ("kvm_vcpu.async_pf/async_pf", ("lock",)),
    ("kvm_vcpu.arch/kvm_vcpu_arch.pv_time/gfn_to_pfn_cache", _GPC),
    *((f"kvm_vcpu.arch/kvm_vcpu_arch.xen/kvm_vcpu_xen.{cache}/gfn_to_pfn_cache", _GPC)
      for cache in ("vcpu_info_cache", "vcpu_time_info_cache", "runstate_cache", "runstate2_cache")),
)  # fmt: skip
# Locks of what KVM allocates apart from struct kvm, by kind and by the only functions that take them: ioapic.c has one
# spinlock, and of i8254.c's mutexes these functions take the PIT's (arch/x86/kvm, 6.1, 6.12 and 7.3).
_TAKEN_BY = (
    ("&ioapic->lock", "spinlock", re.compile(
        r"(kvm_)?ioapic_(mmio_(read|write)|scan_entry|set_irq|clear_all|eoi_inject_work|update_eoi(_one)?)"
        r"|kvm_[gs]et_ioapic|kvm_rtc_eoi_tracking_restore_one")),
    ("&pit->pit_state.lock", "mutex", re.compile(
        r"__kvm_migrate_pit_timer|(pit|speaker)_ioport_(read|write)|kvm_vm_ioctl_([gs]et_pit2?|reinject)")),
)  # fmt: skip
STATIC = ("kvm_lock", "kvm_usage_lock", "kvm_count_lock", "vendor_module_lock", "kvm_debugfs_lock")


def class_name(struct: str, path: str, inside: str = "", kind: str = "") -> str:
    """The lock class of a member: ``("kvm", "arch.apic_map_lock")`` is ``&kvm->arch.apic_map_lock``.

    ``inside``: the structure that the member itself is of. ``kind`` of lock, "" where not known: an rwlock as mmu_lock
    is spelled as since 5.12 (see ``kvm.locks``).
    """
    if path == "mmu_lock" and struct == "kvm":
        return "&kvm->mmu_lock" if kind == "spinlock" else "&(kvm)->mmu_lock"
    if inside in _IN_OTHERS:
        return f"&{_IN_OTHERS[inside]}->{path.rpartition('.')[2]}"
    return _SPELLED.get((struct, path)) or f"&{_OWNER[struct]}->{path}"


def class_taken_by(kind: str, functions: Iterable[str]) -> str | None:
    """The class of a lock that all these functions took; None where that does not tell, or there are none."""
    plain = {function.partition(".")[0] for function in functions}  # the compiler's clones: .part.0, .isra.0
    fits = (name for name, of, takers in _TAKEN_BY if of == kind and all(takers.fullmatch(f) for f in plain))
    return next(fits, None) if plain else None


def ways_to_locks() -> Iterator[tuple[tuple[str, ...], str]]:
    """What ``_SOUGHT`` says, lock by lock: steps, ``("kvm.arch", "kvm_arch.apic_map_lock")``, and the class name."""
    for structures, members in _SOUGHT:
        for member in members:
            steps = f"{structures}.{member}".split("/")
            path = ".".join(step.partition(".")[2] for step in steps)
            yield tuple(steps), class_name(steps[0].partition(".")[0], path, steps[-1].partition(".")[0])


@dataclass(slots=True)
class Places:
    """Class names by structure and offset in bytes, and of static locks by address (as int64 has it)."""

    kvm: dict[int, str] = field(default_factory=dict)
    vcpu: dict[int, str] = field(default_factory=dict)
    static: dict[int, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.kvm or self.vcpu or self.static)

    def read(self, marker: str) -> bool:
        """Take in the text of a marker; whether it said anything new."""
        before = len(self.kvm) + len(self.vcpu) + len(self.static)
        text = marker.strip().removeprefix(PREFIX)
        found = _STRUCT.fullmatch(text)
        if found:
            into = self.kvm if found[1] == "kvm" else self.vcpu
            into.update((int(offset), name) for offset, name in _pairs(found[2]))
        symbols = _SYMBOLS.fullmatch(text)
        if symbols:
            self.static.update((_signed(int(at, 16)), name) for at, name in _pairs(symbols[1]))
        return len(self.kvm) + len(self.vcpu) + len(self.static) > before


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for word in text.split():
        place, _, name = word.partition("=")
        yield place, name


def _signed(address: int) -> int:
    return address - (1 << 64) if address >> 63 else address


def markers(struct: str, found: Iterable[tuple[int, str]]) -> list[str]:
    """The texts that say where locks lie in a structure: offsets with class names."""
    texts = [f"{PREFIX}struct {struct}:"]
    for offset, name in found:
        if len(texts[-1]) > _MOST_TEXT:
            texts.append(f"{PREFIX}struct {struct}:")
        texts[-1] += f" {offset}={name}"
    return [text for text in texts if not text.endswith(":")]
