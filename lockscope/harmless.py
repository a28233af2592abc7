"""Text of unknown origin made harmless for a terminal, a log and a spreadsheet.

HTML, Markdown and DOT have escapes of their own on top (``report``); each begins with ``printable``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_NOT_ASCII = re.compile(r"[^\n\x20-\x7e]")
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # and as wide letters


def printable(text: str) -> str:
    r"""The text with all that shows nothing, or does something, spelled out (``\x1b``).

    Task names, markers and paths come from outside; none may move the cursor, turn the line round, break it or hide a
    part of itself. What Unicode calls "other" or "separator" but the space: C0, C1, line separators, what turns text
    round (bidirectional), what has no width, lone surrogates.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _spelled(c) for c in text)


def json_text(value: object, *, indent: int | None = None) -> str:
    """JSON in UTF-8 that a terminal may show: what ``printable`` spells out is escaped, which JSON allows anywhere."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return text if text.isprintable() else _NOT_ASCII.sub(_in_json, text)


def _in_json(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]


def _spelled(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def cell(text: str) -> str:
    """A text as a cell of a CSV: printable, and no formula to a spreadsheet (OWASP, CSV Injection)."""
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown


def cells(row: Iterable[object]) -> list[object]:
    """A row of a CSV: its texts as ``cell``s, numbers as they are."""
    return [cell(value) if isinstance(value, str) else value for value in row]
