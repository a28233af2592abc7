"""What a user does not want to be told again: ``[[suppress]]`` entries of a TOML file, each with its reason.

An entry has a ``reason`` and at least one of ``fingerprint``, ``code`` and ``classes`` (a pattern for each class of the
finding, outermost first); all that are there must fit. ``until``, a date, is the last day on which it counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockscope.errors import RuleError
from lockscope.results.findings import Suppression
from lockscope.rules import drafts, lines, schema
from lockscope.rules.load import user_file

_TABLE = "suppress"
_WHICH = {"fingerprint": "fingerprint", "code": "code", "classes": "texts"}
_KEYS = {**_WHICH, "reason": "text", "until": "date"}


def load_suppressions(path: str | Path) -> tuple[Suppression, ...]:
    """A file's entries, in order. Raises ``RuleError`` with file and line, ``UsageError`` if it can't be read."""
    values, where = drafts.parse(path, user_file(path, "suppressions"))
    for key in values:
        if key != _TABLE:
            line = where.get((key,)) or where.get((key, 0)) or 1
            raise RuleError(path, line, schema.unknown(key, (f"[[{_TABLE}]]",)))
    tables = values.get(_TABLE, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise RuleError(path, where.get((_TABLE,), 1), f"{_TABLE}: write each as a table [[{_TABLE}]]")
    return tuple(_entry(path, table, index, where) for index, table in enumerate(tables))


def _entry(path: str | Path, table: Mapping[str, Any], index: int, where: Mapping[lines.Place, int]) -> Suppression:
    line = where.get((_TABLE, index), 1)
    at = {key: where.get((_TABLE, index, key), line) for key in table}
    for key in table:
        if key not in _KEYS:
            raise RuleError(path, at[key], schema.unknown(key, tuple(_KEYS), f"[[{_TABLE}]] "))
    if "reason" not in table:
        raise RuleError(path, line, f"[[{_TABLE}]] needs reason: why the finding is not to be told")
    if not any(key in table for key in _WHICH):
        raise RuleError(path, line, f"[[{_TABLE}]] needs one of {', '.join(_WHICH)}: else it would take out everything")
    read = {key: drafts.read(path, at[key], key, _KEYS[key], value) for key, value in table.items()}
    return Suppression(origin=f"{path}:{line}", **read)
