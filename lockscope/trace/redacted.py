"""A trace as figures may show it to others: what they ask for, without names of tasks, pids, addresses and paths."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lockscope.exports.redaction import Redaction, of_schema
from lockscope.plots.figure import View
from lockscope.report.graph.output import shared
from lockscope.report.redaction.findings import redact
from lockscope.report.redaction.pseudonyms import Redactor
from lockscope.results.findings import LockGraph, Report
from lockscope.tables.schema import all_schemas
from lockscope.trace.view import as_column

if TYPE_CHECKING:
    from lockscope.trace.view import Looks


class Redacted:
    """A ``plots.Source`` of a trace, or of part of it. One pseudonym for one name, in all that is asked of it."""

    def __init__(self, trace: Looks) -> None:
        self._trace, self._red = trace, Redactor()
        self._tables = Redaction(self._red)
        self.path = self._red.path(trace.path)

    def columns(self, table: str) -> dict[str, Any]:
        """A declared table's columns."""
        arrow = self._tables.table(self._trace.table(table).arrow, of_schema(all_schemas()[table]))
        return {name: as_column(arrow.column(name)) for name in arrow.column_names}

    def graph(self) -> LockGraph:
        """The lock dependency graph."""
        return shared(self._trace.graph())

    def report(self) -> Report:
        """The verdict."""
        return redact(self._trace.report(), self._red)

    def span(self) -> tuple[int, int]:
        """First and last time, in ns."""
        return self._trace.span()

    def task_names(self) -> dict[int, str]:
        """Pseudonyms of tasks, by those of their pids."""
        return {self._red.pid(pid): self._red.task(comm) for pid, comm in self._trace.task_names().items()}

    def view(self, wanted: View) -> View:
        """What part of the trace is wanted, in its own terms."""
        return replace(wanted, pids=tuple(self._red.pid(pid) for pid in wanted.pids))
