"""What a section is: a module of this folder with ``ORDER``, ``TITLE``, ``NAV`` and ``made(report, beside)``.

``made`` returns ``Part``s, or None where there is nothing to say. Nothing lists the sections.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol, cast

from lockscope.harmless import cells
from lockscope.registry import modules
from lockscope.report.page_shell import Section, esc
from lockscope.results.findings import Report


@dataclass(slots=True)
class Part:
    """A section's HTML and lead, and the files with all that it leaves out, by name."""

    html: str
    lead: str = ""
    files: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Made:
    """A section that has something to say."""

    section: Section
    files: dict[str, str]


class SectionModule(Protocol):
    """A section, as a module is one."""

    __name__: str
    ORDER: int
    TITLE: str
    NAV: str

    def made(self, report: Report, beside: str) -> Part | None:
        """Its content; ``beside``: the folder beside the page, "" where there is none."""
        ...


@cache
def sections() -> tuple[SectionModule, ...]:
    """Every section in order."""
    found = [cast("SectionModule", m) for m in modules("lockscope.report.page")]
    return tuple(sorted(found, key=lambda m: m.ORDER))


def made(of: SectionModule, report: Report, beside: str) -> Made | None:
    """The section, if it has something to say."""
    part = of.made(report, beside)
    if part is None:
        return None
    ident = of.__name__.rpartition(".")[2].replace("_", "-")
    return Made(Section(ident, of.TITLE, of.NAV, part.html, part.lead), part.files)


def more(beside: str, file: str, what: str, command: str) -> str:
    """Where to find what was left out: a link beside the page, or the command that makes it."""
    if beside:
        return f'<p class="dim">{what}: <a href="{esc(beside)}/{esc(file)}">{esc(file)}</a></p>'
    how = f"with <code>-o FILE.html</code> in a file beside it, or <code>{esc(command)}</code>"
    return f'<p class="dim">{what}: {how}</p>'


def as_csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(cells(row) for row in rows)
    return text.getvalue()
