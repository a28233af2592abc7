"""VMs with mirror page tables: TDX guests, whose private and shared memory have SPTEs of the same gfns.

KVM keeps a mirror of the page tables that the TDX module maintains, beside those for shared memory (role bit is_mirror
of struct kvm_mmu_page, since 6.13); kvm_tdp_mmu_spte_changed says as_id, gfn and level of both, and not which root it
was. A TDX guest is told by its exits: TDCALL is basic exit reason 77 (arch/x86/include/uapi/asm/vmx.h), which no other
guest's hypercalls give.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from lockscope.facts.fact import Making
from lockscope.tables.ops import Op
from lockscope.tables.tape import TapeBatch

_VMX, _TDCALL = 1, 77
_BASIC = 0xFFFF  # the exit reason's upper bits are flags


class MirrorRoots:
    """``evidence.facts["mirror_roots"]``: the numbers of VMs that are TDX guests; 0 among them for one not known."""

    name: ClassVar[str] = "mirror_roots"
    ops: ClassVar[frozenset[Op]] = frozenset({Op.KVM_EXIT})
    needs: ClassVar[tuple[str, ...]] = ("vms",)

    def __init__(self, making: Making) -> None:
        self._vms = making.facts["vms"]
        self._found: set[int] = set()

    def feed(self, batch: TapeBatch) -> None:
        """A batch's exits."""
        rows = self._vms.index.of(Op.KVM_EXIT)
        exits = rows[(batch.slots[rows, 0] & _BASIC == _TDCALL) & (batch.slots[rows, 1] == _VMX)]
        self._found |= set(np.unique(batch.vm[exits]).tolist()) if len(exits) and batch.vm is not None else set()

    def finish(self) -> frozenset[int]:
        """The VMs."""
        return frozenset(self._found)


FACT = MirrorRoots
