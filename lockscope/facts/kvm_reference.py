"""Events at which KVM touches what its reference table gives a lock for, without that lock held by the task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np

from lockscope.facts.fact import Making
from lockscope.kvm.locks import Role
from lockscope.tables.ops import Op
from lockscope.tables.tape import TapeBatch

_MOST = 4096
_REACH_NS = 10_000_000  # a raw spinlock is not held longer: its acquisition lies at most so far back


class Touch(NamedTuple):
    """One touch without the lock, resting on nothing missing since ``since_ns``."""

    ts_ns: int
    cpu: int
    pid: int
    flags: int
    vm: int
    since_ns: int


@dataclass(slots=True)
class ReferenceUse:
    """``evidence.facts["kvm_reference"]``: by what is protected, touches without the lock, and all touches."""

    bare: dict[str, list[Touch]] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)


class ReferenceFact:
    """Looks at the locks held at each event."""

    name: ClassVar[str] = "kvm_reference"
    ops: ClassVar[frozenset[Op]] = frozenset({Op.MASTER_CLOCK})
    needs: ClassVar[tuple[str, ...]] = ("vms",)

    def __init__(self, making: Making) -> None:
        self._vms = making.facts["vms"]
        self._found = ReferenceUse({"tsc": []}, {"tsc": 0})

    def feed(self, batch: TapeBatch) -> None:
        """Take a batch."""
        if batch.held is None or batch.vm is None or not len(batch.held):
            return
        rows = self._vms.index.of(Op.MASTER_CLOCK)
        self._found.seen["tsc"] += len(rows)
        bare = rows[(batch.held[rows, Role.TSC_WRITE_LOCK] == 0) & ((batch.flags[rows] & 0x58) == 0)]
        for row in np.asarray(bare)[: _MOST - len(self._found.bare["tsc"])].tolist():
            ts = int(batch.ts_ns[row])
            self._found.bare["tsc"].append(
                Touch(
                    ts,
                    int(batch.cpu[row]),
                    int(batch.pid[row]),
                    int(batch.flags[row]),
                    int(batch.vm[row]),
                    ts - _REACH_NS,
                )
            )

    def finish(self) -> ReferenceUse:
        """What was touched."""
        return self._found


FACT = ReferenceFact
