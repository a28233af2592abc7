"""What statistics of locks can be told apart by, and how each is named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockscope.evidence.gather import Gathered
from lockscope.patterns import class_fits
from lockscope.units import address
from lockscope.walk.walk import HOLD_COLUMNS


@dataclass(frozen=True, slots=True)
class Dimension:
    """``columns`` of a hold make it up, ``fields`` are what it is shown as."""

    name: str
    columns: tuple[str, ...]
    fields: tuple[str, ...]
    doc: str


DIMENSIONS = {
    d.name: d
    for d in (
        Dimension("class", ("cls",), ("class",), "lock class, with /subclass"),
        Dimension("instance", ("lock", "cls"), ("lock", "symbol", "class"), "one lock, by its address"),
        Dimension("caller", ("ip",), ("caller",), "the code that took it (needs lockscope:lockdep_acquire or probes)"),
        Dimension("task", ("pid",), ("pid", "comm"), "the task that took it"),
        Dimension("owner", (), ("owner_pid", "owner_comm"), "the task that held it while others waited: waits only"),
        Dimension("cpu", ("cpu",), ("cpu",), "the CPU on which it was asked for"),
        Dimension("vm", ("lock",), ("vm",), "the VM in whose struct kvm the lock is"),
    )
}


class Names:
    """Names for what one reading of a trace found. ``classes``: labels by number."""

    def __init__(self, found: Gathered, classes: list[str]) -> None:
        self._evidence, self.classes = found.evidence, classes
        self._symbols = found.evidence.info.symbols()
        self._vms = found.evidence.facts.get("vms")

    def comm(self, pid: int) -> str:
        """A task's name."""
        return self._evidence.comm(pid)

    def caller(self, ip: int) -> str:
        """The code at an address; "" where it was not recorded."""
        return (self._symbols.name(ip) or address(ip)) if ip else ""

    def vm(self, lock: int) -> str:
        """The VM that a lock lies in; "none" without one."""
        number = self._vms.vm_of(lock) if self._vms is not None else None
        return self._vms.label(number) if number and self._vms is not None else "none"

    def shown(self, dimension: Dimension, key: list[int]) -> tuple[Any, ...]:
        """A group's values for the fields of a dimension, from its key in the order of its columns."""
        first = key[0]
        if dimension.name == "class":
            return (self.classes[first],)
        if dimension.name == "instance":
            return address(first), self._symbols.exact(first) or "", self.classes[key[1]]
        if dimension.name == "caller":
            return (self.caller(first),)
        if dimension.name in ("task", "owner"):
            return first, self.comm(first)
        return (first if dimension.name == "cpu" else self.vm(first),)

    def fits(self, dimension: Dimension, key: list[int], patterns: Iterable[str]) -> bool:
        """Whether any pattern is of this name. A task goes by its pid too, a VM by its number."""
        shown = self.shown(dimension, key)
        words = [str(v) for v in shown]
        if dimension.name == "vm":
            words = words[0].split(" ")[1:2]  # "VM 1 (kvm at ...)"
        if dimension.name == "class":
            words.append(words[0].rpartition("/")[0] or words[0])
            return any(class_fits(pattern, word) for word in words for pattern in patterns)
        return any(fnmatchcase(word, pattern) or word == pattern for word in words for pattern in patterns)

    def all_fit(self, row: NDArray[np.int64], named: dict[str, tuple[str, ...]]) -> bool:
        """Whether a hold has all these names."""
        return all(
            self.fits(DIMENSIONS[name], [int(row[HOLD_COLUMNS.index(c)]) for c in DIMENSIONS[name].columns], patterns)
            for name, patterns in named.items()
        )
