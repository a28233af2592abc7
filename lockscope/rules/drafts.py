"""From the text of a rules file to checked entries: what is wrong in it is said with file and line.

A file is a header (``name``, ``title``, ``document``, ``version``, ``from`` and ``to``: kernel series) and entries,
``[[order]]``, ``[[leaf]]``, ``[[srcu]]``, ``[[must_hold]]``, ``[[reference]]``, ``[[flow]]``, ``[[fact]]``: the records
of ``lockscope/rules/book.py``, key by key. Every entry has an ``id`` and a ``source``: a place in the document of the
header, or in its own ``document`` and ``version``. ``extends`` names a book of ours whose entries are taken over; one
with the same id replaces, ``drop`` lists ids that fell away. A book that extends one on the same document states its
rules anew for its own version: sources then name that. ``notifiers``, ``preempted``: see ``Rulebook``.
A lock that neither KVM nor the judged trace has is a mistake in a user's file, unless a ``[[reference]]`` of it says
that there is such a lock.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lockscope.errors import RuleError
from lockscope.rules import lines, schema

_TEXTS = ("name", "title", "document", "version", "extends")
_LISTS = ("notifiers", "preempted")  # a book that extends another has its lists, unless it has its own
HEADER = (
    dict.fromkeys(_TEXTS, "text") | dict.fromkeys(("from", "to"), "series") | dict.fromkeys(("drop", *_LISTS), "texts")
)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry: its values, and the document and version that its source is a place in (``own``: named by itself)."""

    values: dict[str, Any]
    document: str
    version: str
    own: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """A checked file. ``entries``: by kind, by id. ``lines``: of the header's keys."""

    header: dict[str, Any]
    entries: dict[str, dict[str, Entry]] = field(default_factory=dict)
    path: object = ""
    lines: dict[str, int] = field(default_factory=dict)

    def over(self, parent: Draft) -> Draft:
        """The parent's entries with these over them, and without those dropped. Raises ``RuleError``."""
        dropped = self.header.get("drop", ())
        known = {name for group in parent.entries.values() for name in group}
        for name in dropped:
            if name not in known:
                wanted = f"drop: {parent.header['name']} has no rule {name!r}"
                raise RuleError(self.path, self.lines.get("drop", 1), wanted)
        restated = self.header.get("document") == parent.header.get("document")
        merged: dict[str, dict[str, Entry]] = {}
        for kind in schema.KINDS:
            merged[kind] = {
                name: replace(entry, version=self.header.get("version", "")) if restated and not entry.own else entry
                for name, entry in parent.entries[kind].items()
                if name not in dropped
            } | self.entries[kind]
        header = {key: parent.header.get(key, ()) for key in _LISTS} | self.header
        return replace(self, header=header, entries=merged)


def draft(path: object, data: bytes, default_name: str) -> Draft:
    """A file's header and entries, without what it extends. Raises ``RuleError``."""
    values, where = parse(path, data)
    for key in values:
        if key not in HEADER and key not in schema.KINDS:
            wanted = schema.unknown(key, (*HEADER, *schema.KINDS))
            raise RuleError(path, where.get((key,)) or where.get((key, 0)) or 1, wanted)
    of_header = {key: where.get((key,), 1) for key in HEADER}
    header = {key: read(path, of_header[key], key, sort, values[key]) for key, sort in HEADER.items() if key in values}
    header.setdefault("name", default_name)
    return Draft(header, _entries(path, values, where, header), path, of_header)


def parse(path: object, data: bytes) -> tuple[dict[str, Any], dict[lines.Place, int]]:
    """A TOML file's values, and the line each stands in. Raises ``RuleError``."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RuleError(path, data.count(b"\n", 0, error.start) + 1, "not UTF-8 text") from None
    try:
        return tomllib.loads(text), lines.places(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
        line = int(place[1]) if place and place[1] else text.rstrip("\n").count("\n") + 1
        said = str(error)[: place.start()] if place else str(error)
        raise RuleError(path, line, f"not TOML: {said[:1].lower()}{said[1:]}") from None
    except (RecursionError, ValueError):  # nesting without end; an integer of thousands of digits
        raise RuleError(path, 1, "not TOML of a kind that is read here") from None


def read(path: object, line: int, key: str, sort: str, value: object) -> Any:
    """A value of this sort (``schema.read``). Raises ``RuleError`` with its line."""
    try:
        return schema.read(sort, value)
    except ValueError as error:
        raise RuleError(path, line, f"{key}: {error}") from None


def _entries(
    path: object, values: Mapping[str, Any], where: Mapping[lines.Place, int], header: Mapping[str, Any]
) -> dict[str, dict[str, Entry]]:
    taken: dict[str, int] = {}
    found: dict[str, dict[str, Entry]] = {kind: {} for kind in schema.KINDS}
    for kind, of_kind in found.items():
        tables = values.get(kind, [])
        top = where.get((kind, 0)) or where.get((kind,)) or 1
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise RuleError(path, top, f"{kind}: write each as a table [[{kind}]]")
        for index, table in enumerate(tables):
            line = where.get((kind, index), top)
            read = _entry(path, kind, table, line, {key: where.get((kind, index, key), line) for key in table})
            name = str(read["id"])
            if name in taken:
                wanted = f"id: {name!r} is taken, line {taken[name]}"
                raise RuleError(path, where.get((kind, index, "id"), line), wanted)
            taken[name] = line
            of_kind[name] = _placed(read, header)
    return found


def _entry(path: object, kind: str, table: Mapping[str, Any], line: int, at: Mapping[str, int]) -> dict[str, Any]:
    keys = schema.KINDS[kind].keys
    for key in table:
        if key not in keys:
            raise RuleError(path, at[key], schema.unknown(key, tuple(keys), f"[[{kind}]] "))
    missing = next((key for key in schema.KINDS[kind].required if key not in table), None)
    if missing:
        raise RuleError(path, line, f"[[{kind}]] needs {schema.need(missing)}")
    return {key: read(path, at[key], key, keys[key], value) for key, value in table.items()}


def _placed(values: dict[str, Any], header: Mapping[str, Any]) -> Entry:
    document, version = values.pop("document", None), values.pop("version", None)
    if document or version:
        return Entry(values, document or header.get("document", ""), version or "", own=True)
    return Entry(values, header.get("document", ""), header.get("version", ""), own=False)
