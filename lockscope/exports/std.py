"""RAPID's STD format, for predictors of deadlocks: ``T70|acq(L3)|12`` a line, in order of time.

``req`` asks for a lock, ``acq`` has it, ``rel`` gives it back, ``fork`` starts a task. Only holds seen from begin to
end are in it, and only exclusive ones: STD knows no readers, and a reader as an owner would make deadlocks up. What
interrupts took is a thread of its own for each CPU and context. Beside FILE, ``FILE.names.csv`` says which task, lock
and place the numbers are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lockscope.exports.export import STDOUT, ExportOptions, opened, refuse, table_of
from lockscope.harmless import cell
from lockscope.outfiles import write_text
from lockscope.units import address

if TYPE_CHECKING:
    from lockscope.trace.trace import Trace

EXPORT, SUFFIX = "std", ".std"
DOC = "lock events for RAPID and other deadlock predictors"
_ORDER = {"rel": 0, "fork": 1, "req": 2, "acq": 3}  # at one time: a lock is given back before it is had again


def write(trace: Trace, target: Path, options: ExportOptions) -> list[Path]:
    """Write the events, and what their numbers mean."""
    refuse(options, EXPORT)
    names: dict[tuple[str, str], None] = {}
    with opened(target) as file:
        for line in lines(trace, options, names):
            file.write(line)
    if target == STDOUT:
        return []
    told = target.with_name(target.name + ".names.csv")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("id", "name"), *((i, cell(name)) for i, name in names)])
    write_text(told, text.getvalue())
    return [target, told]


def lines(trace: Trace, options: ExportOptions, names: dict[tuple[str, str], None]) -> Iterator[bytes]:
    """The lines in order; ``names`` gets each (id, name)."""
    columns = _whole_holds(trace, options)
    comms = trace.comms()
    threads = [_thread(*row) for row in zip(columns["pid"], columns["cpu"], columns["context"], strict=True)]
    for thread, pid in dict(zip(threads, columns["pid"], strict=True)).items():
        names[thread, comms.get(pid, "") if thread.startswith("T") else "interrupts"] = None
    locks = _numbered("L", [(lock, name) for lock, name in zip(columns["lock"], columns["name"], strict=True)])
    for (lock, name), number in locks.items():
        names[number, f"{name} {address(lock)}"] = None
    places = {place: str(n) for n, place in enumerate(dict.fromkeys(columns["caller"]), 1)}
    for place, number in places.items():
        names[number, place] = None
    events: list[tuple[int, int, int, str]] = []
    for i, thread in enumerate(threads):
        lock, where = locks[columns["lock"][i], columns["name"][i]], places[columns["caller"][i]]
        asked, had, end = columns["asked_ns"][i], columns["acquired_ns"][i] or 0, columns["end_ns"][i]
        seq = columns["seq"][i]
        if not columns["trylock"][i]:
            events.append((asked, _ORDER["req"], seq, f"{thread}|req({lock})|{where}"))
        events.append((max(asked, had), _ORDER["acq"], seq, f"{thread}|acq({lock})|{where}"))
        events.append((end, _ORDER["rel"], -seq, f"{thread}|rel({lock})|{where}"))
    events += [(ts, _ORDER["fork"], 0, f"T{parent}|fork(T{child})|0") for ts, parent, child in _forks(trace, options)]
    for _, _, _, line in sorted(events):
        yield line.encode() + b"\n"


def _whole_holds(trace: Trace, options: ExportOptions) -> dict[str, list[Any]]:
    table = table_of(trace, "holds", options).arrow
    column = {name: table.column(name).to_numpy() for name in ("begin_known", "end_known", "read", "asked_ns")}
    keep = column["begin_known"] & column["end_known"] & (column["read"] == 0)
    if options.start_ns is not None:
        keep &= column["asked_ns"] >= options.start_ns
    if options.end_ns is not None:
        keep &= column["asked_ns"] < options.end_ns
    chosen = table.filter(keep)
    wanted = ("pid", "cpu", "context", "lock", "name", "caller", "asked_ns", "acquired_ns", "end_ns", "seq", "trylock")
    columns = {name: chosen.column(name).to_pylist() for name in wanted}
    return columns | {"caller": [caller or "" for caller in columns["caller"]]}


def _thread(pid: int, cpu: int, context: str) -> str:
    if context != "task":
        return f"I{cpu}{context}"
    return f"T{pid}" if pid else f"T0c{cpu}"


def _numbered(prefix: str, things: list[Any]) -> dict[Any, str]:
    return {thing: f"{prefix}{number}" for number, thing in enumerate(dict.fromkeys(things), 1)}


def _forks(trace: Trace, options: ExportOptions) -> Iterator[tuple[int, int, int]]:
    if not any(f.full_name == "sched:sched_process_fork" for f in trace.reader.formats):
        return
    table = trace.events("sched:sched_process_fork", start_ns=options.start_ns, end_ns=options.end_ns).arrow
    columns = (np.asarray(table.column(name)).tolist() for name in ("ts_ns", "parent_pid", "child_pid"))
    yield from zip(*columns, strict=True)
