"""What is true of a simulated trace: which findings belong into a report, where; and what really got lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from lockscope.simulate.engine.tasks import Task

SCHEMA = "lockscope-truth/1"


@dataclass(slots=True)
class Planted:
    """A finding that a report on this trace has to have.

    ``codes``: any of these. ``classes``: lock classes by the kernel's names, outermost first; empty: not said.
    ``where``: at least one of the finding's witnesses is of one of these stretches (pid, from, until; ns of the trace).
    """

    codes: tuple[str, ...]
    why: str
    classes: tuple[str, ...] = ()
    where: list[tuple[int, int, int]] = field(default_factory=list)


@dataclass(slots=True)
class Stale:
    """A guest's write that went through a TLB entry which the page tables no longer backed.

    ``lost``: "dirty bit" (the page is missing from the dirty log) or "page" (the write went to memory that belongs to
    somebody else by now). ``changed_ns``: when the page tables took the right away.
    """

    ts_ns: int
    cpu: int
    vm: int
    vcpu: int
    gfn: int
    lost: str
    changed_ns: int


@dataclass(slots=True)
class Truth:
    """Filled while the host runs. ``also``: codes that may be reported beside, with the reason."""

    findings: list[Planted] = field(default_factory=list)
    also: dict[str, str] = field(default_factory=dict)
    stale: list[Stale] = field(default_factory=list)
    lost_bits: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def planted(self, t: Task, codes: str, why: str, classes: tuple[str, ...] = ()) -> Iterator[Planted]:
        """What the task does inside is the defect; ``codes``: "LS102" or "LS109|LS110"."""
        machine = t.cpu.machine
        begin = machine.now
        known = tuple(codes.split("|"))
        found = next((f for f in self.findings if f.codes == known and f.classes == classes and f.why == why), None)
        if found is None:
            found = Planted(known, why, classes)
            self.findings.append(found)
        where = (t.pid, begin, begin)
        found.where.append(where)
        place = len(found.where) - 1
        try:
            yield found
        finally:
            found.where[place] = (t.pid, begin, machine.now + 5_000)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
