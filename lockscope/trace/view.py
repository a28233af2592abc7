"""Parts of a trace: a stretch of time, some tasks, one VM; and what a trace and its parts have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lockscope.errors import MatchError, UsageError
from lockscope.outfiles import refuse_existing
from lockscope.plots import figure as plots
from lockscope.plots.figure import Texts, View
from lockscope.renamed import renamed
from lockscope.results.findings import Finding, LockGraph, Report, Witness
from lockscope.units import address, moment, nanoseconds, seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lockscope.trace.trace import EventTable, Trace

_BEGINS = {"holds": "asked_ns", "order_edges": "first_ns"}  # tables whose rows are not points in time named ts_ns
_ENDS = {"holds": "end_ns"}


Time = int | float | str
Words = int | str | Iterable[int | str]  # one, or many
Numbers = int | Iterable[int]


def several(words: Words) -> tuple[int | str, ...]:
    """One word, or many: a text is one."""
    return (words,) if isinstance(words, str | int) else tuple(words)


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
        """A stretch of time, half open: ``trace["2.1s":"2.3s"]``, ``trace[10.3:10.4]`` (seconds), ``trace[:"+5ms"]``.

        Integers are nanoseconds.
        """
        if not isinstance(times, slice) or times.step is not None:
            msg = 'a trace is cut by times: trace["2.1s":"2.3s"], trace[10.3:10.4], trace["+5ms":], or nanoseconds'
            raise UsageError(msg)
        first, last = self.view.start_ns, self.view.end_ns
        start = first if times.start is None else max(self.at(times.start), first if first is not None else -(1 << 62))
        end = last if times.stop is None else min(self.at(times.stop), last if last is not None else 1 << 62)
        return Part(self.whole, replace(self.view, start_ns=start, end_ns=end))

    def at(self, time: Time) -> int:
        """A point in time in ns: an integer is one, a float is seconds, text is read by ``units.moment``.

        Raises ``UsageError``.
        """
        if isinstance(time, float):
            return nanoseconds(time)
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

    def part(
        self,
        *,
        from_: Time | None = None,
        to: Time | None = None,
        task: Words = (),
        vm: int | None = None,
        cpu: Numbers = (),
        lock: Words = (),
    ) -> Looks:
        """What the command line's ``--from --to --task --vm --cpu --lock`` choose, within this part.

        ``lock``: patterns of classes, and addresses. Raises ``MatchError`` for what is not in the trace.
        """
        tasks, locks = several(task), several(lock)
        view = replace(
            self.view,
            start_ns=self.view.start_ns if from_ is None else self.at(from_),
            end_ns=self.view.end_ns if to is None else self.at(to),
            pids=self.task(*tasks).view.pids if tasks else self.view.pids,
            vm=self.view.vm if vm is None else vm,
            cpus=tuple(map(int, several(cpu))) or self.view.cpus,
            locks=tuple(address(w) if isinstance(w, int) else w for w in locks) or self.view.locks,
        )
        return viewed(self.whole, view)

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
        """What concerns one VM: its SPTEs, required flushes and the holds of its locks. ``vm`` columns have
        the numbers.

        Raises ``MatchError`` where the trace has no VM of that number.
        """
        known = self.whole.vms()
        if number not in known:
            what = f"{self.path} has no VM of this number" if known else f"{self.path} shows no VM"
            raise MatchError("--vm", number, what, map(str, known))
        return Part(self.whole, replace(self.view, vm=number))

    @renamed(start_ns="from_", end_ns="to")
    def export(
        self,
        target: str | Path,
        *,
        format: str = "parquet",
        tables: Iterable[str] = (),
        events: Iterable[str] = (),
        redact: bool = False,
        force: bool = False,
        from_: Time | None = None,
        to: Time | None = None,
    ) -> list[Path]:
        """Write it to a file, or a directory of tables, whatever the format is. Returns the files.

        ``tables``, ``events``: only these, where the format has a choice. ``force``: overwrite what exists; without it
        ``UsageError``.
        """
        from lockscope.exports.export import ExportOptions, export_format

        wanted, place = export_format(format), Path(target)
        if wanted.SUFFIX:
            refuse_existing(place, force=force)
        elif not force and place.is_dir() and any(place.iterdir()):
            msg = f"{place}: the directory is not empty (force=True writes into it)"
            raise UsageError(msg)
        view = self.view if from_ is None and to is None else self.part(from_=from_, to=to).view
        options = ExportOptions(tuple(tables), tuple(events), redact, view)
        return wanted.write(self.whole, place, options)

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
        from lockscope.tables.schema import all_schemas

        arrow = self.table(table).arrow
        unknown = {c.name: c.unknown or 0 for c in all_schemas()[table].columns} if table in all_schemas() else {}
        return {name: as_column(arrow.column(name), unknown.get(name, 0)) for name in arrow.column_names}


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
        from lockscope.report.notebook import trace_html

        return trace_html(self.path, [("part", describe(self._view))], self.analyze())

    def table(self, name: str) -> EventTable:
        """The rows of a declared table, or the events of a type, that belong to this part.

        Holds and required flushes count where they reach into the stretch of time. Statistics of classes and the
        order of locks are of the whole trace.
        """
        from lockscope.tables.schema import all_schemas
        from lockscope.trace.trace import EventTable

        if name not in all_schemas():
            return self.events(name)
        whole = self._whole.table(name).arrow
        rows = self._rows(name, whole)
        self._refuse_outside()
        return EventTable(name, whole.filter(pa.array(rows)))

    def events(
        self,
        name: str,
        *,
        fields: Iterable[str] | None = None,
        cpus: Iterable[int] | None = None,
        pids: Iterable[int] | None = None,
    ) -> EventTable:
        """The part's events of one type; arguments as ``Trace.events``."""
        v = self._view
        self._refuse_outside()
        return self._whole.events(
            name, fields=fields, cpus=cpus if cpus is not None else v.cpus or None,
            pids=pids if pids is not None else v.pids or None, start_ns=v.start_ns, end_ns=v.end_ns,
        )  # fmt: skip

    def analyze(
        self, *, select: Iterable[str] | str = (), ignore: Iterable[str] | str = (), rules: str = "auto"
    ) -> Report:
        """The whole trace's report with only the findings that rest on an event of this part."""
        chosen = tuple(select) or tuple(ignore) or rules != "auto"
        report = self._whole.analyze(select=select, ignore=ignore, rules=rules) if chosen else self._whole.report()
        found = listed(report, self._view)
        return replace(found, findings=[f for f in found.findings if f.code < "LS9"])

    def _refuse_outside(self) -> None:
        """``MatchError`` for a stretch that the trace has nothing of: an integer, say, that was meant as seconds."""
        start, end = self.span()
        v = self._view
        for bound, outside in ((v.start_ns, v.start_ns is not None and v.start_ns > end),
                               (v.end_ns, v.end_ns is not None and v.end_ns <= start)):  # fmt: skip
            if outside and end > start:
                what = f"{self.path} is from {seconds(start)} to {seconds(end)}"
                hint = "; integers are nanoseconds, 10.0 and '10s' are seconds" if bound and bound < 1_000_000 else ""
                raise MatchError("time", seconds(bound or 0), what + hint)

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
        if v.cpus and "cpu" in table.column_names:
            keep &= np.isin(table.column("cpu").to_numpy(), v.cpus)
        if v.locks and {"lock", "name"} <= set(table.column_names):
            keep &= self._of_locks(table)
        if v.vm is not None and "vm" in table.column_names:
            keep &= table.column("vm").fill_null(-1).to_numpy() == v.vm
        elif v.vm is not None and name == "holds":
            locks, where = np.unique(table.column("lock").to_numpy(), return_inverse=True)
            keep &= np.array([self._whole.vm_of(int(lock)) == v.vm for lock in locks] or [False], np.bool_)[where]
        return keep

    def _of_locks(self, table: pa.Table) -> NDArray[np.bool_]:
        v = self._view
        patterns = replace(v, locks=tuple(p for p in v.locks if not p.startswith("0x")))
        keep = np.isin(table.column("lock").to_numpy(), np.array(v.addresses, np.uint64))
        if patterns.locks:
            names = as_column(table.column("name"))
            keep |= names.where([patterns.takes_lock(word) for word in names.words])
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

        @renamed(start_ns="from_", end_ns="to", pids="task", locks="lock", gfns="gfn", top="limit")
        def draw(
            *,
            axes: Any = None,
            from_: Time | None = None,
            to: Time | None = None,
            task: Words = (),
            vm: int | None = None,
            cpu: Numbers = (),
            lock: Words = (),
            gfn: tuple[int, int] | None = None,
            limit: int | None = None,
        ) -> Any:
            part = self._of.part(from_=from_, to=to, task=task, vm=vm, cpu=cpu, lock=lock)
            view = replace(part.view, gfns=gfn, top=limit or self._of.view.top)
            plots.refuse_unhonoured(name, view)
            return plots.plot(name, part, view, axes)

        draw.__name__, draw.__doc__ = name, plots.figure(name).__doc__
        return draw

    def __dir__(self) -> list[str]:
        return list(plots.figures())


def viewed(whole: Trace, view: View) -> Looks:
    """The part of a trace that a view is of. Raises ``MatchError`` for what of it is not in the trace."""
    if view.vm is not None:
        whole.vm(view.vm)
    known_cpus = sorted({stream.cpu for stream in whole.reader.info.streams})
    for cpu in view.cpus:
        if cpu not in known_cpus:
            raise MatchError("--cpu", cpu, f"{whole.path} has nothing of such a CPU", map(str, known_cpus))
    if view.locks:
        holds = whole.columns("holds")
        names = holds["name"].used()
        for pattern in view.locks:
            if pattern.startswith("0x"):
                if len(holds["lock"]) and int(pattern, 16) not in holds["lock"]:
                    known = map(address, np.unique(holds["lock"]).tolist())
                    raise MatchError("--lock", pattern, f"no lock of {whole.path} lies there", known)
            elif names and not any(replace(view, locks=(pattern,)).takes_lock(name) for name in names):
                raise MatchError("--lock", pattern, f"no lock class of {whole.path} matches", names)
    start, end = whole.span()
    span = f"{whole.path} is from {seconds(start)} to {seconds(end)}"
    if view.start_ns is not None and view.start_ns > end:
        raise MatchError("--from", seconds(view.start_ns), span)
    if view.end_ns is not None and view.end_ns <= start:
        raise MatchError("--to", seconds(view.end_ns), span)
    return whole if view == View(top=view.top, gfns=view.gfns) else Part(whole, view)


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
    if view.cpus:
        parts.append(f"CPU{'s' if len(view.cpus) > 1 else ''} {', '.join(map(str, view.cpus))}")
    if view.locks:
        parts.append(f"locks {', '.join(view.locks)}")
    return ", ".join(parts) or "all of it"


def listed(report: Report, view: View) -> Report:
    """The report with the findings that a view is of; how many others there are is ``left_out``.

    The whole trace was judged. A finding is of a VM unless it is known to be of another.
    """

    def sees(witness: Witness) -> bool:
        return (
            (view.start_ns is None or witness.ts_ns >= view.start_ns)
            and (view.end_ns is None or witness.ts_ns < view.end_ns)
            and (not view.pids or witness.pid in view.pids)
            and (not view.cpus or witness.cpu in view.cpus)
        )

    def wanted(finding: Finding) -> bool:
        if view.vm is not None and finding.details.get("vm", view.vm) != view.vm:
            return False
        if view.locks and not any(view.takes_lock(name) for name in finding.classes):
            return False
        return any(map(sees, finding.witnesses))

    kept = [f for f in report.findings if f.code >= "LS9" or wanted(f)]
    return replace(report, findings=kept, left_out=report.left_out + len(report.findings) - len(kept))


def as_column(column: pa.ChunkedArray, unknown: int = 0) -> Any:
    """A column as figures take it: an array with a number for what is not known, texts as ``Texts``."""
    if pa.types.is_dictionary(column.type):
        whole = column.unify_dictionaries().combine_chunks()
        whole = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
        words = [word or "" for word in whole.dictionary.to_pylist()]
        codes = whole.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
        return Texts(codes.astype(np.int64), (*words, "") if whole.null_count else tuple(words))
    return column.fill_null(unknown).to_numpy() if column.null_count else column.to_numpy()
