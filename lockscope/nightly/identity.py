"""What a lock class is called on every machine that runs the same kernel.

lockdep's class is an address, and KASLR moves it with every boot. What stays is the class's name together with the
place of its key in the kernel: a distance from ``_stext``, or a module's symbol. KVM's own locks have a name each.
A lock that has neither is known on its own machine alone; two of one name are then never taken for one.
"""

from __future__ import annotations

from lockscope.kvm import locks
from lockscope.tables.events import TraceInfo
from lockscope.walk.chains import LockClass

_MASK = (1 << 64) - 1
# x86-64's image and modules lie in the top 2 GiB (Documentation/arch/x86/x86_64/mm.rst, 6.12); elsewhere the distance
# from _stext says whether an address is in the image.
_LONGEST_IMAGE = 1 << 30


class Identities:
    """Names of one trace's lock classes and instances. ``trace``: what tells this trace's own locks from others'."""

    def __init__(self, info: TraceInfo, trace: str) -> None:
        self._info, self._trace = info, trace
        self._text = info.symbol_address("_stext") or info.symbol_address("_text") or 0

    def of(self, cls: LockClass, lock: int) -> str:
        """``&kvm->lock``, ``&rq->__lock@_stext+0x185ad00``; ``NAME@TRACE:ADDRESS`` for what is the trace's own.

        ``lock``: the instance where the graph's node is one (``graph_rows``), 0 where it is a class.
        """
        if locks.canonical(cls.name) is not None:
            return cls.label
        place = self.place((lock or cls.key) & _MASK)
        return f"{cls.label}@{place}" if place else f"{cls.label}@{self._trace}:{(lock or cls.key) & _MASK:#x}"

    def place(self, address: int) -> str:
        """Where a static object is, in words that hold for every boot of the kernel; "" where it is not static."""
        if not address:
            return ""
        if self._text and 0 <= address - self._text < _LONGEST_IMAGE:
            module = self._symbol(address)
            return module if module.endswith("]") else f"_stext+{address - self._text:#x}"
        return self._symbol(address)

    def _symbol(self, address: int) -> str:
        return self._info.symbols().exact(address) or ""


def is_shared(identity: str) -> bool:
    """Whether an identity means the same lock class on other machines."""
    _, at, place = identity.rpartition("@")
    return not at or ":0x" not in place
