"""Stand-ins for what the command line drives: checks, schemas, a trace. They go into ``sys.modules``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from lockscope.checks.check import Check, Grounds
from lockscope.evidence.evidence import Evidence
from lockscope.results.findings import Finding, Severity
from lockscope.tables import schema

PAGE = """{code} {name}: A cycle of dependencies.

What it finds
-------------

Two classes taken in both orders.
"""


def _grounds(evidence: Evidence) -> Grounds:
    raise AssertionError(evidence)


def _judge(evidence: Evidence) -> Iterator[Finding]:
    raise AssertionError(evidence)


def checks() -> dict[str, Check]:
    """Four checks that nobody runs."""
    names = {
        "LS101": ("circular-lock-dependency", Severity.ERROR),
        "LS102": ("documented-order", Severity.ERROR),
        "LS201": ("srcu-unprotected-access", Severity.ERROR),
        "LS901": ("event-loss", Severity.INFO),
    }
    return {
        c: Check(c, name, severity, _grounds, _judge, PAGE.format(code=c, name=name))
        for c, (name, severity) in names.items()
    }


@dataclass(frozen=True)
class Column:
    """A column as ``tables.schema`` declares it."""

    name: str
    type: str
    unit: str
    doc: str


@dataclass(frozen=True)
class Schema:
    """A table as ``tables.schema`` declares it."""

    name: str
    doc: str
    columns: tuple[Column, ...]


def schema_module() -> ModuleType:
    """A ``lockscope.tables.schema`` with two tables."""
    columns = (
        Column("t0_ns", "int64", "ns", "When the lock was taken."),
        Column("lock", "uint64", "", "Address of the\nlockdep map."),
    )
    tables = {
        "holds": Schema("holds", "Lock-hold intervals.", columns),
        "losses": Schema("losses", "What was lost.", ()),
    }
    module = ModuleType("lockscope.tables.schema")
    vars(module).update(all_schemas=lambda: tables, Column=schema.Column, TableSchema=schema.TableSchema)
    return module


class FakeTrace:
    """A trace that remembers what was asked of it."""

    asked: list[dict[str, Any]]
    parts: list[dict[str, Any]]

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts, self.asked, self.parts = facts, [], []

    def info(self) -> dict[str, Any]:
        """The facts it was given."""
        return self.facts

    def part(self, **wanted: Any) -> FakeTrace:
        """Itself, and remember the call."""
        self.parts.append(wanted)
        return self

    def export(self, directory: Any, **wanted: Any) -> None:
        """Remember the call."""
        self.asked.append({"directory": directory, **wanted})


def trace_module(trace: FakeTrace) -> ModuleType:
    """A ``lockscope.trace.trace`` whose ``load`` gives this trace."""
    module = ModuleType("lockscope.trace.trace")
    vars(module)["load"] = lambda path, events=(): trace
    return module
