"""Text of unknown origin made harmless for a terminal, a log and a spreadsheet.

HTML, Markdown and DOT have escapes of their own on top (``report``); each begins with ``printable``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# C0, C1, line and paragraph separators, what turns text round (bidirectional), and lone surrogates.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # and as wide letters


def printable(text: str) -> str:
    r"""The text with control characters spelled out (``\x1b``).

    Task names, markers and paths come from outside; none may move the cursor, turn the line round or break it.
    """
    return _CONTROL.sub(lambda m: m[0].encode("unicode_escape").decode("ascii"), text)


def cell(text: str) -> str:
    """A text as a cell of a CSV: printable, and no formula to a spreadsheet (OWASP, CSV Injection)."""
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown


def cells(row: Iterable[object]) -> list[object]:
    """A row of a CSV: its texts as ``cell``s, numbers as they are."""
    return [cell(value) if isinstance(value, str) else value for value in row]
