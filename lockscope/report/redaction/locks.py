"""Statistics and waits fit to be shared: tasks, addresses and directories replaced, as in a report."""

from __future__ import annotations

from dataclasses import replace

from lockscope.report.redaction.pseudonyms import Redactor
from lockscope.results.lock_stats import LockFigures, LockRow, PerfFigures, PerfRow, WaitChains, WaitLink

_PIDS, _COMMS = frozenset({"pid", "owner_pid"}), frozenset({"comm", "owner_comm"})
_PLAIN = frozenset({"cpu"})


def locks(figures: LockFigures, red: Redactor | None = None) -> LockFigures:
    """Statistics of locks without what ``Redactor`` hides; a column that is not known keeps no address."""
    red = red or Redactor()

    def row(of: LockRow) -> LockRow:
        pairs = zip(figures.columns, of.names, strict=True)
        return replace(of, names=tuple(_value(name, value, red) for name, value in pairs))

    path = red.path(figures.path)
    return replace(
        figures, path=path, rows=tuple(row(r) for r in figures.rows), notes=tuple(red.text(n) for n in figures.notes)
    )


def _value(column: str, value: str | int, red: Redactor) -> str | int:
    if isinstance(value, int):
        return value if column in _PLAIN else red.pid(value)
    return red.task(value) if column in _COMMS else red.addresses(value)


def chains(found: WaitChains, red: Redactor | None = None) -> WaitChains:
    """Chains of waits likewise. A lock's address is a number, the same for the same lock."""
    red = red or Redactor()
    locks_: dict[int, int] = {}

    def link(of: WaitLink) -> WaitLink:
        return replace(
            of,
            name=red.addresses(of.name),
            lock=locks_.setdefault(of.lock, len(locks_) + 1),
            pid=red.pid(of.pid),
            comm=red.task(of.comm),
            caller=red.addresses(of.caller),
            owner_pid=red.pid(of.owner_pid),
            owner_comm=red.task(of.owner_comm),
            owner_caller=red.addresses(of.owner_caller),
        )

    path = red.path(found.path)
    links = tuple(link(of) for of in found.links)
    return replace(found, path=path, links=links, notes=tuple(red.text(n) for n in found.notes))


def perf(figures: PerfFigures, red: Redactor | None = None) -> PerfFigures:
    """perf lock's figures likewise."""
    red = red or Redactor()
    keys: dict[int, int] = {0: 0}

    def row(of: PerfRow) -> PerfRow:
        if figures.by == "task":
            return replace(of, name=red.task(of.name), key=red.pid(of.key))
        return replace(of, name=red.addresses(of.name), key=keys.setdefault(of.key, len(keys)))

    path = red.path(figures.path)
    return replace(figures, path=path, rows=tuple(row(r) for r in figures.rows))
