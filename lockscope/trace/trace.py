"""A trace for Python: its events and tables as Arrow columns, its verdict, and a way to disk."""

from __future__ import annotations

import html
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lockscope import pipeline
from lockscope.errors import UsageError, nearest
from lockscope.evidence.gather import prefetched
from lockscope.formats.merge.reader import open_merged
from lockscope.outfiles import refuse_existing, whole
from lockscope.plots.figure import View
from lockscope.renamed import renamed
from lockscope.results.findings import LockGraph, Report
from lockscope.tables.decode import own_columns
from lockscope.tables.events import EventFormat, Reader, both
from lockscope.tables.schema import all_schemas, to_pandas
from lockscope.trace import tables as trace_tables
from lockscope.trace.columns import joined
from lockscope.trace.event_tables import Decoder, Selection, empty, set_of
from lockscope.trace.progress import showing
from lockscope.trace.statistics import Statistics, plain_words

_ROWS_SHOWN = 8


class EventTable:
    """Rows of one table. ``arrow`` is the pyarrow table itself."""

    def __init__(self, name: str, arrow: pa.Table) -> None:
        self.name, self.arrow = name, arrow

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def __repr__(self) -> str:
        return f"{self.name}: {len(self):,} rows of {', '.join(self.arrow.column_names)}"

    @property
    def columns(self) -> list[str]:
        """Column names."""
        return list(self.arrow.column_names)

    def __getitem__(self, column: str) -> Any:
        """One column as a pandas Series."""
        return to_pandas(self.arrow.select([column]))[column]

    def __arrow_c_schema__(self) -> object:
        """The columns, by Arrow's PyCapsule interface."""
        return self.arrow.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows, by Arrow's PyCapsule interface: Polars, DuckDB and others take the table as it is."""
        return self.arrow.__arrow_c_stream__(requested_schema)

    def to_pandas(self) -> Any:
        """A pandas DataFrame in which every integer keeps its bits (uint64 never becomes float64)."""
        return to_pandas(self.arrow)

    def _repr_html_(self) -> str:
        shown = to_pandas(self.arrow.slice(0, _ROWS_SHOWN))
        return f"<div>{html.escape(self.name)}: {len(self):,} rows</div>{shown._repr_html_()}"

    def to_parquet(self, path: str | Path, *, force: bool = False) -> None:
        """Write one Parquet file. Raises ``UsageError`` for one that exists, unless ``force``."""
        import pyarrow.parquet as pq

        refuse_existing(path, force=force)
        with whole(path) as place:
            pq.write_table(self.arrow, str(place), compression="zstd")


def load(path: str | Path, *more: str | Path, events: Iterable[str] = (), exclude_events: Iterable[str] = ()) -> Trace:
    """Open a trace; nothing but its head is read until something is asked of it. Raises ``LockscopeError``.

    ``more``: other files of the recording (``--merge``). ``events``, ``exclude_events``: patterns of what is read.
    """
    return Trace(str(path), *map(str, more), events=events, exclude_events=exclude_events)


class Trace(Statistics):
    """One recorded trace."""

    def __init__(self, path: str, *more: str, events: Iterable[str] = (), exclude_events: Iterable[str] = ()) -> None:
        self.paths = [path, *more]
        self._read_events: dict[str, Any] = {"events": tuple(events), "exclude_events": tuple(exclude_events)}
        self.only_events = tuple(events)
        self._keep = pipeline.event_filter(*self._read_events.values())
        self.reader: Reader = self._open()
        self.path = self.reader.info.path

    def _open(self) -> Reader:
        return open_merged(self.paths)

    def __repr__(self) -> str:
        info = self.reader.info
        return f"Trace({self.path!r}: {info.format}, kernel {info.kernel or 'unknown'}, {info.cpus} CPUs)"

    def _repr_html_(self) -> str:
        from lockscope.report.notebook import trace_html

        info = self.reader.info
        facts = [
            ("kernel", " ".join(filter(None, (info.kernel or "not named", info.machine)))),
            ("format", f"{info.format}, {info.cpus} CPUs, clock {info.clock or 'unknown'}"),
        ]
        known = "_report" in self.__dict__ or sum(map(_size, self.paths)) < _JUDGED_AT_SIGHT
        hint = "trace.report() judges it; trace.plot, trace.table(...) and trace.events(...) show what is in it"
        return trace_html(self.path, facts, self.report() if known else None, hint)

    @renamed(events="event", exclude_events="exclude_event", exhibits="page_data")
    def analyze(
        self,
        *,
        select: Iterable[str] | str = (),
        ignore: Iterable[str] | str = (),
        rules: str = "auto",
        window_start: str | None = None,
        window_end: str | None = None,
        assume: Iterable[str] = (),
        page_data: bool = False,
        event: Iterable[str] | None = None,
        exclude_event: Iterable[str] | None = None,
    ) -> Report:
        """Judge it; arguments as the options of ``lockscope analyze``. Raises ``UsageError``.

        ``event``, ``exclude_event``: in place of those that the trace was loaded with.
        """
        read = dict(self._read_events)
        if event is not None:
            read["events"] = tuple(event)
        if exclude_event is not None:
            read["exclude_events"] = tuple(exclude_event)
        with showing(f"judging {self.path}", self._known_events()) as progress:
            options = pipeline.AnalyzeOptions(
                rules=rules, select=plain_words(select), ignore=plain_words(ignore), window_start=window_start,
                window_end=window_end, assume=tuple(assume), merge=True, page_data=page_data, **read,
            )  # fmt: skip
            return pipeline.analyze(self.paths, options, progress)

    @property
    def whole(self) -> Trace:
        """Itself; a part of a trace has its trace here."""
        return self

    @property
    def view(self) -> View:
        """All of it."""
        return View()

    @property
    def tables(self) -> list[str]:
        """The names of the declared tables."""
        return sorted(all_schemas())

    @property
    def event_names(self) -> list[str]:
        """The full names of the trace's events, as far as its head tells (text: as far as it was read)."""
        return sorted({f.full_name for f in self.reader.formats[2:]})

    @cached_property
    def _report(self) -> Report:
        return self.analyze()

    def report(self) -> Report:
        """The verdict by the kernel's own rules; judged once, however often it is asked for."""
        return self._report

    def graph(self) -> LockGraph:
        """Which lock was taken under which."""
        from lockscope.lockgraph.dependencies import dependencies

        return dependencies(self._any_reading().gathered.evidence)

    def span(self) -> tuple[int, int]:
        """First and last time, in ns."""
        evidence = self._any_reading().gathered.evidence
        return evidence.start_ns, evidence.end_ns

    def task_names(self) -> dict[int, str]:
        """Names of tasks by pid, where the trace knows them."""
        return dict(self._any_reading().gathered.evidence.comms)

    def vm_of(self, lock: int) -> int | None:
        """The number of the VM in whose ``struct kvm`` a lock lies."""
        return self._read("spte_changes").gathered.evidence.vm_of(lock)

    def has_task(self, pid: int) -> bool:
        """Whether a task took a lock or is named in the trace."""
        return pid in self.task_names() or bool(np.isin(pid, self.columns("holds")["pid"]))

    def vms(self) -> tuple[int, ...]:
        """The numbers of the trace's VMs."""
        found = self._read("spte_changes").gathered.evidence.facts.get("vms")
        return tuple(vm.number for vm in found.vms) if found is not None else ()

    def _known_events(self) -> int | None:
        return next((m.gathered.events for m in self._material.values()), None)

    def _any_reading(self) -> trace_tables.Material:
        return next(iter(self._material.values()), None) or self._read("losses")

    def events(
        self,
        name: str,
        *,
        fields: Iterable[str] | None = None,
        cpus: Iterable[int] | None = None,
        pids: Iterable[int] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> EventTable:
        """All events of one type, in time order: the common columns, then each field at its own type.

        ``name`` "sched_switch" or "sched:sched_switch". ``fields``: only these. Times are half open. Events of other
        types are not decoded. A field that has a common column's name is a column with a ``_`` at its end:
        sched_wakeup's ``pid`` is ``pid_``, and ``pid`` the task that woke it. Raises ``UsageError`` where the trace
        knows no such event.
        """
        system, _, event = name.rpartition(":")
        select = Selection(set_of(cpus), set_of(pids), start_ns, end_ns, tuple(fields) if fields is not None else None)
        found = self._decoded(lambda f: f.name == event and system in ("", f.system), select)
        formats = [f for f in self.reader.formats if f.name == event and system in ("", f.system)]
        if not formats:
            names = [f.name for f in self.reader.formats[2:]]
            near = ", ".join([n for n in names if event in n][:5])
            msg = f"{self.path}: no event {name!r}" + (f"; there are {near}" if near else nearest(event, names))
            raise UsageError(msg)
        if fields is not None:
            known = {n for fmt in formats for c, f in own_columns(fmt).items() for n in (c, f.name)} | set(_COMMON)
            missing = [f for f in fields if f not in known]
            if missing:
                msg = f"{name}: no field {missing[0]!r}; there are {', '.join(sorted(known))}"
                raise UsageError(msg)
        parts = [found[f.index] for f in formats if f.index in found]
        if not parts:
            parts = [empty(formats[0], select)]
        return EventTable(name, joined(parts))

    def all_events(self) -> dict[str, EventTable]:
        """Every event of the trace with all its fields: one table an event type, by full name."""
        found = self._decoded(None, Selection())
        tables: dict[str, list[pa.Table]] = {}
        for index, table in found.items():
            tables.setdefault(self.reader.formats[index].full_name, []).append(table)
        return {name: EventTable(name, joined(parts)) for name, parts in sorted(tables.items())}

    def _decoded(self, wanted: Callable[[EventFormat], bool] | None, select: Selection) -> dict[int, pa.Table]:
        decoder, done = Decoder(self.reader, select), 0
        with ThreadPoolExecutor(2) as pool, showing(f"events of {self.path}") as progress:
            for batch in prefetched(self.reader.batches(both(self._keep, wanted))):
                decoder.feed(batch, pool)
                done += len(batch)
                if progress is not None:
                    progress(done, None)
        return decoder.tables()

    def table(self, name: str) -> EventTable:
        """A declared table (``lockscope explain`` lists them), or the events of a type. Raises ``UsageError``."""
        if name == "flush_debts":
            return self._flush_debts()
        if name not in all_schemas():
            return self.events(name)
        return EventTable(name, trace_tables.build(name, self._read(name)))

    def _flush_debts(self) -> EventTable:
        """``required_flushes`` with the names that it had in the first release."""
        warnings.warn("the table flush_debts is required_flushes now", DeprecationWarning, stacklevel=3)
        arrow = self.table("required_flushes").arrow
        words = {new: old for old, new in trace_tables.OUTCOMES.items()}
        outcomes = pa.array([words.get(word, word) for word in arrow.column("outcome").to_pylist()]).dictionary_encode()
        former = arrow.set_column(arrow.column_names.index("outcome"), "outcome", outcomes)
        names = ["paid_ns" if name == "flushed_ns" else name for name in former.column_names]
        return EventTable("flush_debts", former.rename_columns(names))

    def _read(self, name: str) -> trace_tables.Material:
        if name not in self._material:
            self.read(*(all_schemas() if self._is_small() else (name,)))
        return self._material[name]

    def read(self, *names: str) -> None:
        """Read the trace once for several declared tables. Of a small file that is done for all of them at first sight;
        a large one is read for each that is asked for, as its tables may be large too.
        """
        with showing(f"tables of {self.path}", self._known_events()) as progress:
            reader = self._open()
            self._material.update(trace_tables.read(reader, names, progress, self._keep))
        pipeline.refuse_unmatched(reader, *self._read_events.values())

    def _is_small(self) -> bool:
        return sum(map(_size, self.paths)) <= _READ_AT_ONCE

    def forget(self, name: str) -> None:
        """Let go of what a reading kept for a table; the next who asks for it reads again."""
        self._material.pop(name, None)

    @cached_property
    def _material(self) -> dict[str, trace_tables.Material]:
        return {}

    def info(self) -> dict[str, Any]:
        """What is in it, what can be decided from it, what was lost: plain values."""
        checks = pipeline.selected_checks()
        found, how = pipeline.gathered(self._open(), checks, pipeline.AnalyzeOptions(**self._read_events))
        evidence, i = found.evidence, found.evidence.info
        runs, _ = pipeline.judged(evidence, checks)
        return {
            "path": self.path,
            "format": i.format,
            "kernel": i.kernel,
            "machine": i.machine,
            "host": i.host,
            "clock": i.clock,
            "cpus": i.cpus,
            "events": found.events,
            "start_ns": evidence.start_ns,
            "end_ns": evidence.end_ns,
            "lost_events": evidence.lost,
            "rules": evidence.rules.name,
            "rules_chosen": how,
            "spte_layout": evidence.facts["spte_layout"].told,
            "pid_filter": evidence.filtered,
            "events_by_name": evidence.recorded,
            "lost": [{"cpu": c, "count": n} for c, n in sorted(found.lost_by_cpu.items())]
            + [
                {"kind": n.kind, "cpu": n.cpu, "count": n.count, "buffer": n.buffer, "remedy": n.remedy}
                for n in i.losses
            ],
            "checks": {
                r.code: f"{r.name}: {r.status}{f' ({r.reason})' if r.reason else ''}" for r in runs if r.code < "LS9"
            },
            "tables": sorted(all_schemas()),
            "notes": list(i.notes),
        }

    def comms(self) -> dict[int, str]:
        """The last known name of each pid."""
        return self._read("holds").gathered.evidence.comms


_JUDGED_AT_SIGHT = 64 << 20  # bytes: what takes a second or two
_READ_AT_ONCE = 8 << 20  # all tables of as much take some 300 MB at most


def _size(path: str) -> int:
    place = Path(path)
    return place.stat().st_size if place.is_file() else _JUDGED_AT_SIGHT


_COMMON = ("ts_ns", "seq", "cpu", "buffer", "pid", "comm", "flags", "preempt_count")
