"""Addresses to kernel symbols, by the trace's own kallsyms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

_LINE = re.compile(rb"^([0-9a-fA-F]{1,16}) ([a-zA-Z?]) (\S+)(?:[ \t]+\[(\S+)\])?", re.MULTILINE)
_MARK = re.compile(rb"__\w+_text_(start|end)")
_MOST = 1 << 20  # symbols: a kernel with its modules has some 250,000
_FARTHEST = 1 << 22  # an address further behind the last symbol than any function is long has none


@dataclass(frozen=True, slots=True)
class Symbols:
    """Sorted symbol addresses with their names; of several on one address the first listed stands, a mark
    only where it is alone.

    ``marks``: where sections of the text begin and end, which is where functions do (``__sched_text_start``).
    An empty name: from there on, up to the next symbol, nothing is known. ``offsets`` False: the addresses lie
    somewhere in their functions, not at their beginnings.
    """

    addresses: NDArray[np.uint64]
    names: list[bytes]
    marks: dict[bytes, int] = field(default_factory=dict)
    offsets: bool = True

    @staticmethod
    def none() -> Symbols:
        """No symbols known."""
        return Symbols(np.empty(0, np.uint64), [])

    @staticmethod
    def parse(kallsyms: bytes) -> Symbols:
        """From the text of /proc/kallsyms. All-zero addresses (kptr_restrict) give none."""
        lines = (line.groups() for line in islice(_LINE.finditer(kallsyms), _MOST))
        found = [(int(a, 16), n + (b" [" + m + b"]" if m else b"")) for a, _, n, m in lines]
        addresses = np.array([a for a, _ in found], np.uint64)
        if not addresses.any():
            return Symbols.none()
        is_mark = np.array([name.startswith(b"__") and _MARK.fullmatch(name) is not None for _, name in found])
        order = np.lexsort((is_mark, addresses))
        addresses = addresses[order]
        first = np.concatenate(([True], addresses[1:] != addresses[:-1]))
        marks = {found[i][1]: found[i][0] for i in np.flatnonzero(is_mark)}
        return Symbols(addresses[first], [found[i][1] for i in order[first]], marks)

    def name(self, address: int) -> str | None:
        """``kvm_vm_ioctl+0x1c [kvm]``, or None. An address may come as the int64 of the same bits."""
        address &= (1 << 64) - 1
        if not len(self.names):
            return None
        i = int(np.searchsorted(self.addresses, np.uint64(address), side="right")) - 1
        if i < 0 or not self.names[i] or address - int(self.addresses[i]) > _FARTHEST:
            return None
        plain, _, module = self.names[i].decode(errors="replace").partition(" ")
        text = f"{plain}+{address - int(self.addresses[i]):#x}" if self.offsets else plain
        return f"{text} {module}" if module else text

    def exact(self, address: int) -> str | None:
        """The symbol that begins at ``address`` (a static lock), or None."""
        text = self.name(address)
        return text.replace("+0x0", "") if text and (text[-4:] == "+0x0" or "+0x0 [" in text) else None


def address_in(kallsyms: bytes, name: str) -> int | None:
    """The address of one symbol, found in the text of /proc/kallsyms; None where it is not there or hidden (zero)."""
    found = re.search(rb"^([0-9a-fA-F]{1,16}) [a-zA-Z?] " + re.escape(name.encode()) + rb"\s", kallsyms, re.MULTILINE)
    return (int(found[1], 16) or None) if found else None
