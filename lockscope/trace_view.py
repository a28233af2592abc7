"""Parts of a trace: a stretch of time, some tasks, one VM; and what a trace and its parts have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lockscope.errors import MatchError, UsageError
from lockscope.findings import LockGraph, Report
from lockscope.plots import _base as plots
from lockscope.plots._base import Texts, View
from lockscope.units import moment, seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lockscope.trace import EventTable, Trace

_BEGINS = {"holds": "asked_ns", "order_edges": "first_ns"}  # tables whose rows are not points in time named ts_ns
_ENDS = {"holds": "end_ns"}


class Looks(ABC):
    """What can be asked of a whole trace and of a part of it alike. Times are on the trace's clock, in ns."""

    path: str

    @property
    @abstractmethod
    def whole(self) -> Trace:
        """The trace."""

    @property
    @abstractmethod
    def view(self) -> View:
        """Which part of it this is."""

    @abstractmethod
    def table(self, name: str) -> EventTable:
        """A declared table, or the events of a type."""

    def __getitem__(self, times: slice) -> Part:
        """A stretch of time, half open: ``trace["2.1s":"2.3s"]``, ``trace[:"+5ms"]``, or ns."""
        if not isinstance(times, slice) or times.step is not None:
            msg = 'a trace is cut by times: trace["2.1s":"2.3s"], trace["+5ms":], or nanoseconds'
            raise UsageError(msg)
        first, last = self.view.start_ns, self.view.end_ns
        start = first if times.start is None else max(self.at(times.start), first if first is not None else -(1 << 62))
        end = last if times.stop is None else min(self.at(times.stop), last if last is not None else 1 << 62)
        return Part(self.whole, replace(self.view, start_ns=start, end_ns=end))

    def at(self, time: int | str) -> int:
        """A point in time in ns: an integer is one, text as ``units.moment`` reads it. Raises ``UsageError``."""
        if not isinstance(time, str):
            return int(time)
        try:
            origin, ns = moment(time)
        except ValueError as error:
            raise UsageError(str(error)) from None
        if not origin:
            return ns
        start, end = self.span()
        return start + ns if origin == "+" else end - ns

    def task(self, *tasks: int | str) -> Part:
        """What tasks did, by pid or by name. Raises ``MatchError`` where the trace has no such task."""
        names, pids = self.task_names(), []
        for wanted in tasks:
            if str(wanted).isdigit():
                found = [int(wanted)] if int(wanted) in names or self.whole.has_task(int(wanted)) else []
                known = sorted(map(str, names))
            else:
                found = [p for p, comm in names.items() if comm == wanted]
                known = sorted(set(names.values()))
            if not found:
                raise MatchError("--task", wanted, f"no task of {self.path} is called so", known)
            pids += found
        if self.view.pids:
            pids = [p for p in pids if p in self.view.pids]
        return Part(self.whole, replace(self.view, pids=tuple(sorted(set(pids)))))

    def vm(self, number: int) -> Part:
        """What concerns one VM: its SPTEs, flush debts and the holds of its locks. ``vm`` columns tell the numbers.

        Raises ``MatchError`` where the trace has no VM of that number.
        """
        known = self.whole.vms()
        if number not in known:
            what = f"{self.path} has no VM of this number" if known else f"{self.path} shows no VM"
            raise MatchError("--vm", number, what, map(str, known))
        return Part(self.whole, replace(self.view, vm=number))

    @property
    def plot(self) -> Plots:
        """Figures: ``trace.plot.hold_times()`` returns matplotlib axes; ``dir(trace.plot)`` lists them."""
        return Plots(self)

    def graph(self) -> LockGraph:
        """The lock dependency graph of the whole trace."""
        return self.whole.graph()

    def report(self) -> Report:
        """The verdict on the whole trace, by its kernel's rules; judged once."""
        return self.whole.report()

    def span(self) -> tuple[int, int]:
        """First and last time of the whole trace."""
        return self.whole.span()

    def task_names(self) -> dict[int, str]:
        """Names of tasks by pid, where the trace knows them."""
        return self.whole.task_names()

    def columns(self, table: str) -> dict[str, Any]:
        """A table's columns as NumPy arrays, texts as ``Texts``: what figures are made from."""
        arrow = self.table(table).arrow
        return {name: as_column(arrow.column(name)) for name in arrow.column_names}


class Part(Looks):
    """Part of a trace. What is held at its edges is known: the whole trace was walked."""

    def __init__(self, whole: Trace, view: View) -> None:
        self._whole, self._view, self.path = whole, view, whole.path

    @property
    def whole(self) -> Trace:
        """The trace."""
        return self._whole

    @property
    def view(self) -> View:
        """Which part of it this is."""
        return self._view

    def __repr__(self) -> str:
        return f"{self._whole!r}, {describe(self._view)}"

    def _repr_html_(self) -> str:
        from lockscope.report._notebook import trace_html

        return trace_html(self.path, [("part", describe(self._view))], self.analyze())

    def table(self, name: str) -> EventTable:
        """The rows of a declared table, or the events of a type, that belong to this part.

        Holds and debts count where they reach into the stretch of time. Statistics of classes and the order of locks
        are of the whole trace.
        """
        from lockscope.tables.schema import all_schemas
        from lockscope.trace import EventTable

        if name not in all_schemas():
            return self.events(name)
        whole = self._whole.table(name).arrow
        return EventTable(name, whole.filter(pa.array(self._rows(name, whole))))

    def events(self, name: str, **options: Any) -> EventTable:
        """The part's events of one type; options as ``Trace.events``."""
        own: dict[str, Any] = {"start_ns": self._view.start_ns, "end_ns": self._view.end_ns}
        if self._view.pids:
            own["pids"] = self._view.pids
        return self._whole.events(name, **(own | options))

    def analyze(self, **options: Any) -> Report:
        """The whole trace's report with only the findings that rest on an event of this part."""
        report = self._whole.analyze(**options) if options else self._whole.report()
        return replace(report, findings=[f for f in report.findings if any(map(self._sees, f.witnesses))])

    def _sees(self, witness: Any) -> bool:
        v = self._view
        return (
            (v.start_ns is None or witness.ts_ns >= v.start_ns)
            and (v.end_ns is None or witness.ts_ns < v.end_ns)
            and (not v.pids or witness.pid in v.pids)
        )

    def _rows(self, name: str, table: pa.Table) -> NDArray[np.bool_]:
        v, keep = self._view, np.ones(table.num_rows, np.bool_)
        begin, end = _BEGINS.get(name, "ts_ns"), _ENDS.get(name)
        if begin in table.column_names and name != "order_edges":
            starts = table.column(begin).to_numpy()
            if v.start_ns is not None:
                keep &= (table.column(end).to_numpy() if end else starts) >= v.start_ns
            if v.end_ns is not None:
                keep &= starts < v.end_ns
        if v.pids and "pid" in table.column_names and name != "order_edges":
            keep &= np.isin(table.column("pid").to_numpy(), v.pids)
        if v.vm is not None and "vm" in table.column_names:
            keep &= table.column("vm").to_numpy() == v.vm
        elif v.vm is not None and name == "holds":
            locks, where = np.unique(table.column("lock").to_numpy(), return_inverse=True)
            keep &= np.array([self._whole.vm_of(int(lock)) == v.vm for lock in locks] or [False], np.bool_)[where]
        return keep


class Plots:
    """The figures of ``lockscope/plots``, by name, as methods that return matplotlib axes."""

    def __init__(self, of: Looks) -> None:
        self._of = of

    def __getattr__(self, name: str) -> Any:
        try:
            plots.figure(name)
        except UsageError as error:
            raise AttributeError(str(error)) from None

        def draw(*, axes: Any = None, **options: Any) -> Any:
            view = replace(self._of.view, **options) if options else self._of.view
            plots.refuse_unhonoured(name, view)
            return plots.plot(name, viewed(self._of.whole, view), view, axes)

        draw.__name__, draw.__doc__ = name, plots.figure(name).__doc__
        return draw

    def __dir__(self) -> list[str]:
        return list(plots.figures())


def viewed(whole: Trace, view: View) -> Looks:
    """The part of a trace that a view is of. Raises ``MatchError`` for what of it is not in the trace."""
    if view.vm is not None:
        whole.vm(view.vm)
    if view.locks:
        names = whole.columns("holds")["name"].used()
        for pattern in view.locks:
            if names and not any(replace(view, locks=(pattern,)).takes_lock(name) for name in names):
                raise MatchError("--lock", pattern, f"no lock class of {whole.path} matches", names)
    start, end = whole.span()
    span = f"{whole.path} is from {seconds(start)} to {seconds(end)}"
    if view.start_ns is not None and view.start_ns > end:
        raise MatchError("--from", seconds(view.start_ns), span)
    if view.end_ns is not None and view.end_ns <= start:
        raise MatchError("--to", seconds(view.end_ns), span)
    return whole if view == View(top=view.top) else Part(whole, view)


def describe(view: View) -> str:
    """``10.300000000 .. 10.310000000, tasks 71, 73, VM 1``."""
    parts = []
    if view.start_ns is not None or view.end_ns is not None:
        ends = ["" if t is None else seconds(t) for t in (view.start_ns, view.end_ns)]
        parts.append(f"{ends[0]} .. {ends[1]}".strip())
    if view.pids:
        parts.append(f"task{'s' if len(view.pids) > 1 else ''} {', '.join(map(str, view.pids))}")
    if view.vm is not None:
        parts.append(f"VM {view.vm}")
    return ", ".join(parts) or "all of it"


def as_column(column: pa.ChunkedArray) -> Any:
    """A column as figures take it: an array, texts as ``Texts``."""
    if pa.types.is_dictionary(column.type):
        whole = column.unify_dictionaries().combine_chunks()
        whole = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
        return Texts(whole.indices.to_numpy(zero_copy_only=False).astype(np.int64), tuple(whole.dictionary.to_pylist()))
    return column.to_numpy()
