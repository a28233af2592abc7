"""Which SPTE layout a trace's host has: from the values in it (``kvm.spte.find_layout``)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lockscope.facts.fact import Making
from lockscope.kvm.spte import Found, find_layout
from lockscope.tables.ops import SLOTS, Op
from lockscope.tables.tape import TapeBatch

_VALUES = {Op.SPTE_TDP: ("old", "new"), Op.SPTE_SET: ("spte",), Op.FAST_PF: ("old", "new"),
           Op.SPTE_UPDATE_ENTRY: ("old", "new"), Op.SPTE_UPDATE: ("new",)}  # fmt: skip
_ENOUGH = 1 << 12  # different values
_OF_A_BATCH = 1 << 10  # rows of each operation that are looked at


class LayoutFact:
    """``found`` is the layout as known so far: facts that are fed after this one use it."""

    name: ClassVar[str] = "spte_layout"
    ops: ClassVar[frozenset[Op]] = frozenset({*_VALUES, Op.KVM_EXIT})
    needs: ClassVar[tuple[str, ...]] = ("vms",)

    def __init__(self, making: Making) -> None:
        self._kernel = making.info.kernel
        self._vms = making.facts["vms"]
        self._sample: NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._isa: int | None = None
        self.found: Found = find_layout(self._kernel, self._sample, None)

    def feed(self, batch: TapeBatch) -> None:
        """Look at the batch's SPTEs, until there are enough."""
        if len(self._sample) >= _ENOUGH:
            return
        index = self._vms.index
        exits, known = index.of(Op.KVM_EXIT)[:1], self._isa
        if len(exits) and known is None:
            isa = int(batch.slot(Op.KVM_EXIT, "isa", exits)[0])
            self._isa = isa if isa in (1, 2) else None
        values = [self._sample]
        for op, slots in _VALUES.items():
            rows = index.of(op)
            rows = rows[:: 1 + len(rows) // _OF_A_BATCH]
            values += [batch.slots[rows, SLOTS[op].index(name)].view(np.uint64) for name in slots]
        sample = np.unique(np.concatenate(values))
        if len(sample) > len(self._sample) or self._isa != known:
            self._sample = sample
            self.found = find_layout(self._kernel, sample, self._isa)

    def finish(self) -> Found:
        """The layout and why."""
        return self.found


FACT = LayoutFact
