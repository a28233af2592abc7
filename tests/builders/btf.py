"""BTF files built type by type: include/uapi/linux/btf.h."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

INT, PTR, STRUCT, UNION, TYPEDEF, CONST = 1, 2, 4, 5, 8, 10


@dataclass
class BtfFile:
    """``base``: the file whose types and strings come before. Ids are what the adding methods return."""

    base: BtfFile | None = None
    types: list[bytes] = field(default_factory=list)
    texts: bytes = b""

    def __post_init__(self) -> None:
        if self.base is None:
            self.texts = b"\0"

    def _text(self, text: str) -> int:
        first = len(self.base.texts) if self.base else 0
        whole = b"\0" + text.encode() + b"\0"
        if self.base and whole in self.base.texts:
            return self.base.texts.index(whole) + 1
        if not text:
            return 0
        at = len(self.texts)
        self.texts += text.encode() + b"\0"
        return first + at

    def _add(self, name: str, kind: int, vlen: int, size: int, rest: bytes = b"", flag: int = 0) -> int:
        self.types.append(struct.pack("<3I", self._text(name), flag << 31 | kind << 24 | vlen, size) + rest)
        return len(self.types) + (len(self.base.types) if self.base else 0)

    def integer(self, name: str, size: int = 4) -> int:
        return self._add(name, INT, 0, size, struct.pack("<I", 8 * size))

    def alias(self, name: str, of: int) -> int:
        return self._add(name, TYPEDEF, 0, of)

    def pointer(self, to: int) -> int:
        return self._add("", PTR, 0, to)

    def struct(self, name: str, size: int, *members: tuple[str, int, int], kind: int = STRUCT, flag: int = 0) -> int:
        rest = b"".join(struct.pack("<3I", self._text(n), t, 8 * at) for n, t, at in members)
        return self._add(name, kind, len(members), size, rest, flag)

    def bytes(self) -> bytes:
        types = b"".join(self.types)
        head = struct.pack("<HBB5I", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(self.texts))
        return head + types + self.texts


class _Kernel(BtfFile):
    """vmlinux with the types of locks."""

    def __init__(self) -> None:
        super().__init__()
        self.u32 = self.integer("unsigned int")
        self.mutex = self.struct("mutex", 32, ("owner", self.u32, 0))
        self.rwlock = self.alias("rwlock_t", self.struct("", 8, ("raw_lock", self.u32, 0)))
        self.raw = self.alias("raw_spinlock_t", self.struct("raw_spinlock", 4, ("raw_lock", self.u32, 0)))
        self.spin = self.alias("spinlock_t", self.struct("spinlock", 4, ("rlock", self.raw, 0)))
        self.srcu = self.struct("srcu_struct", 64, ("sda", self.u32, 0))


def kernel_and_module() -> tuple[BtfFile, BtfFile]:
    """vmlinux with lock types, and a module with a small struct kvm, kvm_arch and kvm_vcpu."""
    vmlinux = _Kernel()
    mutex, rwlock, raw, spin, srcu = vmlinux.mutex, vmlinux.rwlock, vmlinux.raw, vmlinux.spin, vmlinux.srcu
    vmlinux.integer("lock")  # a text that the module shares
    module = BtfFile(vmlinux)
    gpc = module.struct("gfn_to_pfn_cache", 48, ("lock", rwlock, 0), ("refresh_lock", mutex, 16))
    arch = module.struct("kvm_arch", 200, ("tsc_write_lock", raw, 8), ("apic_map_lock", mutex, 16), ("cache", gpc, 64))
    inner = module.struct("", 4, ("gpc_lock", spin, 0), kind=UNION)
    kvm = module.struct(
        "kvm", 500, ("mmu_lock", rwlock, 0), ("slots_lock", mutex, 8), ("", inner, 44), ("lock", mutex, 48),
        ("arch", arch, 100), ("srcu", srcu, 400), flag=1,
    )  # fmt: skip
    module.struct("kvm_vcpu", 200, ("kvm", module.pointer(kvm), 0), ("mutex", mutex, 72))
    return vmlinux, module


def kernel_and_module_of_7_3() -> tuple[BtfFile, BtfFile]:
    """As Debian's 7.3.4: kvm.ko has each of struct kvm, kvm_arch and kvm_vcpu three times, one name after the other.

    With the structures that locks lie in: kvm_hv, kvm_xen, gfn_to_pfn_cache, and those without a name.
    """
    k = _Kernel()
    module = BtfFile(k)
    gpc = module.struct("gfn_to_pfn_cache", 48, ("lock", k.rwlock, 0), ("refresh_lock", k.mutex, 16))
    hv = module.struct("kvm_hv", 40, ("hv_lock", k.mutex, 0), ("guest_id", k.u32, 32))
    xen = module.struct("kvm_xen", 120, ("xen_lock", k.mutex, 0), ("shinfo_cache", gpc, 40))
    other = module.struct("", 8, ("lock", k.spin, 4))  # some other structure without a name, with a lock
    irqfds = module.struct("", 80, ("lock", k.spin, 0), ("resampler_lock", k.mutex, 40))
    async_pf = module.struct("", 40, ("queued", k.u32, 0), ("lock", k.spin, 32))
    vcpu_arch = module.struct("kvm_vcpu_arch", 100, ("pv_time", gpc, 50))
    # declared with a flag or a bit field, in one of them: not the same type to who makes BTF
    for size in (904, 912, 920):
        module.struct(
            "kvm", size, ("mmu_lock", k.rwlock, 0), ("slots_lock", k.mutex, 8), ("lock", k.mutex, 48),
            ("irqfds", irqfds, 80), ("arch", len(k.types) + len(module.types) + 5, 200), ("srcu", k.srcu, 800),
            ("other", other, 880), flag=int(size == 912),
        )  # fmt: skip
    for size in (500, 504, 508):
        module.struct("kvm_arch", size, ("tsc_write_lock", k.raw, 8), ("apic_map_lock", k.mutex, 16),
                      ("hyperv", hv, 100), ("xen", xen, 200))  # fmt: skip
    for size in (300, 304, 308):
        module.struct("kvm_vcpu", size, ("mutex", k.mutex, 72), ("pid_lock", k.rwlock, 104),
                      ("async_pf", async_pf, 120), ("arch", vcpu_arch, 180))  # fmt: skip
    return k, module
