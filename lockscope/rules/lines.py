"""Where in a TOML text its tables and keys stand. ``tomllib`` tells values apart, not places."""

from __future__ import annotations

import re

Place = tuple[str | int, ...]

_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.-]+)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"\s*(?:\"([^\"]*)\"|'([^']*)'|([\w-]+))\s*=")
_TOKEN = re.compile(r"\"\"\"|'''|\"(?:\\.|[^\"\\])*\"|'[^']*'|#.*|[\[{\]}]")


def places(text: str) -> dict[Place, int]:
    """Line (from 1) of every ``key``, ``[table]``, ``[[table]]`` and their keys.

    ``("name",)``, ``("order", 2)`` for the third ``[[order]]``, ``("order", 2, "outer")``. Text that is not TOML gives
    some places or none; nothing is raised.
    """
    found: dict[Place, int] = {}
    table: Place = ()
    seen: dict[str, int] = {}
    depth, quote = 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        rest = line
        if depth == 0 and not quote:
            header, key = _HEADER.match(line), _KEY.match(line)
            if header:
                table = (header[2],)
                if header[1] == "[[":
                    table = (header[2], seen.setdefault(header[2], 0))
                    seen[header[2]] += 1
                found.setdefault(table, number)
                continue
            if key is None:
                continue
            found.setdefault((*table, key[1] or key[2] or key[3] or ""), number)
            rest = line[key.end() :]
        depth, quote = _after(rest, depth, quote)
    return found


def _after(text: str, depth: int, quote: str) -> tuple[int, str]:
    """Bracket depth and open multi-line quote after a piece of a value."""
    at = 0
    while at < len(text):
        if quote:
            end = text.find(quote, at)
            if end < 0:
                return depth, quote
            at, quote = end + 3, ""
            continue
        token = _TOKEN.search(text, at)
        if token is None:
            break
        at = token.end()
        if token[0] in ('"""', "'''"):
            quote = token[0]
        elif token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth = max(0, depth - 1)
    return depth, quote
