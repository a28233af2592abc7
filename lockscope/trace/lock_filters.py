"""What a query of locks asks for that is not in the trace: the value is refused, with the nearest that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lockscope.errors import MatchError
from lockscope.trace.lock_names import DIMENSIONS
from lockscope.units import address, seconds

if TYPE_CHECKING:
    from lockscope.trace.locks import LockReading

_OPTIONS = {"class": "--lock", "caller": "--caller", "task": "--task", "vm": "--vm"}


def refuse_unmatched(reading: LockReading) -> None:
    """Raise ``MatchError`` for the first value of a query that nothing in the trace is.

    Where no lock was seen at all, that is what there is to say, and nothing is raised.
    """
    query, evidence = reading.query, reading.found.evidence
    if not reading.anything:
        return
    span = f"{reading.path} is from {seconds(evidence.start_ns)} to {seconds(evidence.end_ns)}"
    if query.start_ns is not None and query.start_ns > evidence.end_ns:
        raise MatchError("--from", seconds(query.start_ns), span)
    if query.end_ns is not None and query.end_ns <= evidence.start_ns:
        raise MatchError("--to", seconds(query.end_ns), span)
    cpus = sorted({s.cpu for s in evidence.info.streams})
    for cpu in query.cpus:
        if cpu not in cpus:
            raise MatchError("--cpu", cpu, f"{reading.path} has nothing of such a CPU", map(str, cpus))
    for lock in query.locks:
        if lock not in reading.locks_seen:
            known = map(address, sorted(reading.locks_seen))
            raise MatchError("--lock", address(lock), f"no lock of {reading.path} lies there", known)
    _refuse_names(reading)


def _refuse_names(reading: LockReading) -> None:
    groups, names = reading.groups(), reading.names
    if not len(groups):  # numbers alone left nothing
        return
    for name, patterns in reading.query.named.items():
        dimension = DIMENSIONS[name]
        keys = np.unique(groups.keys[:, [reading.keys.index(c) for c in dimension.columns]], axis=0).tolist()
        for pattern in patterns:
            if any(names.fits(dimension, key, [pattern]) for key in keys):
                continue
            if name == "task" and _is_task(reading, pattern):
                continue  # it took no lock, which is an answer
            known = [str(value) for key in keys for value in names.shown(dimension, key) if value != ""]
            if name == "vm":
                known = [word.split(" ")[1] for word in known if word.startswith("VM ")]
            what = "lock class" if name == "class" else "VM" if name == "vm" else name
            raise MatchError(_OPTIONS[name], pattern, f"no {what} of {reading.path} matches", known)


def _is_task(reading: LockReading, pattern: str) -> bool:
    comms = reading.found.evidence.comms
    return pattern in comms.values() or (pattern.isdigit() and int(pattern) in comms)
