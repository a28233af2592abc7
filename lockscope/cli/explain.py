"""``lockscope explain``: the page of a check, or the columns of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lockscope.cli._shell import show
from lockscope.errors import UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lockscope.checks.check import Check
    from lockscope.tables.schema import TableSchema

_TABLE = "table:"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)


def explain(
    subject: Annotated[
        str | None, typer.Argument(metavar="[CODE|table:NAME]", help="A check's code or name, or a table.")
    ] = None,
) -> None:
    """Say what a check finds, or a table holds."""
    from lockscope.checks.check import all_checks
    from lockscope.tables.schema import all_schemas

    checks, schemas = all_checks(), all_schemas()
    if subject is None:
        lines = _overview(checks, schemas)
    elif subject.startswith(_TABLE) and subject.removeprefix(_TABLE) in schemas:
        lines = _table(schemas[subject.removeprefix(_TABLE)])
    else:
        check = checks.get(subject.upper()) or next((c for c in checks.values() if c.name == subject.lower()), None)
        if check is None:
            raise _unknown(subject, checks, schemas)
        lines = _page(check)
    show(lines)


def _unknown(subject: str, checks: dict[str, Check], schemas: dict[str, TableSchema]) -> UsageError:
    topics = [*checks, *(f"{_TABLE}{name}" for name in schemas)]
    return unknown("explain", subject, topics, "check or table", (c.name for c in checks.values()))


def _overview(checks: dict[str, Check], schemas: dict[str, TableSchema]) -> Iterator[str]:
    yield "checks (lockscope explain CODE):"
    wide = max((len(c.name) for c in checks.values()), default=0)
    for check in checks.values():
        yield f"  {check.code}  {check.name:<{wide}}  {check.severity:<7}  {_subject(check)}".rstrip()
    yield ""
    yield "tables (lockscope explain table:NAME):"
    wide = max((len(name) for name in schemas), default=0)
    for schema in schemas.values():
        yield f"  {schema.name:<{wide}}  {_first(schema.doc)}".rstrip()


def _first(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _subject(check: Check) -> str:
    """The page's first line without the code and name it may begin with."""
    return _first(check.page).removeprefix(f"{check.code} {check.name}: ")


def _page(check: Check) -> Iterator[str]:
    yield f"{check.code} {check.name}: {_subject(check)}"
    yield f"severity: {check.severity}"
    yield from check.page.strip().splitlines()[1:]


def _table(schema: TableSchema) -> Iterator[str]:
    yield f"{_TABLE}{schema.name}"
    yield ""
    yield from schema.doc.strip().splitlines()
    yield ""
    rows = [("column", "type", "unit", "meaning")]
    rows += [(c.name, str(c.type), c.unit or "", c.doc) for c in schema.columns]
    wide = [max(len(row[i]) for row in rows) for i in range(3)]
    for name, kind, unit, doc in rows:
        yield f"  {name:<{wide[0]}}  {kind:<{wide[1]}}  {unit:<{wide[2]}}  {' '.join(doc.split())}".rstrip()
