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


def kernel_and_module() -> tuple[BtfFile, BtfFile]:
    """vmlinux with lock types, and a module with a small struct kvm, kvm_arch and kvm_vcpu."""
    vmlinux = BtfFile()
    u32 = vmlinux.integer("unsigned int")
    mutex = vmlinux.struct("mutex", 32, ("owner", u32, 0))
    rwlock = vmlinux.alias("rwlock_t", vmlinux.struct("", 8, ("raw_lock", u32, 0)))
    raw = vmlinux.alias("raw_spinlock_t", vmlinux.struct("raw_spinlock", 4, ("raw_lock", u32, 0)))
    spin = vmlinux.alias("spinlock_t", vmlinux.struct("spinlock", 4, ("rlock", raw, 0)))
    srcu = vmlinux.struct("srcu_struct", 64, ("sda", u32, 0))
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
