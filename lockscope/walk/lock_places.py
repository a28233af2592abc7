"""Names for the locks of a kernel without lockdep, by where they lie in ``struct kvm`` and ``struct kvm_vcpu``.

The places come from markers in the trace (``kvm.places``), or are known of the build; where the structures lie is said
by the probes that have a ``kvm`` or ``vcpu`` argument. Names go into the tape before the walk, so that a class, its
role and the rules about it are those of a lockdep kernel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lockscope.core.tape_rows import H_OP, H_SLOTS
from lockscope.kvm.known_places import of_release
from lockscope.kvm.places import PREFIX
from lockscope.tables.binary_print import PrintFormats, render
from lockscope.tables.events import EventBatch, EventFormat, TraceInfo
from lockscope.tables.ops import Op, slot
from lockscope.tables.tape import PackedTape
from lockscope.tables.texts import Texts

_MARKERS = ("print", "tracing_mark_write")
_MOST_MARKERS = 4096  # marker events looked at: the recorder's own come first
_MOST_OBJECTS = 1 << 14  # VMs, and vCPUs
_KVM = (Op.RUN, Op.VCPU, Op.REQUEST, Op.MEMSLOT, Op.MARK_DIRTY, Op.FLUSH, Op.FLUSH_ALL, Op.ZAP_RANGE, Op.DESTROY_VM)
_VCPU = (Op.RUN, Op.VCPU, Op.VCPU_MEMSLOT, Op.BUS)

OPS = frozenset({*_KVM, *_VCPU})  # the rows that say where VMs and vCPUs are


def is_marker(of: EventFormat) -> bool:
    """Whether events of this format may be markers: the recorder's say where locks lie."""
    return of.name in _MARKERS and of.system in ("ftrace", "")


class LockPlaces:
    """What is known so far; ``take`` every batch with its tape, in order, before the walk."""

    def __init__(self, info: TraceInfo, texts: Texts) -> None:
        self._info, self._texts = info, texts
        self._places = of_release(info.kernel)
        self._markers = 0
        self._kvms: set[int] = set()
        self._dying: set[int] = set()
        self._vcpus: dict[int, int] = {}  # to its kvm, 0 where no probe said it
        self._names: dict[int, str] = {}
        self._known: NDArray[np.int64] = np.zeros((2, 0), np.int64)  # addresses, sorted, and numbers of their names

    def name(self, lock: int) -> str | None:
        """The class name of the lock or ``srcu_struct`` at an address (as int64), None where it is not known."""
        return self._names.get(lock)

    def take(self, batch: EventBatch, tape: PackedTape, formats: list[EventFormat]) -> None:
        """Learn from a batch, and fill the names of its rows."""
        fresh = self._read_markers(batch, formats)
        if not self._places:
            return
        if self._learn(tape) or fresh:
            self._list_names()
        if not self._known.shape[1]:
            return
        self._fill(tape, Op.FN_ENTRY)
        self._fill(tape, Op.FN_UNLOCK)

    def _fill(self, tape: PackedTape, op: Op) -> None:
        rows = _slots(tape, op)
        locks = tape.slots[rows]
        at = np.minimum(np.searchsorted(self._known[0], locks), self._known.shape[1] - 1)
        hit = self._known[0, at] == locks
        tape.slots[rows[hit] + slot(op, "name")] = self._known[1, at[hit]]

    def _read_markers(self, batch: EventBatch, formats: list[EventFormat]) -> bool:
        kinds = [f.index for f in formats if is_marker(f)]
        if not kinds or self._markers >= _MOST_MARKERS:
            return False
        marked = np.logical_or.reduce([batch.kind == kind for kind in kinds])
        rows = np.flatnonzero(marked)[: _MOST_MARKERS - self._markers].tolist()
        self._markers += len(rows)
        none = PrintFormats(b"", self._info.symbols()) if rows else None
        fresh = False
        for row in rows:
            text = render(batch, row, formats[int(batch.kind[row])], none) if none else ""
            fresh |= text.startswith(PREFIX) and self._places.read(text)
        return fresh

    def _learn(self, tape: PackedTape) -> bool:
        """Where VMs and vCPUs are; whether that changed."""
        before = len(self._kvms), len(self._vcpus)
        gone, self._dying = self._dying, set()
        self._forget(gone)
        for op in _KVM:
            found = _pointers(tape, op, "kvm")
            self._kvms |= found
            if op is Op.DESTROY_VM:
                self._dying = found
        for op in _VCPU:
            for vcpu in _pointers(tape, op, "vcpu"):
                self._vcpus.setdefault(vcpu, 0)
        for op in (Op.VCPU, Op.RUN):
            rows = _slots(tape, op)
            pairs = np.unique([tape.slots[rows + slot(op, name)] for name in ("vcpu", "kvm")], axis=1).T
            self._vcpus.update((vcpu, kvm) for vcpu, kvm in pairs.tolist() if vcpu < 0)
        return bool(gone) or before != (len(self._kvms), len(self._vcpus))

    def _forget(self, gone: set[int]) -> None:
        """Their memory may be anything now. Locks of a VM are still taken while it is destroyed: a batch later."""
        self._kvms -= gone
        self._vcpus = {vcpu: kvm for vcpu, kvm in self._vcpus.items() if kvm not in gone}

    def _list_names(self) -> None:
        names = dict(self._places.static)
        for kvm in sorted(self._kvms)[:_MOST_OBJECTS]:
            names.update((kvm + offset, name) for offset, name in self._places.kvm.items())
        for vcpu in sorted(self._vcpus)[:_MOST_OBJECTS]:
            names.update((vcpu + offset, name) for offset, name in self._places.vcpu.items())
        numbers = {name: self._texts.number(name) for name in sorted(set(names.values()))}
        known = sorted((lock, numbers[name]) for lock, name in names.items())
        self._known = np.array(known, np.int64).reshape(-1, 2).T.copy()
        self._names = {**self._names, **names}


def _slots(tape: PackedTape, op: Op) -> NDArray[np.int64]:
    """Where the slots of each row of an operation begin."""
    found: NDArray[np.int64] = tape.head[tape.head[:, H_OP] == op, H_SLOTS]
    return found


def _pointers(tape: PackedTape, op: Op, name: str) -> set[int]:
    """What a slot pointed to: kernel addresses, which are negative as int64."""
    found = np.unique(tape.slots[_slots(tape, op) + slot(op, name)])
    return set(found[found < 0][:_MOST_OBJECTS].tolist())
