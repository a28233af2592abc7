"""A page as one file: sections in a frame with style, script, navigation, search and themes, and nothing from outside.

For any report of ours. Text that comes from a trace goes through ``esc`` before it is in here.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lockscope.harmless import printable

# Nothing may be loaded, sent or framed: names in a trace are not ours.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'"
_KEYS = (("/", "search"), ("j k", "next and previous finding"), ("Enter", "open or close it"),
         ("o c", "open and close all"), ("t", "dark or light"), ("?", "this list"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page. ``html`` is finished; ``ident`` is its anchor; ``nav`` its short name at the top."""

    ident: str
    title: str
    nav: str
    html: str
    lead: str = ""


def esc(text: object) -> str:
    """Text as HTML: harmless in an element and in a quoted attribute."""
    return html.escape(printable(str(text)), quote=True)


@cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / "page" / name).read_text(encoding="utf-8")


def page(title: str, heading: str, sections: Sequence[Section], *, brand: str = "lockscope", foot: str = "",
         search: str = "Search findings and locks") -> str:  # fmt: skip
    """The whole document. ``heading`` is HTML above the sections, ``foot`` below them; ``search`` "" for none."""
    nav = "".join(f'<a href="#{esc(s.ident)}">{esc(s.nav)}</a>' for s in sections if s.nav)
    box = (
        f'<input type="search" id="search" placeholder="{esc(search)}  /" aria-label="{esc(search)}">' if search else ""
    )
    keys = "".join(f"<tr><td><kbd>{esc(k)}</kbd></td><td>{esc(what)}</td></tr>" for k, what in _KEYS)
    body = "".join(_section(s) for s in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="{esc(brand)}">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{esc(title)}</title>
<link rel="icon" href="data:,">
<style>
{_asset("page.css")}</style>
</head>
<body>
<a class="skip" href="#main">to the report</a>
<header class="bar"><div><b>{esc(brand)}</b><nav aria-label="sections">{nav}</nav>{box}\
<button id="theme" title="dark or light (t)" aria-label="dark or light">◐</button></div></header>
<main id="main">
{heading}
{body}
</main>
<footer>{foot}<p class="keys">Keys: press <kbd>?</kbd></p></footer>
<dialog id="keys" aria-label="keys"><h3>Keys</h3><table>{keys}</table>
<form method="dialog"><button>close</button></form></dialog>
<script>
{_asset("page.js")}</script>
</body>
</html>
"""


def _section(section: Section) -> str:
    lead = f'<p class="lead">{section.lead}</p>' if section.lead else ""
    return f'<section id="{esc(section.ident)}"><h2>{esc(section.title)}</h2>{lead}{section.html}</section>\n'


def chip(text: str, kind: str = "", title: str = "") -> str:
    """A small label; ``kind``: error, warning, info, clean, violation, unknown, skipped, code."""
    tip = f' title="{esc(title)}"' if title else ""
    return f'<span class="chip {esc(kind)}"{tip}>{esc(text)}</span>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Pairs of a name and a value (HTML), in a grid."""
    return '<div class="facts">' + "".join(f"<div><span>{esc(k)}</span>{v}</div>" for k, v in pairs) + "</div>"


def copyable(text: str) -> str:
    """A block of text with a button that copies it."""
    return f'<div class="copy"><pre>{esc_lines(text)}</pre><button type="button">copy</button></div>'


def esc_lines(text: str) -> str:
    """Several lines as HTML."""
    return "\n".join(esc(line) for line in text.split("\n"))


def table(head: Sequence[str], rows: Iterable[str], *, sortable: bool = False) -> str:
    """A table from finished ``<tr>``s; a head that begins with ``#`` is of numbers."""
    cells = []
    for name in head:
        word, number = esc(name.removeprefix("#")), ' class="n"' if name.startswith("#") else ""
        inside = f'<button type="button">{word}</button>' if sortable and word else word
        cells.append(f"<th{number}>{inside}</th>")
    kind = ' class="wide"' if sortable else ""
    body = f"<thead><tr>{''.join(cells)}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll"><table{kind}>{body}</table></div>'


def key(entries: Iterable[tuple[str, str]]) -> str:
    """What colours mean: (text, colour)."""
    return '<div class="key">' + "".join(
        f'<span><span class="swatch" style="background:{esc(color)}"></span>{esc(text)}</span>'
        for text, color in entries
    ) + "</div>"  # fmt: skip
