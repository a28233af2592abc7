"""Addresses to kernel symbols, by the trace's own kallsyms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import NDArray

from lockscope.core.kallsyms import S_ADDRESS, S_MODULE, S_MODULE_END, S_NAME, S_NAME_END, S_WIDTH, symbols

_MARK = re.compile(rb"__\w+_text_(start|end)")
_MARKED = re.compile(rb"_text_(?:start|end)\b")  # what marks end with: to look for a literal is quick
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
    names: Sequence[bytes]
    marks: dict[bytes, int] = field(default_factory=dict)
    offsets: bool = True

    @staticmethod
    def none() -> Symbols:
        """No symbols known."""
        return Symbols(np.empty(0, np.uint64), [])

    @staticmethod
    def parse(kallsyms: bytes) -> Symbols:
        """From the text of /proc/kallsyms. All-zero addresses (kptr_restrict) give none."""
        rows = np.empty((min(kallsyms.count(b"\n") + 1, _MOST), S_WIDTH), np.int64)
        rows = rows[: symbols(np.frombuffer(kallsyms, np.uint8), rows)]
        addresses = np.ascontiguousarray(rows[:, S_ADDRESS]).view(np.uint64)
        if not addresses.any():
            return Symbols.none()
        names = _Names(kallsyms, rows)
        marked = {kallsyms.rfind(b" ", 0, m.start()) + 1 for m in _MARKED.finditer(kallsyms)}
        is_mark = np.isin(rows[:, S_NAME], list(marked)) if marked else np.zeros(len(rows), np.bool_)
        for i in np.flatnonzero(is_mark).tolist():
            is_mark[i] = _MARK.fullmatch(names[i]) is not None
        order = np.lexsort((is_mark, addresses))
        ordered = addresses[order]
        first = np.concatenate(([True], ordered[1:] != ordered[:-1]))
        marks = {names[i]: int(addresses[i]) for i in np.flatnonzero(is_mark).tolist()}
        return Symbols(ordered[first], _Names(kallsyms, rows[order[first]]), marks)

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


class _Names(Sequence[bytes]):
    """Names that lie in a text of kallsyms, taken out of it when they are asked for."""

    def __init__(self, text: bytes, rows: NDArray[np.int64]) -> None:
        self._text, self._rows = text, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return self._all(self._rows[index])
        return self._all(self._rows[index][None])[0]

    def _all(self, rows: NDArray[np.int64]) -> list[bytes]:
        text = self._text
        names = [text[b:e] for b, e in rows[:, [S_NAME, S_NAME_END]].tolist()]
        for i in np.flatnonzero(rows[:, S_MODULE]).tolist():
            names[i] += b" [" + text[int(rows[i, S_MODULE]) : int(rows[i, S_MODULE_END])] + b"]"
        return names


def address_in(kallsyms: bytes, name: str) -> int | None:
    """The address of one symbol, found in the text of /proc/kallsyms; None where it is not there or hidden (zero)."""
    found = re.search(rb"^([0-9a-fA-F]{1,16}) [a-zA-Z?] " + re.escape(name.encode()) + rb"\s", kallsyms, re.MULTILINE)
    return (int(found[1], 16) or None) if found else None
